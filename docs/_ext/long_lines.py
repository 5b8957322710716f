"""Long lines that cells print, as errors have, are wrapped where they are shown.

Tables are not: what stands below each other there has to stay so.
"""

from __future__ import annotations

from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.transforms.post_transforms import SphinxPostTransform

__all__ = ["LongLines", "setup"]

LONGEST = 88
# Of the tables that `tabulate` prints.
RULES = set("│┃━─╭╰┏┗")


class LongLines(SphinxPostTransform):
    """Marks the outputs with the class `long-lines`, which the style sheet wraps."""

    default_priority = 100  # after the choice of which form of an output is shown

    def run(self, **kwargs: Any) -> None:
        """Changes the document."""
        for block in self.document.findall(nodes.literal_block):
            if "output" in block["classes"] and _is_too_long(block.astext()):
                block["classes"].append("long-lines")


def _is_too_long(text: str) -> bool:
    longest = max(map(len, text.splitlines()), default=0)
    return longest > LONGEST and RULES.isdisjoint(text)


def setup(app: Sphinx) -> dict[str, Any]:
    """Registers the transform."""
    app.add_post_transform(LongLines)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
