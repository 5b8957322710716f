"""Values as HTML for notebooks: trees that fold, with arrays as what they are.

Colours are those of the page around, light or dark. No array is read, and nothing is
computed: what is shown is shapes, dtypes, sizes and shardings.
"""

from __future__ import annotations

import dataclasses
import html
from collections.abc import Callable, Iterable, Mapping
from typing import Any

__all__ = [
    "bytes_text",
    "dim",
    "escaped",
    "folded",
    "line",
    "page",
    "size_of",
    "size_text",
    "text_of",
    "tree",
]

# What is longer is cut, and so is what has more entries: a page is to be looked at.
_LONGEST = 300
_MOST = 500

_PAGE = "font-family:monospace;color:inherit;background:transparent;line-height:1.5"
_INSIDE = (
    "margin-left:0.6em;padding-left:1em;border-left:1px solid;border-color:currentColor"
)

Special = Callable[[str, Any], "str | None"]
"""Shows a value under its name in a way of its own, or returns None."""


def page(make: Callable[[], str]) -> str | None:
    """Returns the whole of an object's HTML.

    Args:
      make: makes what is in it.

    Returns:
      The HTML, or None if that fails: notebooks then show the object as text.

    >>> page(lambda: "<b>1</b>").endswith("<b>1</b></div>")
    True
    >>> page(lambda: 1 / 0)
    """
    try:
        return f'<div class="batiste" style="{_PAGE}">{make()}</div>'
    except Exception:
        return None


def escaped(text: object) -> str:
    """Returns a text, cut if it is long, with the characters that HTML gives a meaning.

    >>> escaped("a < b")
    'a &lt; b'
    """
    text = str(text)
    if len(text) > _LONGEST:
        text = text[: _LONGEST - 3] + "..."
    # A lone half of a pair of UTF-16 cannot be sent to a browser.
    text = text.encode("utf-8", "replace").decode("utf-8")
    return html.escape(text)


def dim(text: object) -> str:
    """Returns a text that stands back, in HTML.

    >>> "1 &lt; 2" in dim("1 < 2")
    True
    """
    return f'<span style="opacity:0.75">{escaped(text)}</span>' if text else ""


def line(name: str, value: str) -> str:
    """Returns a line with a name and what it stands for.

    Args:
      name: the name, a text.
      value: what is shown, in HTML.

    >>> line("a", "1")
    '<div>a: 1</div>'
    """
    return f"<div>{escaped(name)}: {value}</div>"


def folded(summary: str, inside: Iterable[str], *, shown: bool = False) -> str:
    """Returns an entry that opens when it is clicked.

    Args:
      summary: what is always there, in HTML.
      inside: what is in it, in HTML.
      shown: whether it is open at first.

    >>> folded("a", [])
    '<div>a</div>'
    """
    body = "".join(inside)
    if not body:
        return f"<div>{summary}</div>"
    return (
        f"<details{' open' if shown else ''}>"
        f'<summary style="cursor:pointer">{summary}</summary>'
        f'<div style="{_INSIDE}">{body}</div></details>'
    )


def tree(
    name: str, value: Any, special: Special | None = None, *, shown: bool = False
) -> str:
    """Shows a value: containers as entries that open, arrays by what they are.

    Args:
      name: the value's name.
      value: anything; mappings, sequences and dataclasses have entries.
      special: asked for each value first.
      shown: whether the entry is open at first.

    >>> tree("x", [1])
    '<div>x: [1]</div>'
    >>> import numpy as np
    >>> tree("x", np.zeros((2, 3)))
    '<div>x: float64[2,3] <span style="opacity:0.75">6 (48 B)</span></div>'
    """
    try:
        return _tree(name, value, special, shown)
    except Exception:  # what it holds cannot be looked at, or it has no end
        return line(name, escaped(f"<{type(value).__name__}>"))


def _tree(name: str, value: Any, special: Special | None, shown: bool) -> str:
    if special is not None:
        found = special(name, value)
        if found is not None:
            return found
    if _is_array(value):
        return line(name, _array(value))
    if _is_box(value):
        names = f"P{tuple(value.names)}"
        held = value.value
        inner = _array(held) if _is_array(held) else escaped(text_of(held))
        return line(name, f"{inner} {dim(names)}")
    entries = _entries(value)
    if not entries or (not isinstance(value, Mapping) and _is_plain(entries)):
        return line(name, escaped(text_of(value)))
    size = size_of(value)
    kind = "" if type(value) is dict else type(value).__name__
    summary = " ".join(
        filter(
            None, [escaped(name), dim(kind), dim(size_text(size) if size[0] else "")]
        )
    )
    parts = [tree(key, item, special) for key, item in entries[:_MOST]]
    if len(entries) > _MOST:
        parts.append(f"<div>{dim(f'... and {len(entries) - _MOST:,} more')}</div>")
    return folded(summary, parts, shown=shown)


