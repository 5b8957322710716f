"""Axis names: their types, their normal form, and the checks made on them."""

from collections.abc import Iterable, Sequence
from typing import Any, TypeAlias

import jax
from jax.sharding import AbstractMesh, Mesh, NamedSharding, PartitionSpec

from .errors import (
    AxisRulesError,
    DuplicateAxisError,
    RankMismatchError,
    UnknownAxisError,
)

__all__ = [
    "AnyMesh",
    "LogicalNames",
    "LogicalRules",
    "as_axis_names",
    "check_mesh_axes",
    "check_rank",
    "checked_sharding",
    "mesh_axes_of",
    "path_text",
]


LogicalNames: TypeAlias = Sequence[Any]
"""One entry per dimension: a name, None, a tuple of names, or UNCONSTRAINED."""

LogicalRules: TypeAlias = Sequence[Sequence[Any]]
"""Pairs of a logical axis name and the mesh axis, or axes, that it is laid over."""

AnyMesh: TypeAlias = Mesh | AbstractMesh


def as_axis_names(names: Any) -> tuple[Any, ...]:
    """The names as a tuple, which can be hashed as the static part of a pytree.

    Raises:
      AxisRulesError: `names` is one string (which would be read as one name for each
        of its letters) or no sequence at all.
    """
    if isinstance(names, str) or not isinstance(names, Iterable):
        raise AxisRulesError(
            "Axis names are one name or None per dimension, in a tuple, as in "
            f"('batch', None); got {names!r}."
        )
    return tuple(tuple(entry) if isinstance(entry, list) else entry for entry in names)


def check_rank(names: Sequence[Any], value: Any) -> None:
    """Raises RankMismatchError where `value` has fewer dimensions than names."""
    shape = getattr(value, "shape", None)
    if shape is not None and len(names) > len(shape):
        raise RankMismatchError(names, shape)


def check_mesh_axes(mesh: AnyMesh, spec: Iterable[Any]) -> None:
    """Checks the names in a spec against a mesh.

    Raises:
      UnknownAxisError: the mesh has no axis of a name in `spec`.
      DuplicateAxisError: a mesh axis is on two dimensions.
    """
    entries = tuple(spec)
    used = list(mesh_axes_of(entries))
    for axis in used:
        if axis not in mesh.axis_names:
            raise UnknownAxisError(
                axis,
                mesh.axis_names,
                "mesh",
                "Logical names are turned into mesh axes by rules: see "
                "logical_axis_rules.",
            )
    if len(set(used)) < len(used):
        repeated = dict.fromkeys(axis for axis in used if used.count(axis) > 1)
        raise DuplicateAxisError(tuple(repeated), entries)


def checked_sharding(mesh: AnyMesh, spec: Iterable[Any]) -> NamedSharding:
    """`NamedSharding(mesh, spec)`, after `check_mesh_axes`."""
    entries = tuple(spec)
    check_mesh_axes(mesh, entries)
    return NamedSharding(mesh, PartitionSpec(*entries))


def mesh_axes_of(spec: Iterable[Any]) -> Iterable[Any]:
    """The mesh axes in a spec's entries, in order."""
    for entry in spec:
        if isinstance(entry, tuple):
            yield from entry
        elif entry is not None and entry is not PartitionSpec.UNCONSTRAINED:
            yield entry


def path_text(path: Sequence[Any]) -> str:
    """A key path of `jax.tree_util` as text, as in `params/Dense_0/kernel`."""
    return jax.tree_util.keystr(tuple(path), simple=True, separator="/")
