"""Tables that show what a module consists of."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Any, Final

import jax

from batiste.core import DenyList
from batiste.core.scope import CollectionFilter, in_filter

from ..module.context import context
from ..module.state import ModuleBase
from .costs import call_flops, call_vjp_flops
from .text import block_text, describe

__all__ = ["Row", "Table", "module_paths", "tabulate"]

_ALL_BUT_INTERMEDIATES: Final = DenyList("intermediates")
_NO_OPTIONS: Mapping[str, Any] = MappingProxyType({})


@dataclasses.dataclass
class Row:
    """One call of one module's method.

    Attributes:
      path: the names from the root to the module.
      module_copy: an unbound copy of the module.
      method: the method's name.
      inputs: a description of the arguments.
      outputs: a description of what was returned.
      module_variables: the module's own variables by collection, without those of
        its submodules.
      counted_variables: the variables that the row's counts are about: its own and
        those of submodules that the table does not show.
      flops: the floating point operations of the call, -1 if not asked for.
      vjp_flops: the same for the call and its gradient.
    """

    path: tuple[str, ...]
    module_copy: Any
    method: str
    inputs: Any
    outputs: Any
    module_variables: dict[str, dict[str, Any]]
    counted_variables: dict[str, dict[str, Any]]
    flops: int = -1
    vjp_flops: int = -1

    @property
    def module_type(self) -> type:
        """The module's class."""
        return type(self.module_copy)

    def size_and_bytes(self, collections: Iterable[str]) -> dict[str, tuple[int, int]]:
        """The number of elements and of bytes counted here, for each collection."""
        return {
            col: _size_and_bytes(self.counted_variables.get(col, {}))
            for col in collections
        }


class Table(list[Row]):
    """The rows of a module's table, in the order in which calls began.

    Attributes:
      module: the module.
      collections: the collections that have a column.
    """

    def __init__(self, module: Any, collections: list[str], rows: Iterable[Row]):
        super().__init__(rows)
        self.module = module
        self.collections = collections


@dataclasses.dataclass
class _Call:
    """What is noted of a call while the module runs abstractly."""

    path: tuple[str, ...]
    module: Any
    method: str
    args: tuple
    kwargs: dict[str, Any]
    outputs: Any = None


