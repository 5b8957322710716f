"""Lifted `jax.lax.scan`: one module run many times."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from batiste.core import lift
from batiste.core.frozen_dict import FrozenDict
from batiste.core.scope import CollectionFilter
from batiste.core.types import Function, Tree

from .target import MappedAxis, Methods, Target, lift_target

__all__ = ["scan"]


def scan(
    target: Target,
    variable_axes: Mapping[Any, MappedAxis] = FrozenDict(),
    variable_broadcast: CollectionFilter = False,
    variable_carry: CollectionFilter = False,
    split_rngs: Mapping[Any, bool] = FrozenDict(),
    in_axes: Tree = 0,
    out_axes: Tree = 0,
    length: int | None = None,
    reverse: bool = False,
    unroll: int = 1,
    data_transform: Function | None = None,
    metadata_params: Mapping[Any, Any] = FrozenDict(),
    methods: Methods = None,
    _split_transpose: bool = False,
    check_constancy_invariants: bool = True,
) -> Target:
    """Lifted `jax.lax.scan`: runs a module many times, compiled once.

    The target has the signature `(module, carry, *xs) -> (carry, ys)`, and so has
    the result, whose `xs` and `ys` are stacked. Variables are stacked too, one slice
    for each step; or shared by all steps; or carried from step to step.

    Args:
      target: a module class, or a function whose first argument is a module.
      variable_axes: for each collection that is stacked, along which axis.
      variable_broadcast: a filter that selects the collections that all steps share.
        They may be initialized inside, from values that do not depend on the step.
      variable_carry: a filter that selects the collections that are carried.
      split_rngs: for each PRNG stream that is passed in, whether every step gets a
        key of its own.
      in_axes: the axes of `xs` to scan along, a prefix of their tree;
        `nn.broadcast` for what every step gets whole. Keyword
        arguments are passed to every step as they are.
      out_axes: the axes along which `ys` are stacked.
      length: the number of steps, if `xs` does not tell it.
      reverse: whether to run from the last step to the first.
      unroll: how many steps make one iteration of the compiled loop.
      data_transform: applied to the groups of variables and streams inside.
      metadata_params: what boxes are told about the axis, for example
        `{nn.PARTITION_NAME: "layers"}`.
      methods: for a class, the names of the methods to transform, by default
        `__call__`.
      check_constancy_invariants: whether to check that shared variables and
        broadcast results do not depend on the step.

    Raises:
      TransformTargetError: `target` is neither.
      TransformedMethodReturnValueError: the function returns a module or variable.
      ValueError: the number of steps is not known, or not the same everywhere.

    >>> import jax, jax.numpy as jnp
    >>> import batiste.linen as nn
    >>> class Block(nn.Module):
    ...     @nn.compact
    ...     def __call__(self, x, _):
    ...         return x + nn.relu(nn.Dense(2)(x)), None
    >>> Stack = nn.scan(Block, variable_axes={"params": 0},
    ...                 split_rngs={"params": True}, length=4)
    >>> variables = Stack().init(jax.random.key(0), jnp.ones((1, 2)), None)
    >>> variables["params"]["Dense_0"]["kernel"].shape
    (4, 2, 2)
    """
    options = {
        "variable_axes": variable_axes,
        "variable_broadcast": variable_broadcast,
        "variable_carry": variable_carry,
        "split_rngs": split_rngs,
        "in_axes": in_axes,
        "out_axes": out_axes,
        "length": length,
        "reverse": reverse,
        "unroll": unroll,
        "data_transform": data_transform,
        "metadata_params": metadata_params,
        "_split_transpose": _split_transpose,
        "check_constancy_invariants": check_constancy_invariants,
    }
    return lift_target(lift.scan, scan, target, options, methods)