def text_of(value: Any) -> str:
    """Returns how a value prints, functions and classes as their names.

    >>> text_of(3), text_of(len)
    ('3', 'len')
    """
    try:
        if callable(value) and isinstance(getattr(value, "__name__", None), str):
            return value.__name__
        return repr(value)
    except Exception:
        return f"<{type(value).__name__}>"


def size_of(value: Any) -> tuple[int, int]:
    """Counts the elements and the bytes of a value's arrays.

    >>> import numpy as np
    >>> size_of({"a": [np.zeros(2)], "b": np.zeros(3), "c": 1})
    (5, 40)
    """
    if _is_array(value):
        return _array_size(value)
    if _is_box(value):
        return size_of(value.value)
    sizes = [size_of(item) for _, item in _entries(value)]
    return sum(size for size, _ in sizes), sum(num_bytes for _, num_bytes in sizes)


def size_text(size_and_bytes: tuple[int, int]) -> str:
    """Writes a number of elements and bytes.

    >>> size_text((1000, 4000))
    '1,000 (4.0 KB)'
    """
    size, num_bytes = size_and_bytes
    return f"{size:,} ({bytes_text(num_bytes)})"


def bytes_text(num_bytes: int) -> str:
    """Writes a number of bytes.

    >>> bytes_text(999), bytes_text(1_500_000)
    ('999 B', '1.5 MB')
    """
    for unit, scale in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("KB", 1e3)):
        if num_bytes >= scale:
            return f"{num_bytes / scale:,.1f} {unit}"
    return f"{num_bytes} B"


def _is_array(value: Any) -> bool:
    if isinstance(value, type) or dataclasses.is_dataclass(value):
        return False  # a layer may have a shape and a dtype, too
    return isinstance(getattr(value, "shape", None), tuple) and hasattr(value, "dtype")


def _is_box(value: Any) -> bool:
    """Whether a value is a box with axis names."""
    return (
        callable(getattr(type(value), "unbox", None))
        and hasattr(value, "value")
        and isinstance(getattr(value, "names", None), tuple)
    )


def _array_size(array: Any) -> tuple[int, int]:
    size = 1
    for length in array.shape:
        size *= length if isinstance(length, int) else 1
    return size, size * getattr(array.dtype, "itemsize", 0)


def _array(array: Any) -> str:
    shape = ",".join(map(str, array.shape))
    return " ".join(
        filter(
            None,
            [
                escaped(f"{array.dtype}[{shape}]"),
                dim(size_text(_array_size(array))),
                dim(_sharding(array)),
            ],
        )
    )


def _sharding(array: Any) -> str:
    """Where an array is, if it is on several devices or is to be."""
    try:
        sharding = array.sharding
        spec = getattr(sharding, "spec", None)
        if spec is not None:
            axes = dict(sharding.mesh.shape)
            return f"{spec} of {axes}" if axes else ""
        devices = len(sharding.device_set)
        return f"on {devices} devices" if devices > 1 else ""
    except Exception:  # a tracer has none, nor have arrays of NumPy
        return ""


def _entries(value: Any) -> list[tuple[str, Any]]:
    """The entries of a container, none if it is no container."""
    if isinstance(value, Mapping):
        return [(_key(key), value[key]) for key in value]
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return list(zip(getattr(value, "_fields"), value))  # noqa: B009
    if isinstance(value, (list, tuple)):
        return [(str(index), item) for index, item in enumerate(value)]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        attributes = getattr(value, "__dict__", {})
        names = [field.name for field in dataclasses.fields(value) if field.repr]
        return [(name, attributes[name]) for name in names if name in attributes]
    return []


def _key(key: Any) -> str:
    return key if isinstance(key, str) else text_of(key)


def _is_plain(entries: list[tuple[str, Any]]) -> bool:
    """Whether what is in a container is short to print, as in a shape."""
    return all(not _is_array(item) and not _entries(item) for _, item in entries) and (
        all(isinstance(x, (int, float, str, bool, type(None))) for _, x in entries)
    )
