"""Which types have a state, and how it is taken and given back.

Three things make a type serializable, and the nearest in its method resolution order
wins: functions registered for it, the two methods of the protocol on it, or being one
of the containers of Python. Whatever has none of them is a leaf.
"""

from __future__ import annotations

import copy
import sys
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from .errors import SerializationError, join_path, listed, nearest
from .jax_leaves import is_jax_array, is_jax_partial, is_prng_key
from .types import State

__all__ = [
    "Container",
    "Registered",
    "check_names",
    "find_handler",
    "handler_of",
    "is_flat",
    "is_registered",
    "is_serializable",
    "register_serialization_state",
    "registered_types",
]


class Registered(NamedTuple):
    """Functions that a user registered; they recurse into their parts themselves.

    Attributes:
      to_state: takes an object and returns its state.
      from_state: takes an object and a state and returns a new object with that state.

    >>> Registered(lambda x: {"real": x.real}, lambda x, s: s["real"]).to_state(3)
    {'real': 3}
    """

    to_state: Callable[[Any], Any]
    from_state: Callable[[Any, Any], Any]


class Container(NamedTuple):
    """A type whose children are taken and given back one level at a time.

    Attributes:
      children: the unconverted children of an object by name.
      rebuild: makes a new object from the old one and the restored children.
      match: checks a state against the target and its children and returns it, with
        exactly the names of the children or more.

    >>> find_handler(list).children([5, 6])
    {'0': 5, '1': 6}
    """

    children: Callable[[Any], State]
    rebuild: Callable[[Any, dict[str, Any]], Any]
    match: Callable[[Any, State, Any], State]


def register_serialization_state(
    ty: type,
    ty_to_state_dict: Callable[[Any], Any],
    ty_from_state_dict: Callable[[Any, Any], Any],
    override: bool = False,
) -> None:
    """Makes a type serializable by two functions.

    Subclasses use the functions of their nearest base class, unless they bring their
    own. For a type of one's own, the methods `__to_state_dict__` and
    `__from_state_dict__` do the same without importing this package.

    Args:
      ty: the type.
      ty_to_state_dict: takes an object of that type and returns its state, a dict whose
        keys are strings. It calls `to_state_dict` on parts that have a state of their
        own.
      ty_from_state_dict: takes an object of that type and a state dict, and makes a
        new object that has that state. It calls `from_state_dict` on the parts, with
        their names.
      override: replaces what the type has already.

    Raises:
      SerializationError: the type itself, not only a base class, is serializable
        already and `override` is false.

    >>> from batiste.serialization import from_bytes, from_state_dict, to_bytes
    >>> from batiste.serialization import register_serialization_state, to_state_dict
    >>> class Counter:
    ...     def __init__(self, counts):
    ...         self.counts = counts
    >>> register_serialization_state(
    ...     Counter,
    ...     lambda counter: {"counts": to_state_dict(counter.counts)},
    ...     lambda counter, state: Counter(
    ...         from_state_dict(counter.counts, state["counts"], name="counts")
    ...     ),
    ... )
    >>> from_bytes(Counter({"seen": 0}), to_bytes(Counter({"seen": 7}))).counts
    {'seen': 7}
    """
    # What a base class has does not count: a subclass may be taken apart differently.
    if not override and is_registered(ty):
        raise SerializationError(
            f"The type {ty.__name__!r} is serializable already. Pass override=True to "
            "replace how it is."
        )
    _REGISTRY[ty] = Registered(ty_to_state_dict, ty_from_state_dict)
    _LEAVES.clear()


def is_registered(ty: type) -> bool:
    """Tells whether a type itself, not only a base class, has a state of its own.

    >>> is_registered(dict), is_registered(int)
    (True, False)
    """
    return ty in _REGISTRY or "__to_state_dict__" in ty.__dict__


def registered_types() -> tuple[type, ...]:
    """The types that functions are registered for; those of the protocol are not here.

    >>> registered_types()[:3]
    (<class 'dict'>, <class 'list'>, <class 'tuple'>)
    """
    return tuple(_REGISTRY)


