"""Objects to state dicts, and back."""

from __future__ import annotations

import threading

from .errors import SerializationError, join_path
from .jax_leaves import is_prng_key, restore_key
from .registry import Registered, check_names, handler_of, is_flat
from .types import Tree

__all__ = [
    "current_path",
    "from_state_dict",
    "to_state_dict",
]


class _Place(threading.local):
    def __init__(self) -> None:
        self.names: list[str] = []


_PLACE = _Place()


def current_path() -> str:
    """Tells where in the tree `from_state_dict` is at this moment, for messages.

    Meant for functions given to `register_serialization_state`. Each thread has its
    own.

    Returns:
      The names from the root, which is `.`, joined with `/`; an empty string outside of
      `from_state_dict`.

    >>> from batiste.serialization import current_path
    >>> current_path()
    ''
    """
    return "/".join(_PLACE.names)


def to_state_dict(target: Tree) -> Tree:
    """Gives the state of an object as nested dicts with string keys.

    Dicts, lists, tuples, named tuples, registered types and types with the methods
    `__to_state_dict__` and `__from_state_dict__` become dicts; keys that are not
    strings are converted with `str`, and items of lists and tuples are named by their
    position. Everything else, such as arrays, numbers and None, is a leaf and stays the
    object it is.

    Args:
      target: the object.

    Returns:
      A dict, or the object itself if it is a leaf.

    Raises:
      SerializationError: two keys of a dict give the same string, a registered function
        returned names that are not strings, or the tree is too deep or contains itself.

    >>> from batiste.serialization import to_state_dict
    >>> to_state_dict({"layers": [{"bias": 0.5}, {"bias": 1.5}], 10: (True, None)})
    {'layers': {'0': {'bias': 0.5}, '1': {'bias': 1.5}}, '10': {'0': True, '1': None}}
    """
    try:
        return _to_state(target)
    except SerializationError as error:
        error.path = error.path or ""
        raise
    except RecursionError:
        raise _too_deep() from None


def _to_state(target: Tree) -> Tree:
    if is_flat(target):
        return target.copy()
    handler = handler_of(target)
    if handler is None:
        return target
    if isinstance(handler, Registered):
        state = handler.to_state(target)
        check_names(target, state)
        return state
    state = {}
    name = ""
    try:
        for name, child in handler.children(target).items():
            state[name] = _to_state(child)
    except SerializationError as error:
        if name:
            error.path = join_path((name, error.path) if error.path else (name,))
        raise
    return state


def from_state_dict(target: Tree, state: Tree, name: str = ".") -> Tree:
    """Makes a copy of an object with the values of a state dict.

    The target says what to build: its structure, its types, and whatever of it is not
    part of the state. The values of its leaves are not looked at, nor are shapes and
    dtypes compared. A leaf takes what the state has in its place; where the target has
    typed PRNG keys (`jax.random.key`), `uint32` values become keys of the same
    generator. Dicts and other mappings leave aside what the state has beyond their own
    keys; everything else needs exactly its own names.

    Args:
      target: an object with the wanted structure; None takes the state as it is.
      state: a state dict, as `to_state_dict` makes.
      name: the name of this branch in error messages and in `current_path`.

    Returns:
      A new object like `target`. The target is never changed.

    Raises:
      SerializationError: the state lacks names or has unknown ones; its `path` tells
        where, and the message lists them and the nearest names.

    >>> from batiste.serialization import from_state_dict
    >>> from_state_dict({"a": [0, 0], 10: ()}, {"a": {"0": 3, "1": 4}, "10": {}})
    {'a': [3, 4], 10: ()}
    >>> from_state_dict({"params": {"kernel": 0}}, {"params": {"kernal": 1}})
    Traceback (most recent call last):
    ...
    batiste.serialization.errors.SerializationError: The state does not fit the target,
    a dict. Missing from the state: 'kernel'; the nearest to 'kernel': 'kernal'.
    Unexpected in the state: 'kernal'. (at params)
    """
    names = _PLACE.names
    depth = len(names)
    try:
        try:
            names.append(name)
            if (
                is_flat(target)
                and type(state) is dict
                and target.keys() <= state.keys()
            ):
                return {key: state[key] for key in target}
            handler = handler_of(target)
            if handler is None:
                return restore_key(target, state) if is_prng_key(target) else state
            if isinstance(handler, Registered):
                return handler.from_state(target, state)
            children = handler.children(target)
            state = handler.match(target, children, state)
            restored = {}
            for key, child in children.items():
                restored[key] = from_state_dict(child, state[key], key)
            return handler.rebuild(target, restored)
        except SerializationError as error:
            if error.path is None:
                place = join_path(names)
                error.path = "" if place == "." else place.removeprefix("./")
            raise
        except RecursionError:
            if depth:
                raise
            raise _too_deep() from None
        finally:
            del names[depth:]
    except BaseException:
        del names[depth:]  # an interrupt may have come before the above
        raise


def _too_deep() -> SerializationError:
    return SerializationError(
        "The tree is nested deeper than Python's recursion limit, or contains itself."
    )
