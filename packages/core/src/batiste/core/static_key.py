"""Hashable keys of static values, equal only for values that are the same.

Compiled code is found by the values that it was compiled for. Python's `==` is too
coarse for that: `1 == 1.0 == True`, `0.0 == -0.0`, and a dataclass can leave fields out
of its comparison.
"""

from __future__ import annotations

import dataclasses
import enum
import functools
import types
import weakref
from collections import deque
from collections.abc import Hashable, Iterator, Mapping
from typing import Any

import jax
import numpy as np

__all__ = ["ExactKey", "functions_of", "static_key"]

# Of these types, values that are equal are the same.
_EXACT_TYPES = frozenset({str, bytes, int, bool, type(None), type(...)})
_BUILTIN_TYPES = (str, bytes, int, float, complex, tuple, list, frozenset, dict)
_ARRAYS = (jax.Array, np.ndarray)
_MUTABLE = (set, bytearray, deque, memoryview, Iterator)


class ExactKey:
    """Base class of those that tell by which of their parts they are the same.

    >>> class Scale(ExactKey):
    ...     def __init__(self, factor, note):
    ...         self.factor, self.note = factor, note
    ...     def __key_parts__(self):
    ...         return (self.factor,)
    >>> len({static_key(Scale(2, "a")), static_key(Scale(2, "b"))})
    1
    """

    def __key_parts__(self) -> tuple[Any, ...]:
        """Returns the parts; two values of one class with the same parts are the same.

        Raises:
          TypeError: there are none.
        """
        raise TypeError(f"{type(self).__name__} has no parts to be compared by.")


def static_key(value: Any) -> Hashable:
    """Returns a key that two values share only if they are the same.

    They are if their types are and all that they are made of, also what `==` does not
    look at. Functions, and objects that do not define `==`, go by identity and by what
    they hold; the key refers to functions weakly, and never equals another one when
    they are gone.

    Args:
      value: what is constant in compiled code.

    Raises:
      TypeError: there is no key, as the value cannot be hashed, or may hold arrays.

    >>> values = [1, 1.0, True, 0.0, -0.0, (1,), (1.0,), np.float32(0.0)]
    >>> len({static_key(value) for value in values})
    8
    >>> static_key({"a": [1, 2]}) == static_key({"a": [1, 2]})
    True
    """
    kind = type(value)
    if kind in _EXACT_TYPES:
        return kind, value
    key = _key(value, ())
    hash(key)
    return key


def _key(value: Any, above: tuple[Any, ...]) -> Hashable:
    """A key for a value that is within `above`."""
    kind = type(value)
    if kind in _EXACT_TYPES:
        return kind, value
    if kind is float:
        return kind, value.hex()  # as 0.0 == -0.0
    if isinstance(value, types.FunctionType):
        return _of_function(value, above)
    if isinstance(
        value, (type, types.ModuleType, types.BuiltinFunctionType, enum.Enum)
    ):
        if isinstance(value, types.BuiltinFunctionType) and isinstance(
            value.__self__, _ARRAYS
        ):
            raise TypeError("It is a method of an array.")
        return kind, value
    if isinstance(value, (types.MethodType, *_ARRAYS, *_MUTABLE)):
        raise TypeError(f"A {kind.__name__} may hold arrays, or change.")
    if any(value is other for other in above):
        return "cycle", len(above)
    above = (*above, value)
    if isinstance(value, np.generic):
        return kind, value.dtype.str, value.tobytes()
    if isinstance(value, ExactKey):
        return kind, tuple([_key(part, above) for part in value.__key_parts__()])
    if kind.__module__.partition(".")[0] in ("jax", "jaxlib", "numpy", "ml_dtypes"):
        return kind, value  # dtypes, meshes, shardings: equal is the same
    if isinstance(value, functools.partial):
        parts = [value.func, value.args, value.keywords]
        return kind, tuple([_key(part, above) for part in parts])
    if isinstance(value, (*_BUILTIN_TYPES, Mapping)):
        state = () if kind.__module__ == "builtins" else _state(value, above)
        return kind, _of_builtin(value, above), state
    state = _state(value, above)
    if kind.__eq__ is object.__eq__:
        return kind, _Same(value), state
    if dataclasses.is_dataclass(kind):
        return kind, state
    reduced: Any = value.__reduce_ex__(4)
    if isinstance(reduced, str):
        return kind, _Same(value)
    make, args, *more = reduced
    items = [tuple(part) if isinstance(part, Iterator) else part for part in more]
    return kind, state, _key((make, args, *items), above)


