"""How modules print."""

from __future__ import annotations

import dataclasses
from typing import Any

__all__ = ["module_repr"]

_INDENT = "    "


def module_repr(module: Any) -> str:
    """A module as its class, its attributes and its bound submodules, indented."""
    lines = [
        f"{field.name} = {_value_repr(getattr(module, field.name, None))}"
        for field in dataclasses.fields(module)
        if field.name not in ("parent", "name") and field.repr and field.init
    ]
    sections = []
    if lines:
        sections.append(["# attributes", *lines])
    state = module.__dict__.get("_state")
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
