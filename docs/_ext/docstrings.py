"""Docstrings as this project writes them, in terms that Sphinx knows.

They have single backticks around code, as Markdown does. What is a name becomes a link
where that name has a page (`default_role` does that); anything else, such as `x + 1`,
becomes literal text, so that nothing in it is taken for markup.
"""

from __future__ import annotations

import re
from typing import Any

from sphinx.application import Sphinx

__all__ = ["setup"]

# Single backticks only: neither literals nor roles, nor references.
_CODE = re.compile(r"(?<![`:\w])`([^`\n]+)`(?![`_])")
_NAME = re.compile(r"[A-Za-z_][\w.]*(\(\))?")


def _mark_code(
    app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]
) -> None:
    text = _over_lines("\n".join(lines))
    lines[:] = _CODE.sub(_literal, text).split("\n")


def _over_lines(text: str) -> str:
    """Joins code that goes over the end of a line, outside of examples."""
    return re.sub(r"(?<![`:\w])`([^`\n>]+)\n[ ]*([^`\n]+)`(?![`_])", r"`\1 \2`", text)


def _literal(match: re.Match[str]) -> str:
    code = match[1]
    return match[0] if _NAME.fullmatch(code) else f"``{code}``"


def setup(app: Sphinx) -> dict[str, Any]:
    """Rewrites each docstring before napoleon reads it."""
    app.connect("autodoc-process-docstring", _mark_code, priority=100)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
