"""Links into other projects' documentation, without asking them at each build.

`_inventories/NAME.txt` lists what our pages refer to, a line each: the name, its role
and its place below the project's address, which is the first line. Adding a line is all
that a new link needs.
"""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx

__all__ = ["setup"]


def _write_inventories(app: Sphinx, config: Any) -> None:
    for listing in sorted((Path(app.srcdir) / "_inventories").glob("*.txt")):
        address, *lines = listing.read_text("utf-8").split("\n")
        entries = [line.split() for line in lines if line and not line.startswith("#")]
        body = "".join(f"{n} {role} 1 {place} -\n" for n, role, place in entries)
        target = Path(app.outdir).parent / "inventories" / f"{listing.stem}.inv"
        target.parent.mkdir(parents=True, exist_ok=True)
        head = (
            f"# Sphinx inventory version 2\n# Project: {listing.stem}\n# Version: 0\n"
            "# The remainder of this file is compressed using zlib.\n"
        )
        target.write_bytes(head.encode() + zlib.compress(body.encode()))
        config.intersphinx_mapping[listing.stem] = (address, str(target))


def setup(app: Sphinx) -> dict[str, Any]:
    """Writes them before intersphinx looks."""
    app.connect("config-inited", _write_inventories, priority=100)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
