"""What programs use of `flax.linen.module`: the stack of running modules, sentinels.

>>> _context.module_stack[-1] is None  # no module is running
True
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, MutableSequence
from typing import Any

import batiste.linen
from batiste.linen.module.context import context
from batiste.linen.module.context import run_interceptors as run_all
from batiste.linen.module.state import ModuleBase

__all__ = [
    "ParentDescriptor",
    "_ModuleInternalState",
    "_Sentinel",
    "_context",
    "_get_unspecified_parent",
    "_unspecified_parent",
    "run_interceptors",
]


class _ModuleInternalState:
    """Takes the place of what flax pickles beside the fields of a module."""


class _ModuleStack(MutableSequence[Any]):
    """The modules whose methods run in this thread, below them None, as in flax."""

    def __len__(self) -> int:
        return 1 + len(context.modules)

    def __getitem__(self, index: Any) -> Any:
        return [None, *context.modules][index]

    def __setitem__(self, index: Any, value: Any) -> None:
        context.modules[self._place(index)] = value

    def __delitem__(self, index: Any) -> None:
        del context.modules[self._place(index)]

    def insert(self, index: int, value: Any) -> None:
        """Puts a module, or None, before the one at the index."""
        if index < 0:
            index = max(0, index + len(self))
        context.modules.insert(max(0, index - 1), value)

    def __repr__(self) -> str:
        return repr(self[:])

    def _place(self, index: Any) -> int:
        """The place in Batiste's own stack, which has no None at its bottom."""
        place = range(len(self))[index]
        if not isinstance(place, int) or place == 0:
            raise IndexError(
                f"the stack of running modules can change at one place above its "
                f"bottom, which {index!r} is not; it has {len(self)} places"
            )
        return place - 1


class _Context:
    """What this thread is in the middle of.

    Attributes:
      module_stack: the modules whose methods run, the innermost last. None, where it is
        pushed, hides those below from modules that are made.
    """

    module_stack = _ModuleStack()


_context = _Context()

# The class of the value that stands for "the module whose method is running".
_unspecified_parent: Any = batiste.linen.Module.__dataclass_fields__["parent"].default
_Sentinel = type(_unspecified_parent)


def _get_unspecified_parent() -> Any:
    """Returns the value that a module's `parent` has by default."""
    return _unspecified_parent


class ParentDescriptor:
    """An attribute that refers to a module without keeping it alive.

    >>> class Helper:
    ...     owner = ParentDescriptor()
    >>> helper, layer = Helper(), batiste.linen.Dense(2)
    >>> helper.owner = layer
    >>> helper.owner is layer
    True
    """

    def __get__(self, obj: Any, objtype: type | None = None) -> Any:
        # On the class it is None, which dataclasses take for the field's default.
        if obj is None:
            return None
        try:
            found = vars(obj)["_parent_ref"]
        except KeyError:
            raise AttributeError(
                f"{type(obj).__name__!r} object has no parent yet"
            ) from None
        return found() if isinstance(found, weakref.ReferenceType) else found

    def __set__(self, obj: Any, value: Any) -> None:
        if isinstance(value, ModuleBase):
            value = weakref.ref(value)
        vars(obj)["_parent_ref"] = value


def run_interceptors(
    orig_method: Callable[..., Any], module: Any, *args: Any, **kwargs: Any
) -> Any:
    """Runs a bound method through all interceptors, the outermost block first.

    >>> run_interceptors(lambda x: x + 1, batiste.linen.Dense(2), 3)
    4
    """
    return run_all(orig_method, module, args, kwargs)
