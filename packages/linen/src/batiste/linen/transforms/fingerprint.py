"""Hashable descriptions of the modules of a call, to find compiled code by."""

from __future__ import annotations

from collections.abc import Hashable

import jax

from batiste.core.static_key import static_key
from batiste.core.types import Tree

from .module_map import ModuleMap, ModuleSlot, ModuleSpec

__all__ = ["fingerprint"]

_EXACT_TYPES = frozenset({str, bytes, int, bool, type(None), ModuleSlot})


def fingerprint(module_map: ModuleMap, target: Tree) -> Hashable:
    """Returns a key that two calls share if their modules compute the same.

    Modules are the same if their classes are, their constructor arguments, except
    for names, and which of them share a scope. Arguments are the same if they are in
    all that they are made of, types and signs included; functions go by identity.

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
    except Exception:  # in the user's own attributes, hashes or reductions
        return None
    return None if leaves else key


def _of_module(spec: ModuleSpec) -> Hashable:
    arguments = [
        (type(value), value) if type(value) in _EXACT_TYPES else static_key(value)
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
