"""A line at the head of each page that runs: the page as a notebook, to download."""

from __future__ import annotations

from typing import Any

from sphinx.application import Sphinx

__all__ = ["setup"]


def _add_download(app: Sphinx, docname: str, source: list[str]) -> None:
    text = source[0]
    front, _, _ = text.removeprefix("---\n").partition("\n---\n")
    if not text.startswith("---\n") or "file_format: mystnb" not in front:
        return
    name = docname.rsplit("/", 1)[-1]
    head, heading, rest = text.partition("\n# ")
    title, newline, body = rest.partition("\n")
    link = f"\n{{nb-download}}`Download as a notebook <{name}.ipynb>`\n"
    source[0] = f"{head}{heading}{title}{newline}{link}{body}"


def setup(app: Sphinx) -> dict[str, Any]:
    """Adds the line to each source as it is read."""
    app.connect("source-read", _add_download)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
