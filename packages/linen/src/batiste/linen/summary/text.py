"""Nested values as indented text, with arrays as their types."""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from batiste.core.meta import AxisMetadata

from ..module.state import ModuleBase

__all__ = ["ArraySpec", "BoxSpec", "block_text", "describe", "line_text"]


@dataclasses.dataclass(frozen=True)
class ArraySpec:
    r"""The type of an array.

    Attributes:
      shape: the array's shape.
      dtype: its dtype.

    As text it is `float32[16,3]`, with rich's markup for a dim dtype.

    >>> print(ArraySpec((16, 3), np.dtype("float32")))
    [dim]float32[/dim]\[16,3]
    """

    shape: tuple[int, ...]
    dtype: Any  # of NumPy, of JAX's extensions, or of a PRNG key

    def __str__(self) -> str:
        shape = ",".join(map(str, self.shape))
        return f"[dim]{self.dtype}[/dim]\\[{shape}]"


@dataclasses.dataclass(frozen=True)
class BoxSpec:
    """What a box with axis names holds, and the names.

    Attributes:
      value: the described value.
      names: an entry for each dimension: a name, several, or None.

    >>> print(BoxSpec(3, ("data", None)), BoxSpec(3, ("data",)), BoxSpec(3, ()))
    3 [dim]P[/dim](data, None) 3 [dim]P[/dim](data,) 3 [dim]P[/dim]()
    """

    value: Any
    names: tuple[Any, ...]

    def __str__(self) -> str:
        return f"{_scalar(self.value)} [dim]P[/dim]{_names_text(self.names)}"


def _names_text(names: tuple[Any, ...]) -> str:
    parts = [
        _names_text(name) if isinstance(name, tuple) else str(name) for name in names
    ]
    return f"({', '.join(parts)}{',' if len(parts) == 1 else ''})"


def describe(value: Any) -> Any:
    """Replaces arrays by `ArraySpec`s, and containers by dicts and lists.

    Args:
      value: anything.

    Returns:
      For a mapping or a dataclass (but not a module) a dict, for a sequence a list,
      and what is neither a container nor an array as it is.

    >>> describe({"x": np.zeros(2), "n": (1, None)})
    {'n': [1, None], 'x': ArraySpec(shape=(2,), dtype=dtype('float64'))}
    """
    if isinstance(value, (jax.Array, np.ndarray, jax.ShapeDtypeStruct, np.generic)):
        return ArraySpec(tuple(value.shape), value.dtype)
    if isinstance(value, type) and issubclass(value, np.generic):
        return ArraySpec((), np.dtype(value))
    if isinstance(value, np.dtype):
        return ArraySpec((), value)
    if isinstance(value, Mapping):
        by_text = {_key_text(key): value[key] for key in value}
        return {text: describe(by_text[text]) for text in sorted(by_text)}
    if isinstance(value, AxisMetadata) and isinstance(
        names := getattr(value, "names", None), tuple
    ):
        return BoxSpec(describe(getattr(value, "value", None)), names)
    if isinstance(value, (list, tuple)):
        return [describe(item) for item in value]
    # Modules are dataclasses, too, but to be shown as they print.
    if isinstance(value, (type, ModuleBase)) or not dataclasses.is_dataclass(value):
        return value
    return {
        field.name: describe(getattr(value, field.name))
        for field in dataclasses.fields(value)
    }


def _key_text(key: Any) -> str:
    return str(key.value if isinstance(key, enum.Enum) else key)


def block_text(value: Any) -> str:
    """Writes a described value with a line for each entry, nested by indenting.

    Args:
      value: what `describe` returns.

    Returns:
      Lines of text, with rich's markup.

    >>> print(block_text({"flag": True, "shape": [2, {"x": None}]}))
    flag: True
    shape:
    - 2
    - x: None
    """
    return "\n".join(_lines(value))


def line_text(value: Any) -> str:
    """Writes a described value in one line, without rich's markup.

    Args:
      value: what `describe` returns.

    >>> line_text(describe({"x": np.zeros((2, 3)), "flags": [True, None]}))
    '{flags: [True, None], x: float64[2,3]}'
    """
    if isinstance(value, dict):
        return f"{{{', '.join(f'{k}: {line_text(v)}' for k, v in value.items())}}}"
    if isinstance(value, list):
        return f"[{', '.join(map(line_text, value))}]"
    if isinstance(value, ArraySpec):
        return f"{value.dtype}[{','.join(map(str, value.shape))}]"
    if isinstance(value, BoxSpec):
        return f"{line_text(value.value)} P{_names_text(value.names)}"
    return " ".join(str(value).split())


def _lines(value: Any) -> list[str]:
    lines: list[str] = []
    if isinstance(value, dict):
        for key, item in value.items():
            if isinstance(item, dict) and item:
                lines += [f"{key}:", *("  " + line for line in _lines(item))]
            elif isinstance(item, list) and item:
                lines += [f"{key}:", *_lines(item)]
            else:
                lines.append(f"{key}: {_scalar(item)}")
    elif isinstance(value, list):
        for item in value:
            is_empty = isinstance(item, (dict, list)) and not item
            first, *rest = [_scalar(item)] if is_empty else _lines(item)
            lines += [f"- {first}", *("  " + line for line in rest)]
    else:
        lines.append(_scalar(value))
    return lines


def _scalar(value: Any) -> str:
    if isinstance(value, dict):
        return "{}"
    if isinstance(value, list):
        return "\\[]"
    if isinstance(value, (ArraySpec, BoxSpec)):
        return str(value)
    # What looks like a tag would vanish from a rich table.
    return str(value).replace("\n", "\\n").replace("[", "\\[")
