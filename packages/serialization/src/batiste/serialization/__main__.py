"""`python -m batiste.serialization`: what files hold, converting, comparing."""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import sys
from collections.abc import Callable
from typing import Final, TextIO

from .comparing import compare, leaves_of
from .converting import KINDS, convert
from .elements import elements_of
from .errors import SerializationError, printable, shortened
from .listing import Row, human_size, render, rows, totals
from .sources import opened
from .stream import split_path
from .types import Leaf

__all__ = ["main"]


_RICH_DEPTH = 16  # beyond it, lines and indents leave no room for names
_FILES: Final = (
    "of msgpack, safetensors or NumPy (.npz), a folder of Orbax or Hugging Face, or "
    "one of them in an archive: models.zip/bert/model.safetensors"
)
_ERRORS: Final = (SerializationError, OSError, ImportError, ValueError, MemoryError)
# What shells report of programs that a closed pipe or Ctrl-C has ended.
_BROKEN_PIPE: Final = 141
_INTERRUPTED: Final = 130


def main(arguments: list[str] | None = None) -> int:
    """Prints what a file holds; or converts it, or compares it with another one.

    `FILE` prints its tree with shapes, dtypes and sizes, without reading array data;
    `convert A B` and `diff A B` have options of their own. Files are of msgpack,
    safetensors or NumPy (`.npz`), or folders of Orbax or Hugging Face, and may be
    inside of a `.tar` or `.zip`.

    What the terminal cannot show is escaped. A file that cannot be read, or output that
    cannot be written, is one line on standard error.

    Args:
      arguments: those of the command line if None.

    Returns:
      The exit status: 0, or 1 after a message; 141 if whoever reads the output, such as
      `head`, has had enough, and 130 after Ctrl-C, without one. Of `diff`, 1 where
      there are differences, and 2 after a message.

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
    arguments = sys.argv[1:] if arguments is None else arguments
    command = {"convert": _convert, "diff": _diff}.get((arguments or [""])[0])
    if command is not None:
        return command(arguments[1:])
    return _list(arguments)


def _list(arguments: list[str]) -> int:
    parser = _parser("", "Prints the tree in a file: names, shapes, dtypes and sizes.")
    parser.add_argument("file", help=_FILES)
    parser.add_argument(
        "--path", default="", metavar="NAMES", help="a part: params/Dense_0"
    )
    parser.add_argument(
        "--plain", action="store_true", help="plain text, even where rich is installed"
    )
    parser.epilog = "There are two commands more: convert --help, and diff --help."
    options = parser.parse_args(arguments)
    try:
        table = rows(options.file, options.path)
    except _ERRORS as error:
        return _fail(options.file, error)
    except KeyboardInterrupt:
        return _INTERRUPTED
    return _printed(
        lambda: ("" if options.plain else _coloured(table)) or f"{render(table)}\n"
    )


def _convert(arguments: list[str]) -> int:
    parser = _parser(
        "convert",
        "Converts a file, block by block, reads back what was written, and compares "
        "it bit by bit before it gets its name.",
    )
    parser.add_argument("source", metavar="A", help=_FILES)
    parser.add_argument(
        "target", metavar="B", help="ends in .msgpack, .safetensors, .npz or .orbax"
    )
    parser.add_argument("--to", choices=KINDS, help="the format, whatever B ends in")
    parser.add_argument("--force", action="store_true", help="replaces a file B")
    _add_separator(parser)
    options = parser.parse_args(arguments)
    with contextlib.ExitStack() as stack:
        try:
            done = convert(
                options.source,
                options.target,
                options.to,
                separator=options.separator or None,
                force=options.force,
                started=lambda total: _bar(total, stack),
            )
        except _ERRORS as error:
            return _fail(options.source, error)
        except KeyboardInterrupt:
            return _INTERRUPTED
    said = (
        f"{printable(options.target)}: {done.kind}, arrays: {done.arrays:,}, size: "
        f"{human_size(done.nbytes)}, verified\n"
    )
    return _printed(said)


def _diff(arguments: list[str]) -> int:
    parser = _parser(
        "diff",
        "Compares two files, of any formats: paths, shapes, dtypes, bits, and the "
        "largest difference. The exit status is 0 if there is none, 1 if there are "
        "some, 2 after an error.",
    )
    parser.add_argument("first", metavar="A", help=_FILES)
    parser.add_argument("second", metavar="B", help="likewise")
    parser.add_argument(
        "--path", default="", metavar="NAMES", help="a part: params/Dense_0"
    )
    _add_separator(parser)
    options = parser.parse_args(arguments)
    separator, path = options.separator or None, split_path(options.path)
    name = options.first
    try:
        with contextlib.ExitStack() as stack:
            trees = []
            for name in (options.first, options.second):
                source = opened(name, path, separator=separator)
                trees.append(stack.enter_context(source).tree)
            name = f"{options.first}, {options.second}"
            bar = _bar(sum(map(_nbytes, leaves_of(trees[0]).values())), stack)
            found = [
                difference.text() for difference in compare(trees[0], trees[1], bar)
            ]
            count = len(leaves_of(trees[0]))
    except _ERRORS as error:
        return _fail(name, error) + 1
    except KeyboardInterrupt:
        return _INTERRUPTED
    same = f"no difference in {count:,} leaves"
    lines = [*map(printable, found), f"differences: {len(found):,}" if found else same]
    return _printed("\n".join([*lines, ""])) or int(bool(found))


def _parser(command: str, description: str) -> argparse.ArgumentParser:
    program = f"python -m batiste.serialization {command}".rstrip()
    return argparse.ArgumentParser(prog=program, description=description)


def _add_separator(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--separator",
        default=".",
        metavar="TEXT",
        help="what joins names in safetensors; '' takes them as they are",
    )


def _nbytes(leaf: Leaf) -> int:
    return 0 if (found := elements_of(leaf)) is None else found.nbytes


def _bar(total: int, stack: contextlib.ExitStack) -> Callable[[int], None]:
    """What shows how far it is, on a terminal, where tqdm is installed."""
    if sys.stderr is not None and sys.stderr.isatty():
        with contextlib.suppress(ImportError):
            from tqdm import tqdm

            bar = stack.enter_context(
                tqdm(total=total, unit="B", unit_scale=True, leave=False)
            )

            def show(nbytes: int) -> None:
                bar.update(nbytes)

            return show
    return lambda nbytes: None


def _printed(text: str | Callable[[], str]) -> int:
    """Writes to standard output; returns the exit status."""
    try:
        _write(text if isinstance(text, str) else text(), sys.stdout)
    except BrokenPipeError:
        _close_quietly(sys.stdout)
        return _BROKEN_PIPE
    except OSError as error:
        _close_quietly(sys.stdout)
        return _fail("standard output", error)
    except KeyboardInterrupt:
        _close_quietly(sys.stdout)
        return _INTERRUPTED
    return 0


def _write(text: str, file: TextIO | None) -> None:
    if file is None:
        raise OSError("it is closed.")
    encoding = getattr(file, "encoding", None) or "utf-8"
    data = text.encode(encoding, "backslashreplace")
    raw = getattr(file, "buffer", None)
    if not isinstance(raw, io.RawIOBase):
        file.write(data.decode(encoding))
        file.flush()
        return
    # Without a buffer, as with `python -u`, a write may take only a part, unsaid.
    rest = memoryview(data)
    while rest:
        rest = rest[raw.write(rest) or 0 :]


def _fail(name: str, error: BaseException) -> int:
    """Prints one line about an error; returns the exit status."""
    reason = error.strerror if isinstance(error, OSError) else None
    where = getattr(error, "filename", None)
    if reason and isinstance(where, str) and where != name:
        reason = f"{reason}: {shortened(where)}"
    text = reason or str(error) or type(error).__name__
    with contextlib.suppress(OSError):
        _write(f"{shortened(printable(name))}: {printable(text)}\n", sys.stderr)
        return 1
    _close_quietly(sys.stderr)
    return 1


def _close_quietly(file: TextIO | None) -> None:
    """Leaves nothing for Python to fail at when it writes out the rest at its end."""
    if file is None:
        return
    with contextlib.suppress(OSError, ValueError):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, file.fileno())
        os.close(null)


def _coloured(table: list[Row]) -> str:
    """The tree as rich draws it; nothing where that is not installed, or of no use."""
    if max(row.depth for row in table) > _RICH_DEPTH:
        return ""
    try:
        from rich.console import Console
        from rich.text import Text
        from rich.tree import Tree
    except ImportError:
        return ""
    console = Console()
    if not console.encoding.lower().startswith("utf"):
        return ""
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
    with console.capture() as captured:  # rich ends the process if a pipe is closed
        console.print(branches[0])
        console.print(totals(table))
    return captured.get()


if __name__ == "__main__":
    sys.exit(main())
