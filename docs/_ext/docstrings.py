"""Docstrings as this project writes them, in terms that Sphinx knows.

They have single backticks around code, as Markdown does. What is a name becomes a link
where that name has a page (`default_role` does that); anything else, such as `x + 1`,
becomes literal text, so that nothing in it is taken for markup.
"""

from __future__ import annotations

import re
from typing import Any

from sphinx.application import Sphinx

__all__ = ["mark_code", "setup"]

# What is marked up already, code in single backticks, and what only looks like markup.
_TOKEN = re.compile(
    r"(?P<marked>``.+?``|:[\w:]+:`[^`]+`|`[^`]+`_+)"
    r"|`(?P<code>[^`]+)`(?P<after>\w?)"
    r"|(?P<sign>[*|])",
    re.S,
)
_NAME = re.compile(r"[A-Za-z_][\w.]*(\(\))?")
# Examples are not text.
_EXAMPLE = re.compile(r"^[ ]*>>> .*?(?:\n[ ]*\n|\Z)", re.M | re.S)


def mark_code(text: str) -> str:
    """Returns the text of a docstring with its code marked as Sphinx wants it."""
    marked, at = [], 0
    for example in _EXAMPLE.finditer(text):
        marked += [_TOKEN.sub(_mark, text[at : example.start()]), example[0]]
        at = example.end()
    return "".join([*marked, _TOKEN.sub(_mark, text[at:])])


def _mark(match: re.Match[str]) -> str:
    if match["marked"]:
        return match[0]
    if match["sign"]:
        return f"\\{match['sign']}"
    code = " ".join(match["code"].split())
    shown = f"`{code}`" if _NAME.fullmatch(code) else f"``{code}``"
    # As in `Array`s.
    return f"{shown}\\ {match['after']}" if match["after"] else shown


def _process(
    app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]
) -> None:
    lines[:] = mark_code("\n".join(lines)).split("\n")


def setup(app: Sphinx) -> dict[str, Any]:
    """Rewrites each docstring before napoleon reads it."""
    app.connect("autodoc-process-docstring", _process, priority=100)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
