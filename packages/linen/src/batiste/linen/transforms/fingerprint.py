"""Hashable descriptions of the modules of a call, to find compiled code by."""

from __future__ import annotations

import types
from collections.abc import Hashable, Mapping
from typing import Any

import jax
import numpy as np

from batiste.core.types import Tree

from .module_map import ModuleMap, ModuleSpec

__all__ = ["fingerprint"]

_EXACT_TYPES = frozenset({str, bytes, int, bool, type(None)})
_ARRAYS = (jax.Array, np.ndarray)


def fingerprint(module_map: ModuleMap, target: Tree) -> Hashable:
    """Returns a key that two calls share if their modules compute the same.

    Modules are the same if their classes are, their constructor arguments, except
    for names, and which of them share a scope. Functions are compared by identity.

    Args:
      module_map: the modules, all of them added.
      target: the slot of the target, or the tree of slots.

    Returns:
      The key, or None if a module has an argument that cannot be hashed, or that
      may hold arrays of a running call.
    """
    try:
        leaves, treedef = jax.tree.flatten(target)
        key = (
            treedef,
            module_map.has_slots,
            tuple([_of_module(spec) for spec in module_map.specs]),
        )
        hash(key)
    except TypeError:
        return None
    return None if leaves else key


def _of_module(spec: ModuleSpec) -> Hashable:
    arguments = [
        (type(value), value) if type(value) in _EXACT_TYPES else _of_value(value)
        for name, value in spec.arguments.items()
        if name != "name"
    ]
    return (
        spec.cls,
        spec.place,
        spec.in_compact,
        spec.in_setup,
        tuple(spec.cursors.items()),
        spec.within,
        tuple(arguments),
    )


def _of_value(value: Any) -> Hashable:
    """A key for one value; 1, 1.0 and True are three different ones.

    Raises:
      TypeError: there is none.
    """
    kind = type(value)
    if kind in _EXACT_TYPES:
        return kind, value
    if kind is float:
        return kind, value.hex()  # as 0.0 == -0.0
    if kind is tuple or kind is list:
        return kind, tuple(map(_of_value, value))
    if isinstance(value, Mapping):
        items = [(_of_value(key), _of_value(item)) for key, item in value.items()]
        return kind, tuple(items)
    if isinstance(value, types.FunctionType):
        if value.__closure__:
            _check_closure(value.__closure__)
        return value
    if isinstance(value, (types.MethodType, *_ARRAYS)):
        raise TypeError("It may hold arrays.")
    return kind, value


def _check_closure(cells: tuple[types.CellType, ...]) -> None:
    for cell in cells:
        try:
            content = cell.cell_contents
        except ValueError:
            continue  # not assigned yet
        if isinstance(content, _ARRAYS):
            raise TypeError("The closure holds an array.")
