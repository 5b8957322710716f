"""How the model lies on the devices: the mesh, and the rules for its named axes."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Sequence
from typing import Any

import jax
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from batiste import spmd

__all__ = ["batch_sharding", "in_force", "make_mesh", "rules", "whole"]


def make_mesh(config: Any, devices: Sequence[Any] | None = None) -> Mesh:
    """The mesh over the given devices, or over all there are in all processes.

    Args:
      config: of the run; `config.mesh` gives each axis a size, of which one may be -1:
        the rest of the devices.
      devices: to be used instead of all.

    Raises:
      ValueError: the sizes do not multiply to the number of devices.
    """
    count = len(jax.devices() if devices is None else devices)
    fixed = math.prod(size for _, size in config.mesh if size != -1)
    sizes = [count // fixed if size == -1 else size for _, size in config.mesh]
    if math.prod(sizes) != count:
        wanted = ", ".join(f"{name}={size}" for name, size in config.mesh)
        raise ValueError(
            f"config.mesh, {wanted}, does not fit {count} devices. Run on a multiple "
            f"of {fixed} devices, or change the sizes."
        )
    return jax.make_mesh(
        tuple(sizes),
        tuple(name for name, _ in config.mesh),
        # The partitioner of XLA works the layout out, from the rules' constraints.
        axis_types=(AxisType.Auto,) * len(sizes),
        devices=devices,
    )


def rules(config: Any) -> tuple[tuple[str, Any], ...]:
    """Which named axis lies over which axis of the mesh, the first that is free."""
    return tuple((name, axis) for name, axis in config.rules)


@contextlib.contextmanager
def in_force(config: Any, mesh: Mesh) -> Iterator[None]:
    """Lets models that are traced inside of the block be laid out so."""
    # JAX 0.7 has `jax.set_mesh` under another name.
    set_mesh = getattr(jax, "set_mesh", None) or jax.sharding.use_mesh  # pyright: ignore
    with set_mesh(mesh), spmd.logical_axis_rules(rules(config)):
        yield


def batch_sharding(config: Any, mesh: Mesh) -> NamedSharding:
    """Of the arrays of a batch (batch, length)."""
    spec = PartitionSpec("batch", "length")
    return spmd.logical_to_mesh_sharding(spec, mesh, rules(config))


def whole(mesh: Mesh) -> NamedSharding:
    """Of what every device has all of."""
    return NamedSharding(mesh, PartitionSpec())
