"""How modules become submodules: names, adoption of attributes, copies."""

from __future__ import annotations

import enum
import types
import weakref
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from batiste.core import Scope
from batiste.core.frozen_dict import FrozenDict

from .. import errors
from ..flags import config
from .state import ModuleBase

__all__ = [
    "PLAIN_TYPES",
    "adopt",
    "attach",
    "contains_module",
    "is_plain",
    "map_modules",
]

# Values of exactly these types hold no modules: the common ones, found by one look.
PLAIN_TYPES = frozenset(
    {
        bool,
        bytes,
        complex,
        float,
        int,
        str,
        type(None),
        np.dtype,
        np.ndarray,
        types.FunctionType,
        types.BuiltinFunctionType,
        type,
        range,
        slice,
    }
)

# Modules that came from outside, and their copies inside, for each running tree: the
# same object given in two places is one submodule. The copies know their scopes, so a
# strong reference to one would keep its own key alive.
_adopted: weakref.WeakKeyDictionary[Scope, dict[int, tuple[Any, weakref.ref]]]
_adopted = weakref.WeakKeyDictionary()


def _is_module(value: Any) -> bool:
    return isinstance(value, ModuleBase)


def is_plain(value: Any) -> bool:
    """Whether a value that is no module cannot hold any, either."""
    return type(value) in PLAIN_TYPES or isinstance(
        value, (type, jax.Array, enum.Enum, str, np.generic)
    )


def map_modules(
    fn: Callable[[str, Any], Any], value: Any, name: str, freeze: bool = False
) -> Any:
    """Replaces each module in a nested container by `fn(name, module)`.

    Names are `name` for the value itself and `name_key`, `name_0` and so on within
    it. With `freeze`, dicts become `FrozenDict`s and lists tuples.
    """
    if _is_module(value):
        return fn(name, value)
    if is_plain(value):
        return value
    if isinstance(value, (dict, FrozenDict)):
        items = {
            key: map_modules(fn, item, f"{name}_{key}", freeze)
            for key, item in value.items()
        }
        if freeze or isinstance(value, FrozenDict):
            return FrozenDict(items)
        return items
    if isinstance(value, (list, tuple)):
        keys = getattr(value, "_fields", range(len(value)))
        parts = [
            map_modules(fn, item, f"{name}_{key}", freeze)
            for key, item in zip(keys, value)
        ]
        if hasattr(value, "_fields"):
            return type(value)(*parts)
        return parts if isinstance(value, list) and not freeze else tuple(parts)
    if jax.tree_util.all_leaves((value,)):
        return value
    leaves, treedef = jax.tree_util.tree_flatten_with_path(value, is_leaf=_is_module)
    if not any(_is_module(leaf) for _, leaf in leaves):
        return value
    return jax.tree.unflatten(
        treedef,
        [
            fn("_".join([name, *map(_key_text, path)]), leaf)
            if _is_module(leaf)
            else leaf
            for path, leaf in leaves
        ],
    )


def _key_text(key: Any) -> str:
    for attribute in ("key", "idx", "name"):
        if hasattr(key, attribute):
            return str(getattr(key, attribute))
    return str(key)


def contains_module(value: Any) -> bool:
    """Whether a value is a module or a container with one somewhere in it."""
    if _is_module(value):
        return True
    if is_plain(value):
        return False
    if isinstance(value, (dict, FrozenDict)):
        return any(map(contains_module, value.values()))
    if isinstance(value, (list, tuple)):
        return any(map(contains_module, value))
    return any(map(_is_module, jax.tree.leaves(value, is_leaf=_is_module)))


def attach(parent: Any, child: Any) -> None:
    """Makes `child`, which has its name and parent, a submodule of a bound module.

    Raises:
      NameInUseError: the parent has something of this name.
    """
    name = child.name
    scope = parent.scope
    if scope.name_reserved(name):
        raise errors.NameInUseError(
            "submodule", name, type(parent).__name__, scope_path=scope.path_text
        )
    child.__dict__["scope"] = scope.push(name)
    parent._state.children[name] = child


def adopt(parent: Any, name: str, value: Any) -> Any:
    """Binds the modules in a value that becomes the attribute `name` of `parent`.

    Modules without a parent came from outside the running call: a copy is bound, one
    for each object. Modules that wait for a name get one. Others stay where they are.
    Dicts and lists are frozen.

    Raises:
      NameInUseError: the parent has something of one of the names.
    """
    if is_plain(value):
        return value
    waiting: list[Any] = []

    def adopt_one(name: str, module: Any) -> Any:
        own_name = module.name
        if module.parent is None:
            copies = _adopted.setdefault(parent.scope.root, {})
            _, copy = copies.get(id(module), (None, None))
            copy = copy and copy()
            if copy is None:
                copy = module.clone(name=None)
                copies[id(module)] = (module, weakref.ref(copy))
            module = copy
        if module.name is None and module.scope is None:
            keep = config.preserve_adopted_names or parent.preserve_adopted_names
            module.__dict__["name"] = own_name if keep and own_name else name
            module.__dict__["parent"] = parent
            waiting.append(module)
        return module

    value = map_modules(adopt_one, value, name, freeze=True)
    for module in waiting:
        module._bind()
    return value