def is_serializable(target: Any) -> bool:
    """Tells whether a type, or the type of an object, has a state of its own.

    It has when it, or a base class, is registered, is a dict, list or tuple, or has the
    methods of the protocol. Leaves, such as arrays and numbers, have none and are saved
    as they are; so do plain named tuples, which need no registration.

    >>> from batiste.serialization import is_serializable
    >>> is_serializable({"a": 1}), is_serializable(dict), is_serializable(1)
    (True, True, False)
    """
    ty = target if isinstance(target, type) else type(target)
    return find_handler(ty) not in (None, _NAMED_TUPLE)


def find_handler(ty: type) -> Registered | Container | None:
    """Finds how objects of a type are taken apart and put together; None for leaves.

    >>> class Names(list):
    ...     pass
    >>> find_handler(Names) is find_handler(list), find_handler(int)
    (True, None)
    """
    for base in ty.__mro__:
        if (found := _REGISTRY.get(base)) is not None:
            if base is not tuple or ty is tuple:
                return found
            # Other subclasses of tuple cannot be made from their items in general.
            return _NAMED_TUPLE if hasattr(ty, "_fields") else None
        if "__to_state_dict__" in base.__dict__ and _has_protocol(ty):
            return _PROTOCOL
    return None


def handler_of(target: Any) -> Registered | Container | None:
    """Does what `find_handler` does for an object's type; knows `Partial` of JAX too.

    >>> handler_of({}) is find_handler(dict), handler_of(3)
    (True, None)
    """
    found = find_handler(type(target))
    return _PARTIAL if found is None and is_jax_partial(target) else found


def is_flat(target: Any) -> bool:
    """Tells whether an object is a dict of leaves by strings, which is its own state.

    Without a call for each leaf, since they are where the time goes. So only types that
    were leaves in another dict, and stay so, count: of Python, NumPy and JAX.

    >>> is_flat({"a": 1, "b": None}), is_flat({"a": []}), is_flat({1: 1})
    (True, False, False)
    """
    if type(target) is not dict or not _STRINGS.issuperset(map(type, target)):
        return False
    if _LEAVES.issuperset(map(type, target.values())):
        return True
    for leaf in target.values():
        ty = type(leaf)
        if ty not in _LEAVES:
            if not _stays_leaf(ty, leaf) or find_handler(ty) is not None:
                return False
            _LEAVES.add(ty)
    return True


def _stays_leaf(ty: type, leaf: Any) -> bool:
    """Whether nothing but a registration makes a state of a type's objects."""
    if ty in _PLAIN:
        return True
    core = getattr(sys.modules.get("jax"), "core", None)
    return is_jax_array(leaf) and not (
        is_prng_key(leaf) or core is None or isinstance(leaf, core.Tracer)
    )


def _has_protocol(ty: type) -> bool:
    return hasattr(ty, "__to_state_dict__") and hasattr(ty, "__from_state_dict__")


def _mapping_of(state: Any, target: Any) -> State:
    if not isinstance(state, Mapping):
        raise SerializationError(
            f"The target is a {type(target).__name__}, which is restored from a dict, "
            f"but the state holds a value of type {type(state).__name__!r}."
        )
    return state


def _mismatch(target: Any, children: State, state: State) -> str:
    missing = [name for name in children if name not in state]
    unexpected = [name for name in state if name not in children]
    fit = f"The state does not fit the target, a {type(target).__name__}."
    # Programs that were written for Flax look for the first words about fields.
    fields = not isinstance(target, (Mapping, list, tuple))
    parts = [] if fields else [fit]
    if missing:
        hints = "".join(nearest(name, unexpected) for name in missing[:3])
        start = "Missing fields of the state" if fields else "Missing from the state"
        parts.append(f"{start}: {listed(missing)}{hints}.")
    if unexpected:
        hints = "".join(nearest(str(n), children) for n in unexpected[:3])
        hints = "" if missing else hints  # they would only say the same the other way
        start = "Unknown fields in the state" if fields else "Unexpected in the state"
        parts.append(f"{start}: {listed(unexpected)}{hints}.")
    if fields:
        parts.append(fit)
    return " ".join(parts)


def _match_some(target: Any, children: State, state: Any) -> State:
    """Mappings take what they have names for and leave the rest."""
    state = _mapping_of(state, target)
    if any(name not in state for name in children):
        raise SerializationError(_mismatch(target, children, state))
    return state


