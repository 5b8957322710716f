"""Nested values as indented text, with arrays as their types."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

__all__ = ["ArraySpec", "block_text", "describe"]


@dataclasses.dataclass(frozen=True)
class ArraySpec:
    """The type of an array, printed as `float32[16,3]`."""

    shape: tuple[int, ...]
    dtype: Any

    def __str__(self) -> str:
        shape = ",".join(map(str, self.shape))
        return f"[dim]{self.dtype}[/dim]\\[{shape}]"


def describe(value: Any) -> Any:
    """Replaces arrays by `ArraySpec`s and containers by dicts and lists."""
    if isinstance(value, (jax.Array, np.ndarray, jax.ShapeDtypeStruct, np.generic)):
        return ArraySpec(tuple(value.shape), value.dtype)
    if isinstance(value, type) and issubclass(value, np.generic):
        return ArraySpec((), np.dtype(value))
    if isinstance(value, np.dtype):
        return ArraySpec((), value)
    if isinstance(value, Mapping):
        return {str(key): describe(value[key]) for key in sorted(value, key=str)}
    if isinstance(value, (list, tuple)):
        return [describe(item) for item in value]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        # Modules are dataclasses, but to be shown as they print.
        if not hasattr(value, "_state"):
            return {
                field.name: describe(getattr(value, field.name))
                for field in dataclasses.fields(value)
            }
    return value


def block_text(value: Any) -> str:
    """A described value in block style: a line for each entry, nested by indenting."""
    return "\n".join(_lines(value))


def _lines(value: Any) -> list[str]:
    if isinstance(value, dict):
        lines = []
        for key, item in value.items():
            below = _lines(item)
            if isinstance(item, dict) and item:
                lines += [f"{key}:", *("  " + line for line in below)]
            elif isinstance(item, list) and item:
                lines += [f"{key}:", *below]
            else:
                lines.append(f"{key}: {_scalar(item)}")
        return lines
    if isinstance(value, list):
        lines = []
        for item in value:
            first, *rest = _lines(item) if item or item == 0 else [_scalar(item)]
            lines += [f"- {first}", *("  " + line for line in rest)]
        return lines
    return [_scalar(value)]


def _scalar(value: Any) -> str:
    if isinstance(value, (dict, list)):
        return "{}" if isinstance(value, dict) else "\\[]"
    if isinstance(value, ArraySpec):
        return str(value)
    return _escape(str(value).replace("\n", "\\n"))


def _escape(text: str) -> str:
    # What looks like a tag would vanish from a rich table.
    return text.replace("[", "\\[")
