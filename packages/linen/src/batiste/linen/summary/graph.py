"""The tree of a module's submodules as a picture, with shapes on the edges."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from batiste.core.notebook import size_text
from batiste.core.scope import CollectionFilter
from batiste.core.types import Key, Keys

from ..errors import GraphvizMissingError
from ..module.running import ALL_BUT_INTERMEDIATES
from .costs import Runnable
from .notebook import children_of, total_of
from .rows import Row, make_rows
from .text import line_text

if TYPE_CHECKING:
    import graphviz

__all__ = ["graph"]

# What is longer is cut: labels are to be read.
_LONGEST = 60

# Dark on white, wherever the picture is put.
_STYLE = {
    "graph_attr": {"bgcolor": "white", "rankdir": "TB"},
    "node_attr": {
        "shape": "box",
        "style": "rounded,filled",
        "fillcolor": "#eaf1f8",
        "color": "#1c5d99",
        "fontcolor": "#111111",
        "fontname": "sans-serif",
        "fontsize": "11",
    },
    "edge_attr": {
        "color": "#555555",
        "fontcolor": "#333333",
        "fontname": "sans-serif",
        "fontsize": "9",
    },
}


def graph(
    module: Runnable,
    rngs: Key | Keys,
    *args: Any,
    depth: int | None = None,
    show_repeated: bool = False,
    mutable: CollectionFilter = ALL_BUT_INTERMEDIATES,
    **kwargs: Any,
) -> graphviz.Digraph:
    """Draws the tree of a module's submodules, with shapes on the edges.

    The module runs abstractly: nothing is computed or allocated. An edge leads from a
    module to one that it uses, and has what that is called with and what it returns.

    Args:
      module: the module.
      rngs: PRNG keys, as for `Module.init`.
      *args: positional arguments of `__call__`; arrays or `jax.ShapeDtypeStruct`s.
      depth: how many levels of submodules to draw; all by default. Variables of what
        is not drawn count for the module above.
      show_repeated: whether a later call of the same module is drawn, too.
      mutable: a filter that selects the collections whose sizes are counted.
      **kwargs: keyword arguments of `Module.init`, such as `method`, and of
        `__call__`.

    Returns:
      A `graphviz.Digraph`, which notebooks show as SVG. Its attribute `source` is the
      graph in words, `pipe(format="svg")` and `render` make a picture of it.

    Raises:
      GraphvizMissingError: the package `graphviz` is not installed; or, where the
        graph is made a picture, Graphviz's program `dot` is not.

    >>> import jax
    >>> import batiste.linen as nn
    >>> x = jax.ShapeDtypeStruct((16, 3), "float32")
    >>> picture = nn.graph(nn.Sequential([nn.Dense(2)]), jax.random.key(0), x)
    >>> "layers_0" in picture.source and "float32[16,3]" in picture.source
    True
    """
    digraph = _digraph_class()
    rows = make_rows(
        module,
        rngs,
        args,
        kwargs,
        depth=depth,
        show_repeated=show_repeated,
        mutable=mutable,
    )
    drawn = digraph(name=type(module).__name__, **_STYLE)
    inner = children_of(rows)
    for index, row in enumerate(rows):
        drawn.node(f"n{index}", _node_label(rows, index, inner))
        ends = {"shape": "plaintext", "style": "", "fontcolor": "#333333"}
        if index in inner[-1]:
            for end, value in ("in", row.inputs), ("out", row.outputs):
                drawn.node(f"{end}{index}", _label([line_text(value)]), **ends)
            drawn.edge(f"in{index}", f"n{index}")
        for child in inner[index]:
            called = rows[child]
            lines = [line_text(called.inputs), f"→ {line_text(called.outputs)}"]
            drawn.edge(f"n{index}", f"n{child}", _label(lines))
        if index in inner[-1]:
            drawn.edge(f"n{index}", f"out{index}", style="dashed")
    return drawn


def _node_label(rows: Sequence[Row], index: int, inner: dict[int, list[int]]) -> str:
    row = rows[index]
    kind = row.module if row.method == "__call__" else f"{row.module} ({row.method})"
    size, num_bytes = total_of(rows, index, inner)
    sizes = size_text((size, num_bytes)) if size else ""
    return _label([row.path[-1] if row.path else "", kind, sizes])


def _label(lines: Sequence[str]) -> str:
    """A label in which no character has the meaning that Graphviz gives it."""
    import graphviz

    short = [s if len(s) <= _LONGEST else f"{s[: _LONGEST - 3]}..." for s in lines]
    return graphviz.escape("\n".join(filter(None, short)))


@functools.cache
def _digraph_class() -> Any:
    """The class of graphs, whose error for a missing program says what to install."""
    try:
        import graphviz
    except ImportError as error:
        raise GraphvizMissingError("package") from error

    class ModuleGraph(graphviz.Digraph):
        def pipe(self, *args: Any, **kwargs: Any) -> Any:
            try:
                return super().pipe(*args, **kwargs)
            except graphviz.ExecutableNotFound as error:
                raise GraphvizMissingError("program") from error

        def render(self, *args: Any, **kwargs: Any) -> Any:
            try:
                return super().render(*args, **kwargs)
            except graphviz.ExecutableNotFound as error:
                raise GraphvizMissingError("program") from error

    return ModuleGraph
