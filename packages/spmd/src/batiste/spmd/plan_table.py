"""Rows of text as plain text with aligned columns, and as rich tables."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence, Set
from typing import TYPE_CHECKING

from jax.sharding import PartitionSpec

from .axis_names import AxisEntry

if TYPE_CHECKING:  # rich is optional.
    from rich.console import Group

__all__ = [
    "Table",
    "entries_text",
    "plain_text",
    "rich_tables",
    "size_text",
]


@dataclasses.dataclass(frozen=True)
class Table:
    """Rows of cells under the names of their columns.

    Attributes:
      title: what the rows are about.
      columns: the names of the columns.
      rows: the rows; each has one cell per column.
      numbers: the columns whose cells are set flush right.

    >>> Table("sizes", ("file", "bytes"), [("a", "12")], {"bytes"}).rows
    [('a', '12')]
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    numbers: Set[str] = frozenset()


def plain_text(main: Table, notes: Iterable[str], more: Table | None = None) -> str:
    """Writes tables as lines of plain text with aligned columns.

    Args:
      main: the first table; its title stands in front.
      notes: lines that follow it.
      more: a table at the end, without its title.

    Returns:
      The lines.

    >>> sizes = Table("sizes", ("file", "bytes"), [("a", "12")], {"bytes"})
    >>> print(plain_text(sizes, ["no more files"]))
    sizes
    file  bytes
    a        12
    no more files
    """
    lines = [main.title, *_aligned(main), *notes]
    if more is not None:
        lines += _aligned(more)
    return "\n".join(lines)


def rich_tables(main: Table, notes: Iterable[str], more: Table | None = None) -> Group:
    """Makes a rich renderable of tables.

    Args:
      main: the first table.
      notes: lines that follow it.
      more: a table at the end.

    Returns:
      What `rich.print` shows as tables.

    Raises:
      ImportError: rich is not installed.

    >>> sizes = Table("sizes", ("file", "bytes"), [("a", "12")], {"bytes"})
    >>> type(rich_tables(sizes, ["no more files"])).__name__
    'Group'
    """
    from rich import console, table, text

    def as_rich(each: Table) -> table.Table:
        result = table.Table(title=each.title)
        for name in each.columns:
            right = name in each.numbers
            result.add_column(name, justify="right" if right else "left")
        for row in each.rows:
            result.add_row(*map(text.Text, row))
        return result

    parts: list[table.Table | text.Text] = [as_rich(main), *map(text.Text, notes)]
    if more is not None:
        parts.append(as_rich(more))
    return console.Group(*parts)


def entries_text(entries: Iterable[AxisEntry]) -> str:
    """Writes the axes of a value's dimensions into one cell.

    Args:
      entries: one entry per dimension.

    Returns:
      The entries: `-` is None, `?` is UNCONSTRAINED, and `+` joins mesh axes.

    >>> entries_text(("batch", None, ("data", "model")))
    'batch, -, data+model'
    """

    def text(entry: AxisEntry) -> str:
        if isinstance(entry, tuple):
            return "+".join(map(str, entry))
        if entry is PartitionSpec.UNCONSTRAINED:
            return "?"
        return "-" if entry is None else str(entry)

    return ", ".join(map(text, entries)) or "-"


def size_text(count: int) -> str:
    """Writes a number of bytes with a binary unit.

    >>> size_text(512), size_text(3 * 2**29)
    ('512 B', '1.50 GiB')
    """
    if count < 1024:
        return f"{count} B"
    size = float(count)
    for unit in ("KiB", "MiB", "GiB", "TiB", "PiB"):
        size /= 1024
        if size < 1024 or unit == "PiB":
            break
    return f"{size:.2f} {unit}"


def _aligned(table: Table) -> list[str]:
    lines = [table.columns, *table.rows]
    widths = [max(len(line[i]) for line in lines) for i in range(len(table.columns))]
    return [
        "  ".join(
            cell.rjust(width) if name in table.numbers else cell.ljust(width)
            for name, cell, width in zip(table.columns, line, widths)
        ).rstrip()
        for line in lines
    ]
