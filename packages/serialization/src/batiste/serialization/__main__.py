"""`python -m batiste.serialization FILE`: prints what a file holds."""

from __future__ import annotations

import argparse
import sys

from .errors import SerializationError
from .listing import Row, human_size, render, rows, totals

__all__ = ["main"]


_RICH_DEPTH = 16  # beyond it, lines and indents leave no room for names


def main(arguments: list[str] | None = None) -> int:
    """Prints the tree of a file with shapes, dtypes and sizes; array data is not read.

    Args:
      arguments: those of the command line if None.

    Returns:
      The exit status: 0, or 1 after a message about a file that cannot be read.

    >>> import pathlib, tempfile
    >>> from batiste.serialization import serialize
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = pathlib.Path(folder, "state.msgpack")
    ...     size = serialize({"step": 7}, file)
    ...     status = main([str(file), "--plain", "--path", "step"])
    name                                                         type ...
    >>> status
    0
    """
    parser = argparse.ArgumentParser(
        prog="python -m batiste.serialization",
        description="Prints the tree in a msgpack checkpoint: names, shapes, dtypes "
        "and sizes. Array data is not read.",
    )
    parser.add_argument("file", help="written by serialize, to_bytes or Flax")
    parser.add_argument(
        "--path", default="", metavar="NAMES", help="a part: params/Dense_0"
    )
    parser.add_argument(
        "--plain", action="store_true", help="plain text, even where rich is installed"
    )
    options = parser.parse_args(arguments)
    try:
        table = rows(options.file, options.path)
    except (SerializationError, OSError) as error:
        print(f"{options.file}: {error}", file=sys.stderr)
        return 1
    if options.plain or not _print_rich(table):
        print(render(table))
    return 0


def _print_rich(table: list[Row]) -> bool:
    """Prints the tree with rich; False where that is not installed, or of no use."""
    if max(row.depth for row in table) > _RICH_DEPTH:
        return False
    try:
        from rich.console import Console
        from rich.text import Text
        from rich.tree import Tree
    except ImportError:
        return False
    console = Console()
    branches: list[Tree] = []
    for row in table:
        # Text, not markup: a name may look like markup.
        label = Text(row.name, style="bold")
        label.append(f"  {row.kind}", style="cyan")
        if row.nbytes:
            elements = f"  {row.elements:,}" if row.arrays else ""
            label.append(f"{elements}  {human_size(row.nbytes)}", style="dim")
        del branches[row.depth :]
        branches.append(branches[-1].add(label) if branches else Tree(label))
    console.print(branches[0])
    console.print(totals(table))
    return True


if __name__ == "__main__":
    sys.exit(main())