def tabulate(
    module: Any,
    rngs: Any,
    depth: int | None = None,
    show_repeated: bool = False,
    mutable: CollectionFilter = _ALL_BUT_INTERMEDIATES,
    console_kwargs: Mapping[str, Any] | None = None,
    table_kwargs: Mapping[str, Any] = _NO_OPTIONS,
    column_kwargs: Mapping[str, Any] = _NO_OPTIONS,
    compute_flops: bool = False,
    compute_vjp_flops: bool = False,
    **kwargs: Any,
) -> Callable[..., str]:
    """Makes a function that shows a module as a table, for given inputs.

    The module runs abstractly: nothing is computed or allocated. A row is a
    module's first call; sizes count elements and bytes.

    Args:
      module: the module.
      rngs: PRNG keys, as for `Module.init`.
      depth: how many levels of submodules to show; all by default. Variables of
        what is not shown count for the row above.
      show_repeated: whether to show later calls of the same module, too.
      mutable: a filter that selects the collections to show.
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
      returns the table as text.

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

    def tabulate_fn(*args: Any, **call_kwargs: Any) -> str:
        table = _make_table(
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
        return _render(
            table,
            console_kwargs,
            table_kwargs,
            column_kwargs,
            flops=compute_flops,
            vjp_flops=compute_vjp_flops,
        )

    return tabulate_fn


def module_paths(
    module: Any,
    rngs: Any,
    show_repeated: bool = False,
    mutable: CollectionFilter = _ALL_BUT_INTERMEDIATES,
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
        table = _make_table(
            module,
            rngs,
            args,
            kwargs,
            depth=None,
            show_repeated=show_repeated,
            mutable=mutable,
            flops=False,
            vjp_flops=False,
        )
        return {"/".join(row.path): row.module_copy for row in table}

    return module_paths_fn


def _make_table(
    module: Any,
    rngs: Any,
    args: tuple,
    kwargs: dict[str, Any],
    *,
    depth: int | None,
    show_repeated: bool,
    mutable: CollectionFilter,
    flops: bool,
    vjp_flops: bool,
) -> Table:
    calls, variables = _record(module, rngs, args, kwargs, mutable)
    shown = [c for c in calls if depth is None or len(c.path) <= depth]
    own, counted = _assign_variables(variables, calls, shown)
    rows = []
    seen: set[tuple[str, ...]] = set()
    for call in shown:
        repeated = call.path in seen
        if repeated and not show_repeated:
            continue
        seen.add(call.path)
        row = Row(
            path=call.path,
            module_copy=call.module,
            method=call.method,
            inputs=describe(_inputs(call.args, call.kwargs)),
            outputs=describe(call.outputs),
            module_variables={} if repeated else own.get(call.path, {}),
            counted_variables={} if repeated else counted.get(call.path, {}),
        )
        at_path = {col: _subtree(tree, call.path) for col, tree in variables.items()}
        cost = (call.module, call.method, at_path, rngs, call.args, call.kwargs)
        if flops:
            row.flops = call_flops(*cost)
        if vjp_flops:
            row.vjp_flops = call_vjp_flops(*cost)
        rows.append(row)
    found = {col for row in rows for col, tree in row.counted_variables.items() if tree}
    collections = sorted(found, key=lambda col: (col != "params", col))
    return Table(module, collections, rows)


def _record(
    module: Any, rngs: Any, args: tuple, kwargs: dict, mutable: CollectionFilter
) -> tuple[list[_Call], dict[str, Any]]:
    """Runs `init` abstractly: all calls in the order they began, and variables."""
    calls: list[_Call] = []
    active: list[ModuleBase] = []

    def recorder(called: Any, method: str, run: Any, args: tuple, kwargs: dict) -> Any:
        # A method that calls another of the same module is one call, and so is a
        # transformed method with the method it transforms.
        if any(other is called for other in active):
            return run(*args, **kwargs)
        call = _Call(
            called.scope.path,
            called.clone(),
            method,
            jax.tree.map(_abstract, args, is_leaf=_is_opaque),
            jax.tree.map(_abstract, kwargs, is_leaf=_is_opaque),
        )
        calls.append(call)
        active.append(called)
        try:
            outputs = run(*args, **kwargs)
        finally:
            active.pop()
        call.outputs = jax.tree.map(_abstract, outputs, is_leaf=_is_opaque)
        return outputs

    arrays, rebuild = _split_arrays((rngs, args, kwargs))

    def run(arrays: list[Any]) -> Any:
        rngs, args, kwargs = rebuild(arrays)
        context.recorders.append(recorder)
        context.refresh()
        try:
            return module.init(rngs, *args, mutable=mutable, **kwargs)
        finally:
            context.recorders.pop()
            context.refresh()

    variables = jax.eval_shape(run, arrays)
    return calls, {
        col: dict(tree) for col, tree in variables.items() if in_filter(mutable, col)
    }


def _is_opaque(value: Any) -> bool:
    return value is None or isinstance(value, ModuleBase)


def _split_arrays(tree: Any) -> tuple[list[Any], Callable[[list[Any]], Any]]:
    """Separates arrays from the static values (flags, functions) of arguments."""
    leaves, treedef = jax.tree.flatten(tree, is_leaf=_is_opaque)
    places = [i for i, leaf in enumerate(leaves) if _is_array(leaf)]

    def rebuild(arrays: list[Any]) -> Any:
        filled = list(leaves)
        for place, array in zip(places, arrays, strict=True):
            filled[place] = array
        return jax.tree.unflatten(treedef, filled)

    return [leaves[place] for place in places], rebuild


def _is_array(leaf: Any) -> bool:
    return hasattr(leaf, "shape") and hasattr(leaf, "dtype")


def _abstract(leaf: Any) -> Any:
    """A leaf without data: tracers must not outlive the trace."""
    if _is_array(leaf):
        return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype)
    return leaf.clone() if isinstance(leaf, ModuleBase) else leaf


def _inputs(args: tuple, kwargs: dict[str, Any]) -> Any:
    """Arguments as one tree, no deeper than it needs to be."""
    inputs = []
    if len(args) == 1 and not kwargs:
        return args[0]
    inputs.extend(args)
    if kwargs:
        inputs.append(kwargs)
    return inputs if len(inputs) != 1 else inputs[0]


def _assign_variables(
    variables: Mapping[str, Any], calls: list[_Call], shown: list[_Call]
) -> tuple[dict, dict]:
    """Gives each variable to the module that owns it and to the row that counts it.

    Returns dicts from paths to collections to nested dicts.
    """
    called_paths = {call.path for call in calls}
    shown_paths = {call.path for call in shown}
    own: dict[tuple, dict] = {}
    counted: dict[tuple, dict] = {}

    def visit(col: str, tree: Any, path: tuple, owner: tuple, counter: tuple) -> None:
        for name, value in tree.items():
            below = (*path, name)
            if isinstance(value, Mapping) and below in called_paths:
                next_counter = below if below in shown_paths else counter
                visit(col, value, below, below, next_counter)
            elif isinstance(value, Mapping) and _leads_to(below, called_paths):
                visit(col, value, below, owner, counter)
            else:
                key = path[len(owner) :] + (name,)
                _set(own.setdefault(owner, {}).setdefault(col, {}), key, value)
                whole = path[len(counter) :] + (name,)
                _set(counted.setdefault(counter, {}).setdefault(col, {}), whole, value)

    for col, tree in variables.items():
        visit(col, tree, (), (), ())
    return own, counted


def _leads_to(path: tuple[str, ...], paths: set[tuple[str, ...]]) -> bool:
    return any(other[: len(path)] == path for other in paths)


def _set(tree: dict, path: tuple[str, ...], value: Any) -> None:
    for name in path[:-1]:
        tree = tree.setdefault(name, {})
    tree[path[-1]] = value


def _subtree(tree: Any, path: tuple[str, ...]) -> Any:
    for name in path:
        if not isinstance(tree, Mapping) or name not in tree:
            return {}
        tree = tree[name]
    return tree


def _size_and_bytes(tree: Any) -> tuple[int, int]:
    leaves = [leaf for leaf in jax.tree.leaves(tree) if hasattr(leaf, "size")]
    size = sum(leaf.size for leaf in leaves)
    return size, sum(leaf.size * leaf.dtype.itemsize for leaf in leaves)


def _size_text(size_and_bytes: tuple[int, int]) -> str:
    size, num_bytes = size_and_bytes
    return f"{size:,} [dim]({_bytes_text(num_bytes)})[/dim]" if size else ""


def _bytes_text(num_bytes: int) -> str:
    for unit, scale in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("KB", 1e3)):
        if num_bytes >= scale:
            return f"{num_bytes / scale:,.1f} {unit}"
    return f"{num_bytes} B"


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

    columns = ["path", "module", "inputs", "outputs"]
    columns += ["flops"] * flops + ["vjp_flops"] * vjp_flops
    view = rich.table.Table(
        show_header=True,
        show_lines=True,
        show_footer=True,
        title=f"{type(table.module).__name__} Summary",
        **table_kwargs,
    )
    for name in (*columns, *table.collections):
        view.add_column(name, **column_kwargs)
    totals: dict[str, tuple[int, int]] = dict.fromkeys(table.collections, (0, 0))
    for row in table:
        sizes = row.size_and_bytes(table.collections)
        cells = []
        for col in table.collections:
            size, num_bytes = sizes[col]
            totals[col] = (totals[col][0] + size, totals[col][1] + num_bytes)
            cells.append(_variables_cell(row.module_variables.get(col), sizes[col]))
        name = type(row.module_copy).__name__
        view.add_row(
            "/".join(row.path),
            name if row.method == "__call__" else f"{name} [dim]({row.method})[/dim]",
            block_text(row.inputs),
            block_text(row.outputs),
            *([str(row.flops)] if flops else []),
            *([str(row.vjp_flops)] if vjp_flops else []),
            *cells,
        )
    view.columns[len(columns) - 1].footer = rich.text.Text.from_markup(
        "Total", justify="right"
    )
    for index, col in enumerate(table.collections):
        view.columns[len(columns) + index].footer = _size_text(totals[col])
    view.caption_style = "bold"
    total = (
        sum(size for size, _ in totals.values()),
        sum(num_bytes for _, num_bytes in totals.values()),
    )
    view.caption = f"\nTotal Parameters: {_size_text(total)}"
    options: dict[str, Any] = {"force_terminal": True, "force_jupyter": False}
    options.update(console_kwargs or {})
    file = io.StringIO()
    console = rich.console.Console(file=file, **options)
    console.print(view)
    return "\n" + file.getvalue() + "\n"


def _variables_cell(variables: Any, size_and_bytes: tuple[int, int]) -> str:
    text = block_text(describe(variables)) if variables else ""
    size = _size_text(size_and_bytes)
    return text + ("\n\n" if text and size else "") + (size and f"[bold]{size}[/bold]")
