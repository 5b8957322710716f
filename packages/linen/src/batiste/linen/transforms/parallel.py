"""Lifted `jax.pmap` and `jax.shard_map`: modules with a device for each part."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import jax

from batiste.core import lift
from batiste.core.frozen_dict import FrozenDict
from batiste.core.types import Tree

from .target import MappedAxis, Methods, Target, lift_target

__all__ = ["pmap", "shard_map"]


def pmap(
    target: Target,
    variable_axes: Mapping[Any, MappedAxis] = FrozenDict(),
    split_rngs: Mapping[Any, bool] = FrozenDict(),
    in_axes: Tree = 0,
    out_axes: Tree = 0,
    axis_name: str | None = None,
    axis_size: int | None = None,
    devices: Sequence[Any] | None = None,
    backend: str | None = None,
    metadata_params: Mapping[Any, Any] = FrozenDict(),
    methods: Methods = None,
) -> Target:
    """Lifted `jax.pmap`: as `vmap`, with each index on a device of its own.

    Args:
      target: a module class, or a function whose first argument is a module.
      variable_axes: as for `vmap`; None for variables that all devices have.
      split_rngs: as for `vmap`.
      in_axes: the device axes of the arguments. Keyword arguments are passed to
        every device as they are.
      out_axes: the device axes of the results.
      axis_name: a name for the axis, for collectives such as `jax.lax.pmean`.
      axis_size: the number of devices, if no argument tells it.
      devices: the devices to run on.
      backend: the platform to run on.
      metadata_params: what boxes are told about the axis.
      methods: for a class, the names of the methods to transform, by default
        `__call__`.

    Raises:
      TransformTargetError: `target` is neither.
      TransformedMethodReturnValueError: the function returns a module or variable.
      ValueError: there are not as many devices.

    >>> import jax, jax.numpy as jnp
    >>> import batiste.linen as nn
    >>> Experts = nn.pmap(
    ...     nn.Dense, variable_axes={"params": 0}, split_rngs={"params": True})
    >>> variables = Experts(5).init(jax.random.key(0), jnp.ones((1, 4, 2)))
    >>> variables["params"]["kernel"].shape
    (1, 2, 5)
    """
    options = {
        "variable_axes": variable_axes,
        "split_rngs": split_rngs,
        "in_axes": in_axes,
        "out_axes": out_axes,
        "axis_name": axis_name,
        "axis_size": axis_size,
        "devices": devices,
        "backend": backend,
        "metadata_params": metadata_params,
    }
    return lift_target(lift.pmap, pmap, target, options, methods)


def shard_map(
    target: Target,
    mesh: jax.sharding.Mesh | jax.sharding.AbstractMesh,
    variable_specs: Mapping[Any, jax.sharding.PartitionSpec],
    split_rngs: Mapping[Any, bool | str | Iterable[str]],
    in_specs: Tree,
    out_specs: Tree,
    check_vma: bool = True,
    methods: Methods = None,
) -> Target:
    """Lifted `jax.shard_map`: each device runs a module on its part of the arrays.

    Args:
      target: a module class, or a function whose first argument is a module.
      mesh: the mesh of devices.
      variable_specs: for each collection that is passed in, the `PartitionSpec` by
        which its variables are split over the mesh.
      split_rngs: for each PRNG stream that is passed in, the mesh axes along which
        every device gets a key of its own: names, True for all, False for none.
      in_specs: how the arguments are split, as for `jax.shard_map`. Keyword
        arguments are passed to every device as they are.
      out_specs: how the results are put together, as for `jax.shard_map`.
      check_vma: whether JAX checks that what is not split is the same everywhere.
      methods: for a class, the names of the methods to transform, by default
        `__call__`.

    Raises:
      TransformTargetError: `target` is neither.
      TransformedMethodReturnValueError: the function returns a module or variable.

    >>> import jax, jax.numpy as jnp
    >>> from jax.sharding import PartitionSpec as P
    >>> import batiste.linen as nn
    >>> mesh = jax.sharding.Mesh(jax.devices()[:1], ("data",))
    >>> ShardDense = nn.shard_map(
    ...     nn.Dense, mesh, {"params": P()}, {"params": False}, P("data"), P("data"))
    >>> y, _ = ShardDense(3).init_with_output(jax.random.key(0), jnp.ones((4, 2)))
    >>> y.shape
    (4, 3)
    """
    options = {
        "mesh": mesh,
        "variable_specs": variable_specs,
        "split_rngs": split_rngs,
        "in_specs": in_specs,
        "out_specs": out_specs,
        "check_vma": check_vma,
    }
    return lift_target(lift.shard_map, shard_map, target, options, methods)
