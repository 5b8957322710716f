"""`python -m batiste.serialization FILE`: prints what a file holds."""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import select
import stat
import sys
import time
from collections.abc import Iterator
from typing import BinaryIO, Final, TextIO

from .errors import SerializationError, printable, shortened
from .listing import Row, human_size, render, rows, totals

__all__ = ["main"]


_RICH_DEPTH = 16  # beyond it, lines and indents leave no room for names
_PATIENCE: Final = 2.0  # seconds for the program at the other end of a pipe to begin
# What shells report of programs that a closed pipe or Ctrl-C has ended.
_BROKEN_PIPE: Final = 141
_INTERRUPTED: Final = 130


def main(arguments: list[str] | None = None) -> int:
    """Prints the tree of a file with shapes, dtypes and sizes; array data is not read.

    What the terminal cannot show is escaped. A file that cannot be read, or output that
    cannot be written, is one line on standard error.

    Args:
      arguments: those of the command line if None.

    Returns:
      The exit status: 0, or 1 after a message; 141 if whoever reads the output, such as
      `head`, has had enough, and 130 after Ctrl-C, without one.

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
        with _opened(options.file) as file:
            table = rows(file, options.path)
    except (SerializationError, OSError, ValueError, MemoryError) as error:
        return _fail(options.file, error)
    except KeyboardInterrupt:
        return _INTERRUPTED
    try:
        text = "" if options.plain else _coloured(table)
        _write(text or f"{render(table)}\n", sys.stdout)
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


@contextlib.contextmanager
def _opened(name: str) -> Iterator[str | BinaryIO]:
    """A file as `rows` takes it: a path that can be mapped, or what a pipe gave."""
    mode = os.stat(name).st_mode
    if stat.S_ISREG(mode):
        yield name
    elif stat.S_ISFIFO(mode):
        yield _read_pipe(name)
    elif stat.S_ISDIR(mode):
        raise IsADirectoryError(
            "this is a folder. Orbax writes such; a msgpack checkpoint is a file."
        )
    else:
        raise OSError("this is a device or a socket, and not a file or a pipe.")


def _read_pipe(name: str) -> BinaryIO:
    # An open that waits would wait for ever where nobody is going to write.
    descriptor = os.open(name, os.O_RDONLY | os.O_NONBLOCK)
    data = io.BytesIO()
    with open(descriptor, "rb", buffering=0) as pipe:
        deadline = time.monotonic() + _PATIENCE
        while True:
            part = pipe.read(2**20)
            if part:
                data.write(part)
            elif part is None:  # somebody is there, and has nothing to say yet
                select.select([descriptor], [], [])
            elif data.tell() or time.monotonic() > deadline:
                break
            else:
                time.sleep(0.01)
    if not data.tell():
        raise OSError(f"nothing was written to this pipe within {_PATIENCE:.0f} s.")
    data.seek(0)
    return data


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
