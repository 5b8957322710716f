"""Cells that stand side by side, as tabs: all are run, and the reader chooses one.

Neighbouring code cells whose options have a line `tab: TITLE` become one set of tabs.
So do code blocks that are not run, of the class `tab`, whose caption is the title.

    ```{code-cell}
    ---
    tab: One model
    ---
    ...
    ```

    ```{code-block} python
    :class: tab
    :caption: Before
    ...
    ```
"""

from __future__ import annotations

from typing import Any, cast

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.transforms import SphinxTransform
from sphinx_design.shared import create_component

__all__ = ["CellTabs", "setup"]


class CellTabs(SphinxTransform):
    """Wraps neighbouring cells and code blocks that have a title in tabs."""

    default_priority = 5  # before all that looks for captions or references

    def apply(self, **kwargs: Any) -> None:
        """Changes the document."""
        found = [(c, _title(c)) for c in self.document.findall(nodes.container)]
        for cell, title in [(c, title) for c, title in found if title]:
            parent, index = cell.parent, cell.parent.index(cell)
            before = parent[index - 1] if index else None
            item = _tab_item(title)
            parent.remove(cell)
            content = cast("nodes.Element", item[1])
            content.append(cell if cell.get("nb_element") else cell[1])
            if isinstance(before, nodes.Element) and "cell-tabs" in before["classes"]:
                before.append(item)
            else:
                classes = ["sd-tab-set", "cell-tabs"]
                tabs = create_component("tab-set", classes, children=[item])
                parent.insert(index, tabs)


def _title(node: nodes.container) -> str:
    if node.get("nb_element") == "cell_code":
        return str(node.get("cell_metadata", {}).get("tab", ""))
    block = node[-1] if node.get("literal_block") else None
    if isinstance(block, nodes.Element) and "tab" in block["classes"]:
        return node[0].astext()
    return ""


def _tab_item(title: str) -> nodes.container:
    item = create_component("tab-item", ["sd-tab-item"], selected=False)
    label = nodes.rubric(title, "", nodes.Text(title), classes=["sd-tab-label"])
    label["sync_id"], label["sync_group"] = title, "cells"
    item += label
    item += create_component("tab-content", ["sd-tab-content"])
    return item


def setup(app: Sphinx) -> dict[str, Any]:
    """Registers the transform."""
    app.add_transform(CellTabs)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
