"""Long lines that cells print: those of prose are wrapped, those of tables are small.

Errors are prose, on one line. What stands below each other in a table has to stay so.
"""

from __future__ import annotations

import re
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.transforms.post_transforms import SphinxPostTransform

__all__ = ["LongLines", "setup"]

# As many have place beside the contents.
LONGEST = 86
# The rules of what `tabulate` prints, or columns.
TABLE = re.compile(r"[│┃━─]|\S {3,}\S")


class LongLines(SphinxPostTransform):
    """Marks the outputs with a class, `wrapped` or `small`, for the style sheet."""

    default_priority = 100  # after the choice of which form of an output is shown

    def run(self, **kwargs: Any) -> None:
        """Changes the document."""
        for block in self.document.findall(nodes.literal_block):
            long = [line for line in block.astext().splitlines() if len(line) > LONGEST]
            if "output" in block["classes"] and long:
                is_table = any(TABLE.search(line) for line in long)
                block["classes"].append("small" if is_table else "wrapped")


def setup(app: Sphinx) -> dict[str, Any]:
    """Registers the transform."""
    app.add_post_transform(LongLines)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
