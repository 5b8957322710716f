"""Lifted `jax.pmap` and `jax.shard_map`: one program on several devices."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable, Mapping
from typing import Any

import jax
from jax.sharding import AbstractMesh, Mesh, PartitionSpec

from ..scope.filters import Filter
from ..types import Function, Key, Tree
from .axes import VariableAxes, values_of
from .pack import Lifted, Repack, VariableGroups, pack
from .streams import RngGroups, tree_map_rngs
from .vmap import map_axis

__all__ = ["pmap", "shard_map"]


def pmap(
    fn: Function,
    variable_axes: Mapping[Filter, Any],
    split_rngs: Mapping[Filter, bool],
    in_axes: Tree = 0,
    out_axes: Tree = 0,
    axis_name: str | None = None,
    axis_size: int | None = None,
    devices: Any = None,
    backend: str | None = None,
    metadata_params: Mapping[Any, Any] = {},
) -> Function:
    """Lifted `jax.pmap`: as `vmap`, with each instance on a device of its own.

    Args:
      fn: a function whose first argument is a scope or a pytree of them.
      variable_axes: as in `vmap`; None for variables that all devices have.
      split_rngs: as in `vmap`.
      in_axes: the axes of the other arguments, as in `jax.pmap`.
      out_axes: the axes of the results, as in `jax.pmap`.
      axis_name: a name of the axis for collectives inside `fn`.
      axis_size: the number of devices, when no argument and no variable gives it.
      devices: the devices to run on.
      backend: the backend to run on.
      metadata_params: what boxes (`AxisMetadata`) are told about the axis.

    Returns:
      A function of the same arguments, with the axis.

    Raises:
      ValueError: (when called) nothing gives the number of devices, or there are not
        as many.
      PartitioningUnspecifiedError: as in `vmap`.
      As `pack`.

    >>> import jax.numpy as jnp
    >>> from batiste.core import init
    >>> def scale(scope, x):
    ...     return scope.param("scale", jax.nn.initializers.ones, ()) * x
    >>> y, variables = init(pmap(scale, {"params": 0}, {"params": True}))(
    ...     jax.random.key(0), jnp.ones((1, 3)))
    >>> y.shape, variables["params"]["scale"].shape
    ((1, 3), (1,))
    """
    options = {"devices": devices, "backend": backend, "axis_name": axis_name}
    options = {name: value for name, value in options.items() if value is not None}
    return map_axis(
        functools.partial(jax.pmap, **options),
        "pmap",
        fn,
        VariableAxes(variable_axes, metadata_params),
        split_rngs,
        in_axes,
        out_axes,
        axis_size,
    )


def shard_map(
    fn: Function,
    mesh: Mesh | AbstractMesh,
    variable_specs: Mapping[Filter, PartitionSpec],
    split_rngs: Mapping[Filter, bool | str | Iterable[str]],
    in_specs: Tree,
    out_specs: Tree,
    check_vma: bool = True,
) -> Function:
    """Lifted `jax.shard_map`: each device runs a function of a scope on its part.

    Args:
      fn: a function whose first argument is a scope or a pytree of them. It sees the
        part of variables and arguments that a device has.
      mesh: the mesh of devices.
      variable_specs: from filters of collections to how their variables are split
        over the mesh, the same for all of them. Variables made inside are put together
        in this way. Collections that are not named are not there inside `fn`.
      split_rngs: from filters of PRNG streams to the mesh axes along which each device
        gets keys of its own: a name or several, True for all, False for none. Streams
        that are not named are not there inside `fn`.
      in_specs: how the arguments are split, as in `jax.shard_map`: one specification
        for all, or a tuple with one, or a pytree of them, for each.
      out_specs: how the results are put together, as in `jax.shard_map`.
      check_vma: whether JAX checks that what is not split is the same on all devices.

    Returns:
      A function of the same arguments.

    Raises:
      As `pack`, and as `jax.shard_map`.

    >>> import numpy as np
    >>> from batiste.core import init, nn
    >>> mesh = jax.sharding.Mesh(jax.devices()[:1], ("data",))
    >>> P = PartitionSpec
    >>> dense = shard_map(lambda scope, x: nn.dense(scope, x, 3), mesh,
    ...                   {"params": P()}, {"params": False}, P("data"), P("data"))
    >>> init(dense)(jax.random.key(0), np.ones((4, 2)))[0].shape
    (4, 3)
    """
    variable_partition = values_of("variable_specs", variable_specs)
    splits = values_of("split_rngs", split_rngs)
    rng_axes = tuple(_mesh_axes(mesh, split) for split in splits)

    def inner(
        scope_fn: Lifted,
        repack_fn: Repack,
        variable_groups: VariableGroups,
        rng_groups: RngGroups,
        *args: Tree,
    ) -> tuple[Tree, VariableGroups]:
        # Each device takes its own of the keys, which all of them get: that leaves to
        # JAX how arrays are laid out on the mesh.
        rng_groups = tuple(
            tree_map_rngs(functools.partial(_split_over, mesh, names), group)
            for group, names in zip(rng_groups, rng_axes, strict=True)
        )

        def mapped(
            variable_groups: VariableGroups, rng_groups: RngGroups, args: Tree
        ) -> tuple[Tree, Tree]:
            rngs = tuple(
                tree_map_rngs(functools.partial(_own_key, names), group)
                for group, names in zip(rng_groups, rng_axes, strict=True)
            )
            scope = scope_fn(variable_groups, rngs)
            y = fn(scope, *args)
            return y, repack_fn(scope)

        return jax.shard_map(
            mapped,
            mesh=mesh,
            in_specs=(variable_partition, PartitionSpec(), in_specs),
            out_specs=(out_specs, variable_partition),
            check_vma=check_vma,
        )(variable_groups, rng_groups, args)

    filters = tuple(variable_specs)
    return pack(inner, filters, filters, tuple(split_rngs), name="shard_map")


def _mesh_axes(
    mesh: Mesh | AbstractMesh, split: bool | str | Iterable[str]
) -> tuple[str, ...]:
    if isinstance(split, bool):
        return tuple(mesh.axis_names) if split else ()
    return (split,) if isinstance(split, str) else tuple(split)


def _split_over(mesh: Mesh | AbstractMesh, names: tuple[str, ...], key: Key) -> Key:
    """A key for each device along the named mesh axes."""
    if not names:
        return key
    return jax.random.split(key, math.prod(mesh.shape[name] for name in names))


def _own_key(names: tuple[str, ...], keys: Key) -> Key:
    return keys[jax.lax.axis_index(names)] if names else keys
