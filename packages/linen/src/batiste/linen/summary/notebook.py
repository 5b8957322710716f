"""Tables of modules as HTML for notebooks: a tree that folds, a module an entry."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from batiste.core.notebook import dim, escaped, folded, page, size_text

from .rows import Row, VariableSpec
from .text import line_text

__all__ = ["children_of", "rows_html", "total_of"]


def rows_html(rows: Sequence[Row]) -> str | None:
    """Shows rows as the tree that their paths are.

    Args:
      rows: the rows, in the order in which calls began.

    Returns:
      The HTML, or None if that fails: notebooks then show the text.

    >>> import jax
    >>> import batiste.linen as nn
    >>> from batiste.linen.summary.rows import make_rows
    >>> shape = jax.ShapeDtypeStruct((4, 3), "float32")
    >>> rows = make_rows(nn.Dense(2), jax.random.key(0), (shape,), {})
    >>> "float32[4,3] \N{RIGHTWARDS ARROW} float32[4,2]" in rows_html(rows)
    True
    """

    def make() -> str:
        inner = children_of(rows)

        def entry(index: int, shown: bool) -> str:
            parts = _variables(rows[index])
            parts += [entry(child, False) for child in inner[index]]
            return folded(_summary(rows, index, inner), parts, shown=shown)

        return "".join(entry(index, True) for index in inner[-1])

    return page(make)


def children_of(rows: Sequence[Row]) -> dict[int, list[int]]:
    """Finds which rows are right below which.

    Args:
      rows: the rows, in the order in which calls began.

    Returns:
      For each row's place the places of those below it, for -1 those below none. A
      later call of a module has none.

    >>> children_of([])
    {-1: []}
    """
    first: dict[tuple[str, ...], int] = {}
    inner: dict[int, list[int]] = {-1: []}
    for index, row in enumerate(rows):
        inner[index] = []
        repeated = row.path in first
        path = row.path
        above = -1
        while path and above == -1:
            path = path[:-1]
            above = first.get(path, -1)
        # A later call of the root stands beside the first.
        inner[above].append(index)
        if not repeated:
            first[row.path] = index
    return inner


def total_of(
    rows: Sequence[Row], index: int, inner: dict[int, list[int]]
) -> tuple[int, int]:
    """Counts the elements and bytes of a row and of those below, of all collections.

    Args:
      rows: the rows.
      index: the row's place.
      inner: as `children_of` returns it.

    >>> import jax
    >>> import batiste.linen as nn
    >>> from batiste.linen.summary.rows import make_rows
    >>> shape = jax.ShapeDtypeStruct((4, 3), "float32")
    >>> rows = make_rows(nn.Dense(2), jax.random.key(0), (shape,), {})
    >>> total_of(rows, 0, children_of(rows))
    (8, 32)
    """
    row = rows[index]
    sizes = list(row.size_and_bytes(row.counted_variables).values())
    sizes += [total_of(rows, child, inner) for child in inner[index]]
    return sum(size for size, _ in sizes), sum(num_bytes for _, num_bytes in sizes)


def _summary(rows: Sequence[Row], index: int, inner: dict[int, list[int]]) -> str:
    row = rows[index]
    kind = f"<b>{escaped(row.module)}</b>"
    method = "" if row.method == "__call__" else f"({row.method})"
    name = f"{escaped(row.path[-1])}:" if row.path else ""
    call = f"{line_text(row.inputs)} \N{RIGHTWARDS ARROW} {line_text(row.outputs)}"
    costs = [
        f"{count:,} {name}"
        for name, count in (("flops", row.flops), ("vjp_flops", row.vjp_flops))
        if count >= 0
    ]
    size, num_bytes = total_of(rows, index, inner)
    sizes = size_text((size, num_bytes)) if size else ""
    parts = [name, kind, dim(method), escaped(call), dim(sizes), *map(dim, costs)]
    return " ".join(filter(None, parts))


def _variables(row: Row) -> list[str]:
    return [
        f"<div>{dim(col)} {escaped(variable.name)}: {_spec(variable)}</div>"
        for col, variables in row.variables.items()
        for variable in variables
    ]


def _spec(variable: VariableSpec) -> str:
    parts: Iterable[str] = ()
    if variable.shape is not None:
        shape = ",".join(map(str, variable.shape))
        parts = [escaped(f"{variable.dtype}[{shape}]")]
    names = "" if variable.names is None else f"P{variable.names}"
    size = size_text((variable.size, variable.bytes)) if variable.size else ""
    return " ".join(filter(None, [*parts, dim(size), dim(names)]))