def _of_builtin(value: Any, above: tuple[Any, ...]) -> Hashable:
    """A key for what a value of one of Python's own types, or of a subclass, holds."""
    if isinstance(value, Mapping):
        items = value.items()
        return tuple([(_key(name, above), _key(item, above)) for name, item in items])
    if isinstance(value, (tuple, list)):
        return tuple([_key(item, above) for item in value])
    if isinstance(value, frozenset):
        return frozenset([_key(item, above) for item in value])
    if isinstance(value, float):
        return float(value).hex()
    if isinstance(value, complex):
        number = complex(value)
        return number.real.hex(), number.imag.hex()
    if isinstance(value, int):
        return int(value)
    return str.__str__(value) if isinstance(value, str) else bytes(value)


def _of_function(fn: types.FunctionType, above: tuple[Any, ...]) -> Hashable:
    """A key for a function, and what it holds apart from its code."""
    reference = weakref.ref(fn)
    held: list[Any] = []
    if not (fn.__closure__ or fn.__defaults__ or fn.__kwdefaults__):
        return reference
    if (fn.__module__ or "").partition(".")[0] == "jax":
        return reference
    if any(fn is other for other in above):
        return reference
    above = (*above, fn)
    for cell in fn.__closure__ or ():
        try:
            held.append(cell.cell_contents)
        except ValueError:
            continue  # not assigned yet
    held += fn.__defaults__ or ()
    held += (fn.__kwdefaults__ or {}).values()
    keys = []
    for part in held:
        if isinstance(part, _ARRAYS) or (
            isinstance(part, types.MethodType) and isinstance(part.__self__, _ARRAYS)
        ):
            raise TypeError("The function holds an array.")
        keys.append(_Same(part) if _has_no_hash(part) else _key(part, above))
    return reference, tuple(keys)


def _has_no_hash(value: Any) -> bool:
    """Whether a function that holds the value goes by its identity alone."""
    return isinstance(value, (types.MethodType, *_MUTABLE))


def _state(value: Any, above: tuple[Any, ...]) -> Hashable:
    """A key for all attributes of an object."""
    attributes = dict(getattr(value, "__dict__", ()))
    for cls in type(value).__mro__:
        slots = cls.__dict__.get("__slots__", ())
        for slot in (slots,) if isinstance(slots, str) else slots:
            if slot not in ("__dict__", "__weakref__") and hasattr(value, slot):
                attributes[slot] = getattr(value, slot)
    return tuple([(name, _key(item, above)) for name, item in attributes.items()])


class _Same:
    """Equal only for one and the same object, which it keeps."""

    __slots__ = ("value",)

    def __init__(self, value: Any):
        self.value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and self.value is other.value

    def __hash__(self) -> int:
        return id(self.value)


def functions_of(key: Hashable) -> list[types.FunctionType]:
    """Returns the functions that a key refers to weakly.

    >>> def scale(x): return 2 * x
    >>> functions_of((1, static_key((scale, "a")))) == [scale]
    True
    """
    found: list[types.FunctionType] = []
    pending: list[Any] = [key]
    while pending:
        part = pending.pop()
        if isinstance(part, weakref.ref):
            fn = part()
            if isinstance(fn, types.FunctionType):
                found.append(fn)
        elif isinstance(part, (tuple, frozenset)):
            pending.extend(part)
    return found
