"""For the kernels of pages, where Graphviz's `dot` is missing: graphs are texts.

`conf.py` puts this folder on their path if there is no `dot` on the machine. A cell
that ends with a graph then shows the lines that it is made of, and does not fail.
"""

from __future__ import annotations

import contextlib
from typing import Any

__all__: list[str] = []


def _as_text(self: Any, *args: Any, **kwargs: Any) -> dict[str, str]:
    return {"text/plain": self.source}


with contextlib.suppress(ImportError):
    import graphviz

    for kind in (graphviz.Graph, graphviz.Digraph, graphviz.Source):
        kind._repr_mimebundle_ = _as_text
