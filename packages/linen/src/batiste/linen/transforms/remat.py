"""Lifted `jax.checkpoint`, and deep stacks of rematerialized layers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from batiste.core import lift
from batiste.core.frozen_dict import FrozenDict
from batiste.core.scope import CollectionFilter, PRNGSequenceFilter

from .call import LiftedCall
from .target import MappedAxis, Methods, Target, lift_target

__all__ = ["checkpoint", "remat", "remat_scan"]


class _RematCall(LiftedCall):
    transforms_kwargs = True
    argnums = ("static_argnums",)


def checkpoint(
    target: Target,
    variables: CollectionFilter = True,
    rngs: PRNGSequenceFilter = True,
    concrete: bool = False,
    prevent_cse: bool = True,
    static_argnums: int | Iterable[int] = (),
    policy: Callable[..., bool] | None = None,
    methods: Methods = None,
) -> Target:
    """Lifted `jax.checkpoint`: computes again in the backward pass what it forgot.

    That trades time for memory: of the transformed call only the inputs are kept for
    the gradient. `remat` is the same function.

    Args:
      target: a module class, or a function whose first argument is a module.
      variables: a filter that selects the collections to pass in.
      rngs: a filter that selects the PRNG streams to pass in.
      concrete: whether values that nothing is traced of stay as they are, so that
        control flow can depend on them: Python scalars and constants, and everything
        outside of other transformations (where nothing is then checkpointed).
      prevent_cse: whether to keep the compiler from undoing the transform. Not
        needed within `scan`.
      static_argnums: positions of arguments that are compile-time constants; the
        module is number 0.
      policy: what to keep nevertheless, one of `jax.checkpoint_policies`.
      methods: for a class, the names of the methods to transform, by default
        `__call__`.

    Raises:
      TransformTargetError: `target` is neither.
      TransformedMethodReturnValueError: the function returns a module or variable.

    >>> import jax, jax.numpy as jnp
    >>> import batiste.linen as nn
    >>> class MLP(nn.Module):
    ...     @nn.compact
    ...     def __call__(self, x):
    ...         x = nn.relu(nn.checkpoint(nn.Dense)(8)(x))
    ...         return nn.checkpoint(nn.Dense)(1)(x)
    >>> variables = MLP().init(jax.random.key(0), jnp.ones((2, 4)))
    >>> sorted(variables["params"])
    ['CheckpointDense_0', 'CheckpointDense_1']
    """
    options = {
        "variables": variables,
        "rngs": rngs,
        "concrete": concrete,
        "prevent_cse": prevent_cse,
        "static_argnums": static_argnums,
        "policy": policy,
    }
    return lift_target(
        lift.checkpoint, checkpoint, target, options, methods, call_type=_RematCall
    )


remat = checkpoint


def remat_scan(
    target: Target,
    lengths: Sequence[int] = (),
    policy: Callable[..., bool] | None = None,
    variable_broadcast: CollectionFilter = False,
    variable_carry: CollectionFilter = False,
    variable_axes: Mapping[Any, MappedAxis] = FrozenDict({True: 0}),
    split_rngs: Mapping[Any, bool] = FrozenDict({True: True}),
    metadata_params: Mapping[Any, Any] | Sequence[Mapping[Any, Any]] = FrozenDict(),
) -> Target:
    """Scans over layers in nested loops, each rematerialized.

    With lengths `(m, n)` there are `m * n` layers, and the gradient keeps `m + n` of
    their inputs, not all. The layer maps its one argument to something of the same
    structure, shapes and dtypes.

    Args:
      target: a module class, or a function whose first argument is a module.
      lengths: the lengths of the loops, the outermost first.
      policy: what to keep nevertheless, one of `jax.checkpoint_policies`.
      variable_broadcast: a filter that selects the collections all layers share.
      variable_carry: a filter that selects the collections that are carried.
      variable_axes: for each collection that is stacked, along which axis. By
        default all are, along the first.
      split_rngs: for each PRNG stream that is passed in, whether every layer gets a
        key of its own. By default all do.
      metadata_params: what boxes are told about the axis, in all loops; or a sequence
        with what they are told in each loop, the outermost first, for example
        `({nn.PARTITION_NAME: "stages"}, {nn.PARTITION_NAME: "layers"})`.

    Raises:
      TransformTargetError: `target` is neither.
      ValueError: `lengths` is empty, or `metadata_params` has not as many entries.
      PartitioningUnspecifiedError: a variable is in a box, and `metadata_params` does
        not name the axis.

    >>> import jax, jax.numpy as jnp
    >>> import batiste.linen as nn
    >>> Stack = nn.remat_scan(nn.Dense, lengths=(10, 10))
    >>> variables = Stack(3).init(jax.random.key(0), jnp.ones((1, 3)))
    >>> variables["params"]["kernel"].shape
    (10, 10, 3, 3)
    """
    options = {
        "lengths": lengths,
        "policy": policy,
        "variable_broadcast": variable_broadcast,
        "variable_carry": variable_carry,
        "variable_axes": variable_axes,
        "split_rngs": split_rngs,
        "metadata_params": metadata_params,
    }
    return lift_target(lift.remat_scan, remat_scan, target, options)
