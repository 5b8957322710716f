"""Modules in words: how they print, and where they are in a model."""

from __future__ import annotations

import dataclasses
import os
import sys
from typing import Any, Final

from ..errors import ModuleDepthError
from .state import ModuleBase

__all__ = ["located", "module_repr", "too_deep"]

_INDENT = "    "

# With fewer modules than this on the stack they are not what fills it.
_DEEP: Final = 30

# Where modules call each other, or adopt each other: the variable with the outer one.
_NESTING: Final = {
    (os.path.join(os.path.dirname(__file__), "methods.py"), "wrapped"): "self",
    (os.path.join(os.path.dirname(__file__), "submodules.py"), "adopt"): "parent",
}


def located(module: ModuleBase) -> str:
    """The class of a bound module and its path in the model, to begin a message with.

    >>> class Model:
    ...     path = ("encoder", "Dense_0")
    >>> located(Model())
    "Model 'encoder/Dense_0'"
    """
    path = "/".join(module.path)
    return f"{type(module).__name__} {path!r}" if path else type(module).__name__


def module_repr(module: ModuleBase) -> str:
    """A module as its class, its attributes and its bound submodules, indented.

    >>> import batiste.linen as nn
    >>> print(module_repr(nn.Dropout(0.5)))
    Dropout(
        # attributes
        rate = 0.5
        broadcast_dims = ()
        deterministic = None
        rng_collection = 'dropout'
    )
    """
    attributes = vars(module)
    fields: tuple[dataclasses.Field[Any], ...] = dataclasses.fields(module)  # type: ignore[arg-type]
    lines = [
        f"{field.name} = {_value_repr(getattr(module, field.name, None))}"
        for field in fields
        if field.name not in ("parent", "name") and field.repr and field.init
    ]
    sections = []
    if lines:
        sections.append(["# attributes", *lines])
    # It may be asked for in the middle of construction.
    state = attributes.get("_state")
    if state is not None and state.children:
        children = [f"{name} = {child!r}" for name, child in state.children.items()]
        sections.append(["# children", *children])
    name = type(module).__name__
    if not sections:
        return f"{name}()"
    body = "\n".join(line for section in sections for line in section)
    return f"{name}(\n{_INDENT}" + body.replace("\n", "\n" + _INDENT) + "\n)"


def _value_repr(value: Any) -> str:
    # Functions and classes print as their names: an address says nothing.
    if callable(value) and hasattr(value, "__name__"):
        return value.__name__
    return repr(value)


def too_deep(error: RecursionError) -> RecursionError:
    """Returns the error that says how deep modules were nested, if it is that.

    Args:
      error: what was raised, with its traceback.

    >>> error = RecursionError("maximum recursion depth exceeded")
    >>> too_deep(error) is error  # no module in it
    True
    """
    modules = []
    traceback = error.__traceback__
    while traceback is not None:
        frame = traceback.tb_frame
        variable = _NESTING.get((frame.f_code.co_filename, frame.f_code.co_name))
        if variable is not None:
            module = frame.f_locals.get(variable)
            if isinstance(module, ModuleBase):
                modules.append(module)
        traceback = traceback.tb_next
    paths = {m.scope.debug_path for m in modules if m.scope is not None}
    if len(paths) < _DEEP:
        return error
    innermost = max(paths, key=len)
    return ModuleDepthError(len(paths), innermost, sys.getrecursionlimit())
