"""Lifted `jax.vmap`: modules with a batch axis."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

from batiste.core import lift
from batiste.core.frozen_dict import FrozenDict
from batiste.core.types import Tree

from .target import MappedAxis, Methods, Target, lift_target

__all__ = ["vmap"]


def vmap(
    target: Target,
    variable_axes: Mapping[Any, MappedAxis] = FrozenDict(),
    split_rngs: Mapping[Any, bool] = FrozenDict(),
    in_axes: Tree = 0,
    out_axes: Tree = 0,
    axis_size: int | None = None,
    axis_name: Hashable = None,
    spmd_axis_name: Hashable = None,
    metadata_params: Mapping[Any, Any] = FrozenDict(),
    methods: Methods = None,
) -> Target:
    """Lifted `jax.vmap`: gives a module class, or a function of a module, a batch axis.

    Args:
      target: a module class, or a function whose first argument is a module.
      variable_axes: for each collection that is passed in (or filter of them), the
        axis along which its variables are stacked, or None for variables that all
        indices share.
      split_rngs: for each PRNG stream that is passed in, whether every index gets a
        key of its own. Parameters that are stacked need it, to differ.
      in_axes: the batch axes of the arguments, as for `jax.vmap`. Keyword arguments
        are passed to every index as they are.
      out_axes: the batch axes of the results.
      axis_size: the batch size, if no argument tells it.
      axis_name: a name for the axis, for collectives such as `jax.lax.pmean`.
      spmd_axis_name: a mesh axis for sharding constraints inside; passed on to JAX.
      metadata_params: what boxes are told about the axis, for example
        `{nn.PARTITION_NAME: "layers"}`.
      methods: for a class, the names of the methods to transform, by default
        `__call__`.

    Raises:
      TransformTargetError: `target` is neither.
      TransformedMethodReturnValueError: the function returns a module or variable.
      ValueError: the batch axes have different sizes.

    >>> import jax, jax.numpy as jnp
    >>> import batiste.linen as nn
    >>> BatchDense = nn.vmap(
    ...     nn.Dense, variable_axes={"params": 0}, split_rngs={"params": True})
    >>> variables = BatchDense(5).init(jax.random.key(0), jnp.ones((3, 2)))
    >>> variables["params"]["kernel"].shape
    (3, 2, 5)
    """
    options = {
        "variable_axes": variable_axes,
        "split_rngs": split_rngs,
        "in_axes": in_axes,
        "out_axes": out_axes,
        "axis_size": axis_size,
        "axis_name": axis_name,
        "spmd_axis_name": spmd_axis_name,
        "metadata_params": metadata_params,
    }
    return lift_target(lift.vmap, vmap, target, options, methods)
