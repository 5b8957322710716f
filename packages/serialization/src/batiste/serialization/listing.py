"""What a file holds, as text: names, shapes, dtypes and sizes, without array data."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from .elements import Elements
from .errors import shortened
from .formats import tree_of
from .sources import Described, opened
from .stream import File, mapped, split_path
from .types import Leaf, Tree

__all__ = [
    "Row",
    "human_size",
    "render",
    "rows",
    "totals",
]


_NAME_WIDTH = 60


class Row(NamedTuple):
    """One node of a tree; a container counts what all nodes below it hold.

    Attributes:
      depth: how many containers it is in.
      name: its name in the container.
      kind: `dict`, `list`, dtype and shape, or a value.
      arrays: the number of arrays.
      elements: the number of their elements.
      nbytes: the number of bytes of these, and of bytes values.

    >>> Row(1, "bias", "float32[3]", arrays=1, elements=3, nbytes=12).nbytes
    12
    """

    depth: int
    name: str
    kind: str
    arrays: int = 0
    elements: int = 0
    nbytes: int = 0


def rows(file: File, path: str | Sequence[str] = ()) -> list[Row]:
    """Lists the tree in a file, or the part of it at a path, a row for each node.

    Args:
      file: a path as `sources.opened` takes it, also of a folder, or of what is in an
        archive; or a file open for reading bytes, of msgpack or safetensors.
      path: names from the root, as for `restore`.

    Returns:
      Rows from the root down. Leaves other than arrays and bytes count for nothing.

    Raises:
      SerializationError: the file is damaged, or has nothing at `path`.
      ImportError: it is a folder of Orbax, which is not installed.
      OSError: the file cannot be read.

    >>> import io
    >>> import numpy as np
    >>> from batiste.serialization import to_bytes
    >>> from batiste.serialization.listing import rows
    >>> data = to_bytes({"bias": np.zeros(3, "float32"), "step": 7})
    >>> for row in rows(io.BytesIO(data)):
    ...     print(row)
    Row(depth=0, name='.', kind='dict', arrays=1, elements=3, nbytes=12)
    Row(depth=1, name='bias', kind='float32[3]', arrays=1, elements=3, nbytes=12)
    Row(depth=1, name='step', kind='7', arrays=0, elements=0, nbytes=0)
    """
    names = split_path(path)
    if isinstance(file, (str, os.PathLike)):
        with opened(os.fspath(file), names, describe=True) as source:
            return _rows(source.tree, names)
    with mapped(file) as data:
        return _rows(tree_of(data, Described(data), names), names)


def _rows(tree: Tree, names: Sequence[str]) -> list[Row]:
    found: list[Row] = []
    root = _printable("/".join(names)) or "."
    # Depth first, without recursion; totals are added when a container is left.
    stack: list[Iterator[tuple[str, Tree]]] = [iter([(root, tree)])]
    opened: list[int] = []
    while stack:
        item = next(stack[-1], None)
        if item is None:
            stack.pop()
            if opened:
                row = found[opened.pop()]
                _add(found, opened, row)
            continue
        name, value = item
        depth = len(opened)
        if isinstance(value, (dict, list)):
            kind = "dict" if isinstance(value, dict) else "list"
            opened.append(len(found))
            found.append(Row(depth, name, kind if value else f"{kind}, empty"))
            stack.append(_children(value))
        else:
            row = _leaf_row(depth, name, value)
            found.append(row)
            _add(found, opened, row)
    return found


def render(table: list[Row]) -> str:
    """Writes rows as plain text, with a line of totals.

    >>> print(render([Row(0, "step", "7")]).splitlines()[-1])
    arrays: 0, elements: 0, size: 0 B
    """
    lines = [_columns("name", "type", "elements", "size")]
    for row in table:
        elements = f"{row.elements:,}" if row.arrays else ""
        size = human_size(row.nbytes) if row.nbytes else ""
        lines.append(_columns("  " * row.depth + row.name, row.kind, elements, size))
    return "\n".join([*lines, "", totals(table)])


def totals(table: list[Row]) -> str:
    """Writes one line: how many arrays, elements and bytes rows have.

    >>> totals([Row(0, ".", "dict", arrays=2, elements=2048, nbytes=4096)])
    'arrays: 2, elements: 2,048, size: 4.0 KiB'
    """
    root = table[0]
    return (
        f"arrays: {root.arrays:,}, elements: {root.elements:,}, "
        f"size: {human_size(root.nbytes)}"
    )


def human_size(nbytes: int) -> str:
    """Writes a number of bytes in units of 1024.

    >>> from batiste.serialization.listing import human_size
    >>> human_size(12), human_size(2**20 + 2**19)
    ('12 B', '1.5 MiB')
    """
    size, units = float(nbytes), ["B", "KiB", "MiB", "GiB", "TiB"]
    while size >= 1024 and len(units) > 1:
        size /= 1024
        units.pop(0)
    return f"{size:,.0f} B" if units[0] == "B" else f"{size:,.1f} {units[0]}"


def _children(value: dict[Leaf, Tree] | list[Tree]) -> Iterator[tuple[str, Tree]]:
    pairs = value.items() if isinstance(value, dict) else enumerate(value)
    return ((_printable(k if isinstance(k, str) else repr(k)), v) for k, v in pairs)


def _leaf_row(depth: int, name: str, value: Leaf) -> Row:
    if isinstance(value, Elements):
        kind = _printable(f"{value.dtype}[{', '.join(map(str, value.shape))}]")
        if value.dtype in ("bytes", "file"):
            return Row(depth, name, kind, nbytes=value.nbytes)
        return Row(depth, name, kind, 1, math.prod(value.shape), value.nbytes)
    try:
        text = _printable(repr(value[:100] if isinstance(value, str) else value))
    except OverflowError:
        # NumPy 2.5 does not print dates that are too far off.
        text = f"{getattr(value, 'dtype', type(value).__name__)} (too far off)"
    return Row(depth, name, text if len(text) <= 40 else f"{text[:39]}…")


def _add(found: list[Row], opened: list[int], row: Row) -> None:
    """Adds what a row counts to the innermost container that is open."""
    if opened:
        old = found[opened[-1]]
        found[opened[-1]] = old._replace(
            arrays=old.arrays + row.arrays,
            elements=old.elements + row.elements,
            nbytes=old.nbytes + row.nbytes,
        )


def _printable(text: str) -> str:
    """Only what prints as itself: text from a file must not steer a terminal."""
    text = shortened(text)
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)


def _columns(name: str, kind: str, elements: str, size: str) -> str:
    name = name if len(name) <= _NAME_WIDTH else f"{name[: _NAME_WIDTH - 1]}…"
    kind = shortened(kind, _NAME_WIDTH)
    return f"{name:<{_NAME_WIDTH}} {kind:<28} {elements:>15} {size:>10}".rstrip()
