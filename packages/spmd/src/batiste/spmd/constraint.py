"""Applying a layout to one value, under whatever mesh is in force."""

from collections.abc import Iterable
from typing import Any

import jax
import numpy as np
from jax.core import Tracer
from jax.sharding import AbstractMesh, Mesh, NamedSharding, PartitionSpec

from batiste.core.tracers import is_staging
from batiste.core.types import Array

from .axis_names import AnyMesh, AxisEntry, check_mesh_axes, check_rank
from .context_mesh import explicit_axes, get_global_mesh, manual_axes

__all__ = [
    "constrain",
    "mesh_for",
]


def constrain(value: Any, spec: Iterable[AxisEntry], mesh: AnyMesh | None) -> Any:
    """Lays a value out over the mesh that `mesh_for` tells.

    Args:
      value: an array, or anything else, which is never laid out.
      spec: the mesh axes of each dimension.
      mesh: the mesh, in place of the one in force.

    Returns:
      The value, constrained; the very same where there is no mesh.

    Raises:
      RankMismatchError: `spec` has more entries than `value` dimensions.
      UnknownAxisError: the mesh has no axis of a name in `spec`.
      DuplicateAxisError: a mesh axis is on two dimensions.

    >>> x = np.zeros((4, 2))
    >>> constrain(x, ("data",), None) is x
    True
    >>> mesh = jax.make_mesh((1,), ("data",))
    >>> tuple(constrain(x, ("data",), mesh).sharding.spec)
    ('data',)
    """
    mesh = mesh_for(value, mesh)
    if mesh is None:
        return value
    spec = tuple(spec)
    check_rank(spec, value)
    check_mesh_axes(mesh, spec)
    context = jax.sharding.get_abstract_mesh()
    if context is not None and not context.empty:
        if manual_axes(context):
            return _constrain_in_shard_map(value, spec, context)
        if explicit_axes(context):
            return _constrain_explicit(value, spec, context)
    sharding = NamedSharding(_automatic(mesh), PartitionSpec(*spec))
    return jax.lax.with_sharding_constraint(value, sharding)


def mesh_for(value: Any, mesh: AnyMesh | None) -> AnyMesh | None:
    """Finds the mesh that a value is to be laid over.

    That is the given mesh. Without one it is the mesh in force, but only for values
    that are being staged (by `jax.jit` and the like): eager values stay where they
    are, and so does all that is no array.

    Args:
      value: anything.
      mesh: the mesh, in place of the one in force.

    Returns:
      The mesh, or None.

    >>> mesh = jax.sharding.AbstractMesh((2,), ("data",))
    >>> mesh_for(np.zeros(2), mesh) is mesh
    True
    >>> print(mesh_for(np.zeros(2), None), mesh_for("text", mesh))
    None None
    """
    if mesh is not None:
        return mesh if isinstance(value, (jax.Array, np.ndarray)) else None
    if not isinstance(value, Tracer):
        return None
    mesh = get_global_mesh()
    if mesh is not None and _is_manual(mesh):
        # In `jax.pmap`, and where `jax.shard_map` maps every axis: each device has its
        # part already. The mesh of the former is JAX's own, with none of our names.
        return None
    # Eager `jax.vmap` and `jax.grad` have tracers as well.
    if mesh is None or not is_staging():
        return None
    return mesh


def _automatic(mesh: AnyMesh) -> AnyMesh:
    """The mesh with all of its axes left to the partitioner.

    `jax.make_mesh` makes explicit axes by default. Outside `jax.set_mesh` these have
    no meaning, and JAX refuses constraints over them.
    """
    if isinstance(mesh, Mesh) and explicit_axes(mesh):
        return Mesh(mesh.devices, mesh.axis_names)
    return mesh


def _is_manual(mesh: AnyMesh) -> bool:
    """Whether no axis of the mesh is left to constrain over."""
    return manual_axes(mesh) == frozenset(mesh.axis_names)


def _constrain_in_shard_map(
    value: Array, spec: tuple[AxisEntry, ...], context: AbstractMesh
) -> Array:
    """Constrains over the axes that the enclosing `jax.shard_map` left automatic."""
    spec = _without(spec, manual_axes(context))
    if _is_manual(context) or all(entry is None for entry in spec):
        return value
    try:
        return jax.lax.with_sharding_constraint(value, PartitionSpec(*spec))
    except RuntimeError:  # JAX 0.7 has no constraints inside of `jax.shard_map`.
        return value


def _constrain_explicit(
    value: Array, spec: tuple[AxisEntry, ...], context: AbstractMesh
) -> Array:
    """Reshards over the explicit axes, and constrains over the automatic ones."""
    explicit = explicit_axes(context)
    automatic = frozenset(context.axis_names) - explicit
    if not automatic:  # Where layouts are types, the layout to keep has to be named.
        present = tuple(jax.typeof(value).sharding.spec)
        spec = tuple(
            present[dim] if entry is PartitionSpec.UNCONSTRAINED else entry
            for dim, entry in enumerate(spec)
        )
    value = jax.sharding.reshard(value, PartitionSpec(*_without(spec, automatic)))
    if automatic:
        rest = PartitionSpec(*_without(spec, explicit))
        value = jax.lax.with_sharding_constraint(value, rest)
    return value


def _without(
    spec: tuple[AxisEntry, ...], axes: frozenset[str]
) -> tuple[AxisEntry, ...]:
    """The spec with the given mesh axes taken out."""

    def keep(entry: AxisEntry) -> AxisEntry:
        if isinstance(entry, tuple):
            rest = tuple(axis for axis in entry if axis not in axes)
            return rest or None
        return None if entry in axes else entry

    return tuple(keep(entry) for entry in spec)
