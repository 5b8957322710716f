"""Lifted `jax.vmap`."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

import jax

from ..scope.filters import Filter
from ..types import Function, Tree
from .axes import (
    VariableAxes,
    axis_sizes,
    sizes_do_not_fit,
    split_keys,
    values_of,
)
from .pack import Lifted, Repack, VariableGroups, pack
from .streams import RngGroups

__all__ = ["map_axis", "vmap"]


def vmap(
    fn: Function,
    variable_axes: Mapping[Filter, Any],
    split_rngs: Mapping[Filter, bool],
    in_axes: Tree = 0,
    out_axes: Tree = 0,
    axis_size: int | None = None,
    axis_name: str | None = None,
    spmd_axis_name: str | None = None,
    metadata_params: Mapping[Any, Any] = {},
) -> Function:
    """Lifted `jax.vmap`: adds a batch axis to a function of a scope.

    Args:
      fn: a function whose first argument is a scope or a pytree of them.
      variable_axes: from filters of collections to the axis of their variables that
        is mapped over, or None for variables that all instances share; `In(axis)` or
        `Out(axis)` for collections that only go in or only come out. Collections
        that are not named are not there inside `fn`.
      split_rngs: from filters of PRNG streams to whether each instance gets keys of
        its own. Streams that are not named are not there inside `fn`.
      in_axes: the axes of the other arguments, as in `jax.vmap`.
      out_axes: the axes of the results, as in `jax.vmap`.
      axis_size: the size of the axis, when no argument and no variable has it.
      axis_name: a name of the axis for collectives inside `fn`.
      spmd_axis_name: the mesh axis of the axis, for sharding constraints in `fn`.
      metadata_params: what boxes (`AxisMetadata`) are told about the axis.

    Returns:
      A function of the same arguments, with the axis.

    Raises:
      ValueError: (when called) the size of the axis is not given by anything, or is
        given twice and differs; or a shared variable depends on the axis.
      PartitioningUnspecifiedError: a partitioned variable gains or loses the axis,
        and `metadata_params` does not say what it is called.
      As `pack`.

    >>> import numpy as np
    >>> from batiste.core import init, nn
    >>> dense = vmap(nn.dense, {"params": 0}, {"params": True}, in_axes=(0, None))
    >>> y, variables = init(dense)(jax.random.key(0), np.ones((3, 2)), 4)
    >>> y.shape, variables["params"]["kernel"].shape
    ((3, 4), (3, 2, 4))
    """
    return map_axis(
        functools.partial(jax.vmap, axis_name=axis_name, spmd_axis_name=spmd_axis_name),
        "vmap",
        fn,
        VariableAxes(variable_axes, metadata_params),
        split_rngs,
        in_axes,
        out_axes,
        axis_size,
    )


def map_axis(
    transform: Function,
    name: str,
    fn: Function,
    axes: VariableAxes,
    split_rngs: Mapping[Filter, bool],
    in_axes: Tree,
    out_axes: Tree,
    axis_size: int | None,
) -> Function:
    """What `vmap` and `pmap` are: `transform` gives all that is passed an axis."""
    splits = values_of("split_rngs", split_rngs)
    rng_axes = tuple([0 if split else None for split in splits])

    def inner(
        scope_fn: Lifted,
        repack_fn: Repack,
        variable_groups: VariableGroups,
        rng_groups: RngGroups,
        *args: Tree,
    ) -> tuple[Tree, VariableGroups]:
        arg_axes = tuple(in_axes) if isinstance(in_axes, list) else in_axes
        sizes: set[int] = set() if axis_size is None else {axis_size}
        try:
            sizes.update(axis_sizes(arg_axes, args))
            sizes.update(axis_sizes(axes.in_axes, variable_groups))
            (size,) = sizes
        except ValueError:
            raise sizes_do_not_fit(
                name,
                {} if axis_size is None else {"axis_size": axis_size},
                ("args", arg_axes, args),
                (axes.in_axes, variable_groups),
                scope_fn.roots,
            ) from None
        rng_groups = split_keys(rng_groups, splits, size)

        def mapped(
            variable_groups: VariableGroups, rng_groups: RngGroups, args: Tree
        ) -> tuple[Tree, Tree]:
            scope = scope_fn(variable_groups, rng_groups)
            y = fn(scope, *args)
            return y, repack_fn(scope)

        y, out_groups = transform(
            mapped,
            in_axes=(axes.in_axes, rng_axes, arg_axes),
            out_axes=(out_axes, axes.out_axes),
            axis_size=size,
        )(axes.enter(variable_groups, scope_fn.roots), rng_groups, args)
        return y, axes.leave(out_groups, scope_fn.roots)

    return pack(inner, axes.in_filters, axes.out_filters, tuple(split_rngs), name=name)
