"""Axis names: their types, their normal form, and the checks made on them."""

from collections.abc import Hashable, Iterable, Sequence
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
    "AxisEntry",
    "LogicalNames",
    "LogicalRules",
    "as_axis_names",
    "check_mesh_axes",
    "check_rank",
    "checked_sharding",
    "mesh_axes_of",
    "path_text",
]


AxisEntry: TypeAlias = Hashable
"""One dimension's entry: a name, None, a tuple of mesh axes, or UNCONSTRAINED."""

LogicalNames: TypeAlias = Sequence[AxisEntry]
"""One entry per dimension of a value."""

LogicalRules: TypeAlias = Sequence[Sequence[AxisEntry]]
"""Pairs of a logical axis name and the mesh axis, or axes, that it is laid over."""

AnyMesh: TypeAlias = Mesh | AbstractMesh
"""A mesh, with devices or without."""


def as_axis_names(names: Iterable[AxisEntry]) -> tuple[AxisEntry, ...]:
    """Gives the names as a tuple, which can be hashed as the static part of a pytree.

    Args:
      names: one entry per dimension.

    Returns:
      A tuple, with tuples in place of lists.

    Raises:
      AxisRulesError: `names` is one string (which would be read as one name for each
        of its letters) or no sequence at all.

    >>> as_axis_names(["batch", ["x", "y"], None])
    ('batch', ('x', 'y'), None)
    """
    if isinstance(names, str) or not isinstance(names, Iterable):
        raise AxisRulesError(
            "Axis names are one name or None per dimension, in a tuple, as in "
            f"('batch', None); got {names!r}."
        )
    return tuple(tuple(entry) if isinstance(entry, list) else entry for entry in names)


def check_rank(names: LogicalNames, value: Any) -> None:
    """Checks that a value has a dimension for each name.

    Args:
      names: one entry per dimension.
      value: an array; what has no shape passes.

    Raises:
      RankMismatchError: `value` has fewer dimensions than names.

    >>> import numpy as np
    >>> check_rank(("data", None), np.zeros((2, 3, 4)))
    """
    shape = getattr(value, "shape", None)
    if shape is not None and len(names) > len(shape):
        raise RankMismatchError(names, shape)


def check_mesh_axes(mesh: AnyMesh, spec: Iterable[AxisEntry]) -> None:
    """Checks the names in a spec against a mesh.

    Args:
      mesh: the mesh.
      spec: the mesh axes of each dimension.

    Raises:
      UnknownAxisError: the mesh has no axis of a name in `spec`.
      DuplicateAxisError: a mesh axis is on two dimensions.

    >>> import jax
    >>> mesh = jax.sharding.AbstractMesh((2, 4), ("data", "model"))
    >>> check_mesh_axes(mesh, (None, ("data", "model")))
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


def checked_sharding(mesh: AnyMesh, spec: Iterable[AxisEntry]) -> NamedSharding:
    """Makes a `NamedSharding` of names that have passed `check_mesh_axes`.

    Args:
      mesh: the mesh.
      spec: the mesh axes of each dimension.

    Returns:
      `NamedSharding(mesh, PartitionSpec(*spec))`.

    Raises:
      UnknownAxisError: the mesh has no axis of a name in `spec`.
      DuplicateAxisError: a mesh axis is on two dimensions.

    >>> import jax
    >>> mesh = jax.sharding.AbstractMesh((2, 4), ("data", "model"))
    >>> checked_sharding(mesh, (None, "model")).shard_shape((8, 8))
    (8, 2)
    """
    entries = tuple(spec)
    check_mesh_axes(mesh, entries)
    return NamedSharding(mesh, PartitionSpec(*entries))


def mesh_axes_of(spec: Iterable[AxisEntry]) -> Iterable[Hashable]:
    """Yields the mesh axes in a spec's entries, in order.

    >>> list(mesh_axes_of((None, ("data", "model"), "expert")))
    ['data', 'model', 'expert']
    """
    for entry in spec:
        if isinstance(entry, tuple):
            yield from entry
        elif entry is not None and entry is not PartitionSpec.UNCONSTRAINED:
            yield entry


def path_text(path: Iterable[Any]) -> str:
    """Gives a key path of `jax.tree_util` as text.

    >>> from jax.tree_util import DictKey
    >>> path_text((DictKey("params"), DictKey("kernel")))
    'params/kernel'
    """
    return jax.tree_util.keystr(tuple(path), simple=True, separator="/")
