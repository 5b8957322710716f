"""Tables that show what a module consists of, and the paths of its modules."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Any, Self

from batiste.core.notebook import bytes_text
from batiste.core.scope import CollectionFilter
from batiste.core.types import Key, Keys

from ..flags import config
from ..module.running import ALL_BUT_INTERMEDIATES
from .costs import Runnable
from .rows import Row, make_rows
from .text import block_text, describe

__all__ = ["Table", "TableText", "module_paths", "tabulate"]

_NO_OPTIONS: Mapping[str, Any] = MappingProxyType({})


class Table(list[Row]):
    """The rows of a module's table, in the order in which calls began.

    Args:
      module: the module.
      collections: the collections that have a column.
      rows: the rows.

    >>> import batiste.linen as nn
    >>> Table(nn.Dense(2), ["params"], []).collections
    ['params']
    """

    def __init__(
        self, module: Runnable, collections: list[str], rows: Iterable[Row]
    ) -> None:
        super().__init__(rows)
        self.module = module
        self.collections = collections

    def _repr_html_(self) -> str | None:
        from .notebook import rows_html  # only notebooks ask for it

        return rows_html(self)


class TableText(str):
    """A table as text, which has its rows as data, and in notebooks is a tree.

    Copies of it, and what string methods make of it, are plain strings.

    Args:
      text: the text.
      rows: the rows.

    Attributes:
      rows: a `Row` for each call that the table shows, with the path, the module's
        class, inputs, outputs, costs and variables.

    >>> import jax, jax.numpy as jnp
    >>> import batiste.linen as nn
    >>> table = nn.Dense(2).tabulate(jax.random.key(0), jnp.ones((1, 3)))
    >>> [(row.module, row.variables["params"][0].shape) for row in table.rows]
    [('Dense', (2,))]
    """

    rows: Table

    def __new__(cls, text: str, rows: Table) -> Self:  # noqa: D102
        made = super().__new__(cls, text)
        made.rows = rows
        return made

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        # Modules need not be such that can be pickled.
        return str, (str(self),)

    def _repr_html_(self) -> str | None:
        return self.rows._repr_html_()


def tabulate(
    module: Runnable,
    rngs: Key | Keys,
    depth: int | None = None,
    show_repeated: bool = False,
    mutable: CollectionFilter = ALL_BUT_INTERMEDIATES,
    console_kwargs: Mapping[str, Any] | None = None,
    table_kwargs: Mapping[str, Any] = _NO_OPTIONS,
    column_kwargs: Mapping[str, Any] = _NO_OPTIONS,
    compute_flops: bool = False,
    compute_vjp_flops: bool = False,
    **kwargs: Any,
) -> Callable[..., TableText]:
    """Makes a function that shows a module as a table, for given inputs.

    The module runs abstractly: nothing is computed or allocated. A row is a
    module's first call; sizes count elements and bytes.

    Args:
      module: the module.
      rngs: PRNG keys, as for `Module.init`.
      depth: how many levels of submodules to show; all by default. Variables of
        what is not shown count for the row above.
      show_repeated: whether to show later calls of the same module, too.
      mutable: a filter that selects the collections to show. Without it, config
        `tabulate_intermediates` says whether intermediates are among them.
      console_kwargs: options of `rich.console.Console`. By default the text has
        terminal colours; `{"force_terminal": False}` leaves them out.
      table_kwargs: options of `rich.table.Table`.
      column_kwargs: options of each column of the table.
      compute_flops: whether to show the cost of each call, in floating point
        operations as XLA counts them.
      compute_vjp_flops: whether to show the cost of each call with its gradient.
      **kwargs: further keyword arguments of `Module.init`, such as `method`.

    Returns:
      A function of the module's inputs (arrays, or `jax.ShapeDtypeStruct`s) that
      returns the table as text. The text has its rows as data (`TableText.rows`), and
      notebooks show it as a tree that folds.

    >>> import jax, jax.numpy as jnp
    >>> import batiste.linen as nn
    >>> options = {"force_terminal": False, "no_color": True, "width": 80}
    >>> table = nn.tabulate(nn.Dense(2), jax.random.key(0), console_kwargs=options)
    >>> print(table(jnp.ones((16, 3))))  # doctest: +NORMALIZE_WHITESPACE
    <BLANKLINE>
                                   Dense Summary
    ┏━━━━━━┳━━━━━━━━┳━━━━━━━━━━━━━━━┳━━━━━━━━━━━━━━━┳━━━━━━━━━━━━━━━━━━━━━━┓
    ┃ path ┃ module ┃ inputs        ┃ outputs       ┃ params               ┃
    ┡━━━━━━╇━━━━━━━━╇━━━━━━━━━━━━━━━╇━━━━━━━━━━━━━━━╇━━━━━━━━━━━━━━━━━━━━━━┩
    │      │ Dense  │ float32[16,3] │ float32[16,2] │ bias: float32[2]     │
    │      │        │               │               │ kernel: float32[3,2] │
    │      │        │               │               │                      │
    │      │        │               │               │ 8 (32 B)             │
    ├──────┼────────┼───────────────┼───────────────┼──────────────────────┤
    │      │        │               │         Total │ 8 (32 B)             │
    └──────┴────────┴───────────────┴───────────────┴──────────────────────┘
    <BLANKLINE>
                            Total Parameters: 8 (32 B)
    <BLANKLINE>
    <BLANKLINE>
    """
    if mutable is ALL_BUT_INTERMEDIATES and config.tabulate_intermediates:
        mutable = True

    def tabulate_fn(*args: Any, **call_kwargs: Any) -> TableText:
        rows = make_rows(
            module,
            rngs,
            args,
            {**kwargs, **call_kwargs},
            depth=depth,
            show_repeated=show_repeated,
            mutable=mutable,
            flops=compute_flops,
            vjp_flops=compute_vjp_flops,
        )
        table = Table(module, _collections_of(rows), rows)
        text = _render(
            table,
            console_kwargs,
            table_kwargs,
            column_kwargs,
            flops=compute_flops,
            vjp_flops=compute_vjp_flops,
        )
        return TableText(text, table)

    return tabulate_fn


def module_paths(
    module: Runnable,
    rngs: Key | Keys,
    show_repeated: bool = False,
    mutable: CollectionFilter = ALL_BUT_INTERMEDIATES,
) -> Callable[..., dict[str, Any]]:
    """Makes a function that lists the modules that a call uses, by their paths.

    Args:
      module: the module.
      rngs: PRNG keys, as for `Module.init`.
      show_repeated: whether a later call of the same path replaces the first.
      mutable: a filter that selects the collections to initialize.

    Returns:
      A function of the module's inputs that returns a dict from paths, such as
      `"encoder/Dense_0"`, to unbound copies of the modules.

    >>> import jax, jax.numpy as jnp
    >>> import batiste.linen as nn
    >>> model = nn.Sequential([nn.Dense(2), nn.relu])
    >>> list(module_paths(model, jax.random.key(0))(jnp.ones((1, 3))))
    ['', 'layers_0']
    """

    def module_paths_fn(*args: Any, **kwargs: Any) -> dict[str, Any]:
        rows = make_rows(
            module, rngs, args, kwargs, show_repeated=show_repeated, mutable=mutable
        )
        return {"/".join(row.path): row.module_copy for row in rows}

    return module_paths_fn


def _collections_of(rows: Iterable[Row]) -> list[str]:
    """The collections of which a row counts variables, `params` first."""
    found = {col for row in rows for col, tree in row.counted_variables.items() if tree}
    return sorted(found, key=lambda col: (col != "params", col))


def _render(
    table: Table,
    console_kwargs: Mapping[str, Any] | None,
    table_kwargs: Mapping[str, Any],
    column_kwargs: Mapping[str, Any],
    *,
    flops: bool,
    vjp_flops: bool,
) -> str:
    import rich.console
    import rich.table
    import rich.text

    columns: dict[str, Callable[[Row], str]] = {
        "path": lambda row: "/".join(row.path),
        "module": _module_cell,
        "inputs": lambda row: block_text(row.inputs),
        "outputs": lambda row: block_text(row.outputs),
    }
    if flops:
        columns["flops"] = lambda row: str(row.flops)
    if vjp_flops:
        columns["vjp_flops"] = lambda row: str(row.vjp_flops)

    view = rich.table.Table(
        show_header=True,
        show_lines=True,
        show_footer=True,
        title=f"{type(table.module).__name__} Summary",
        **table_kwargs,
    )
    for name in (*columns, *table.collections):
        view.add_column(name, **column_kwargs)
    totals = dict.fromkeys(table.collections, (0, 0))
    for row in table:
        sizes = row.size_and_bytes(table.collections)
        totals = {col: _sum([totals[col], size]) for col, size in sizes.items()}
        view.add_row(
            *(cell(row) for cell in columns.values()),
            *(_variables_cell(row, col, size) for col, size in sizes.items()),
        )
    total_label = rich.text.Text.from_markup("Total", justify="right")
    view.columns[len(columns) - 1].footer = total_label
    for column, total in zip(view.columns[len(columns) :], totals.values()):
        column.footer = _size_text(total)
    view.caption_style = "bold"
    view.caption = f"\nTotal Parameters: {_size_text(_sum(totals.values()))}"

    options = {"force_terminal": True, "force_jupyter": False, **(console_kwargs or {})}
    file = io.StringIO()
    rich.console.Console(file=file, **options).print(view)
    return f"\n{file.getvalue()}\n"


def _module_cell(row: Row) -> str:
    name = row.module_type.__name__
    return name if row.method == "__call__" else f"{name} [dim]({row.method})[/dim]"


def _variables_cell(row: Row, col: str, size_and_bytes: tuple[int, int]) -> str:
    """The row's own variables, and the size of those that it counts."""
    variables = row.module_variables.get(col)
    size = _size_text(size_and_bytes)
    parts = [
        block_text(describe(variables)) if variables else "",
        f"[bold]{size}[/bold]" if size else "",
    ]
    return "\n\n".join(filter(None, parts))


def _sum(sizes: Iterable[tuple[int, int]]) -> tuple[int, int]:
    sizes = list(sizes)
    return sum(size for size, _ in sizes), sum(num_bytes for _, num_bytes in sizes)


def _size_text(size_and_bytes: tuple[int, int]) -> str:
    size, num_bytes = size_and_bytes
    return f"{size:,} [dim]({bytes_text(num_bytes)})[/dim]" if size else ""
