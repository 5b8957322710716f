"""A plan as text, and as rich tables."""

from collections import Counter
from typing import TYPE_CHECKING, Any

from jax.sharding import PartitionSpec

from .hlo_collectives import Collective

if TYPE_CHECKING:
    from .planning import Plan

__all__ = [
    "plain_text",
    "rich_tables",
    "size_text",
]


_PARAMETER_COLUMNS = (
    "array",
    "shape",
    "dtype",
    "axes",
    "spec",
    "shards",
    "per device",
)
_COLLECTIVE_COLUMNS = ("collective", "over", "arrays", "bytes", "runs", "total")
_NUMBERS = frozenset({"shards", "per device", "bytes", "runs", "total"})


def plain_text(plan: "Plan") -> str:
    """The plan as lines of plain text with aligned columns."""
    lines = [_heading(plan)]
    lines += _aligned(_PARAMETER_COLUMNS, _parameter_rows(plan))
    lines += _notes(plan)
    if plan.collectives:
        lines += _aligned(_COLLECTIVE_COLUMNS, _collective_rows(plan.collectives))
    return "\n".join(lines)


def rich_tables(plan: "Plan") -> Any:
    """The plan as a rich renderable."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    def table(title, columns, rows):
        result = Table(title=title)
        for name in columns:
            right = name in _NUMBERS
            result.add_column(name, justify="right" if right else "left")
        for row in rows:
            result.add_row(*map(Text, row))
        return result

    parts = [table(_heading(plan), _PARAMETER_COLUMNS, _parameter_rows(plan))]
    parts += [Text(line) for line in _notes(plan)]
    if plan.collectives:
        rows = _collective_rows(plan.collectives)
        parts.append(table("collectives of the step", _COLLECTIVE_COLUMNS, rows))
    return Group(*parts)


def size_text(count: int) -> str:
    """A number of bytes with a binary unit.

    Example::

      >>> from batiste.spmd.plan_table import size_text
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


def _heading(plan: "Plan") -> str:
    axes = ", ".join(f"{name}={size}" for name, size in plan.mesh_shape.items())
    return f"mesh: {axes} ({len(plan.bytes_by_device)} devices)"


def _parameter_rows(plan: "Plan") -> list[tuple[str, ...]]:
    return [
        (
            parameter.path,
            "x".join(map(str, parameter.shape)) or "scalar",
            parameter.dtype,
            "" if parameter.axes is None else _names(parameter.axes),
            _names(tuple(parameter.spec)),
            str(parameter.shards),
            size_text(parameter.bytes_per_device),
        )
        for parameter in plan.parameters
    ]


def _names(entries: tuple[Any, ...]) -> str:
    def text(entry):
        if isinstance(entry, tuple):
            return "+".join(map(str, entry))
        if entry is PartitionSpec.UNCONSTRAINED:
            return "?"
        return "-" if entry is None else str(entry)

    return ", ".join(map(text, entries)) or "-"


def _notes(plan: "Plan") -> list[str]:
    held = size_text(plan.bytes_per_device)
    notes = [f"total: {size_text(plan.total_bytes)}, {held} per device"]
    for name, paths in plan.unmatched.items():
        more = f" and {len(paths) - 3} more" if len(paths) > 3 else ""
        notes.append(f"no rule applied to: {name} ({', '.join(paths[:3])}{more})")
    for parameter in plan.uneven:
        for dim, size, parts in parameter.uneven:
            notes.append(
                f"does not divide: {parameter.path} has {size} in dimension {dim}, "
                f"for {parts} parts"
            )
    if plan.collectives is not None:
        total = sum(each.total_bytes for each in plan.collectives)
        notes.append(
            f"collectives: {len(plan.collectives)}, {size_text(total)} per step and "
            "device"
        )
    return notes


def _collective_rows(collectives: tuple[Collective, ...]) -> list[tuple[str, ...]]:
    """One row for all collectives that differ in nothing but their place."""
    counted = Counter(
        (each.kind, each.axes, each.group_size, each.arrays, each.bytes, each.times)
        for each in collectives
    )
    rows = []
    for (kind, axes, group_size, arrays, size, times), count in counted.items():
        everyone = f"{group_size or 'all'} devices"  # HLO says 0 for all of them.
        over = everyone if axes is None else "+".join(axes) or "-"
        runs = "?" if times is None else str(times * count)
        total = size_text(size * count * (1 if times is None else times))
        shown = ", ".join(arrays[:3]) + (", ..." if len(arrays) > 3 else "")
        rows.append((kind, over, shown, size_text(size), runs, total))
    return rows


def _aligned(columns: tuple[str, ...], rows: list[tuple[str, ...]]) -> list[str]:
    table = [columns, *rows]
    widths = [max(len(row[i]) for row in table) for i in range(len(columns))]
    return [
        "  ".join(
            cell.rjust(width) if name in _NUMBERS else cell.ljust(width)
            for name, cell, width in zip(columns, row, widths)
        ).rstrip()
        for row in table
    ]