def _match_all(target: Any, children: State, state: Any) -> State:
    state = _mapping_of(state, target)
    if children.keys() != state.keys():
        raise SerializationError(_mismatch(target, children, state))
    return state


def _match_length(target: Any, children: State, state: Any) -> State:
    state = _mapping_of(state, target)
    if len(children) != len(state):
        raise SerializationError(
            f"The target, a {type(target).__name__}, has {len(children)} items, but "
            f"the state has {len(state)}. {_mismatch(target, children, state)}"
        )
    return _match_all(target, children, state)


def _match_fields(target: Any, children: State, state: Any) -> State:
    state = _mapping_of(state, target)
    if state.keys() == {"name", "fields", "values"} != children.keys():
        # The first releases of Flax wrote named tuples as a list of names beside a list
        # of values.
        fields, values = state["fields"], state["values"]
        if (
            isinstance(fields, Mapping)
            and isinstance(values, Mapping)
            and all(isinstance(name, str) for name in fields.values())
        ):
            state = {fields[i]: values[i] for i in fields if i in values}
    return _match_all(target, children, state)


def _match_protocol(target: Any, children: State, state: Any) -> State:
    match = _match_some if isinstance(target, Mapping) else _match_all
    return match(target, children, state)


def _dict_children(target: dict[Any, Any]) -> State:
    children = {str(key): value for key, value in target.items()}
    if len(children) != len(target):
        seen: set[str] = set()
        twice = [k for k in map(str, target) if k in seen or seen.add(k)]
        raise SerializationError(
            "The keys of a dict are saved as strings, and these are the same string as "
            f"another key: {listed(twice)}. Rename one of each."
        )
    return children


def _rebuild_dict(target: dict[Any, Any], restored: dict[str, Any]) -> dict[Any, Any]:
    if type(target) is dict:
        return {key: restored[str(key)] for key in target}
    new = copy.copy(target)  # keeps the order or the default factory of a subclass
    for key in target:
        new[key] = restored[str(key)]
    return new


def _rebuild_list(target: list[Any], restored: dict[str, Any]) -> list[Any]:
    if type(target) is list:
        return list(restored.values())
    new = copy.copy(target)
    new[:] = restored.values()
    return new


def _item_children(target: list[Any] | tuple[Any, ...]) -> State:
    return {str(i): item for i, item in enumerate(target)}


def _field_children(target: Any) -> State:
    return {name: getattr(target, name) for name in type(target)._fields}


def _rebuild_partial(target: Any, restored: dict[str, Any]) -> Any:
    return type(target)(target.func, *restored["args"], **restored["keywords"])


def _protocol_children(target: Any) -> State:
    children = target.__to_state_dict__()
    check_names(target, children)
    return children


def check_names(target: Any, state: Any) -> None:
    """Refuses a dict with names that are not strings, which no file could give back.

    Args:
      target: the object whose state it is.
      state: what its functions returned.

    Raises:
      SerializationError: a name is not a string.

    >>> check_names(object(), {"kernel": 1})
    """
    if isinstance(state, dict):
        wrong = [name for name in state if not isinstance(name, str)]
        if wrong:
            raise SerializationError(
                f"The state of a {type(target).__name__} must have strings for names, "
                f"but has {join_path(wrong[:3])!r}."
            )


_STRINGS = frozenset({str})
_PLAIN = frozenset(
    (
        np.ndarray,
        np.float32,
        np.int32,
        int,
        float,
        bool,
        complex,
        str,
        bytes,
        type(None),
    )
)
_LEAVES: set[type] = set()  # those that were met

_NAMED_TUPLE = Container(
    _field_children, lambda target, new: type(target)(**new), _match_fields
)
_PARTIAL = Container(
    lambda target: {"args": target.args, "keywords": target.keywords},
    _rebuild_partial,
    _match_some,
)
_PROTOCOL = Container(
    _protocol_children,
    lambda target, new: target.__from_state_dict__(new),
    _match_protocol,
)
_REGISTRY: dict[type, Registered | Container] = {
    dict: Container(_dict_children, _rebuild_dict, _match_some),
    list: Container(_item_children, _rebuild_list, _match_length),
    tuple: Container(
        _item_children, lambda target, new: tuple(new.values()), _match_length
    ),
}
