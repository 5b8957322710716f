"""Files of one format to files of another, block by block, and verified."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, NamedTuple

from .comparing import compare, leaves_of
from .elements import Elements, elements_of
from .errors import SerializationError, listed
from .formats import Format, parts_of
from .integrity import CheckedFile
from .npz import write_npz
from .orbax_folders import write_orbax
from .sources import ARCHIVE, opened
from .state_dict import to_state_dict
from .stream import replace_file, temporary_name, write_parts
from .types import Tree

__all__ = [
    "KINDS",
    "Converted",
    "convert",
    "kind_for",
]


KINDS: Final = ("msgpack", "safetensors", "npz", "orbax")
"""What can be written."""

_ENDS: Final = {
    ".msgpack": "msgpack",
    ".safetensors": "safetensors",
    ".npz": "npz",
    ".orbax": "orbax",
}


class Converted(NamedTuple):
    """What was converted.

    Attributes:
      arrays: the number of arrays.
      nbytes: the number of bytes of their elements.
      kind: what was written.

    >>> Converted(2, 48, "npz").kind
    'npz'
    """

    arrays: int
    nbytes: int
    kind: str


def kind_for(target: str) -> str:
    """Finds what is to be written from how a name ends.

    Raises:
      SerializationError: it does not end in anything known.

    >>> kind_for("model.npz")
    'npz'
    """
    kind = _ENDS.get(os.path.splitext(target.rstrip("/\\"))[1].lower())
    if kind is None:
        raise SerializationError(
            f"The name {target!r} does not say what is to be written: it ends in none "
            f"of {', '.join(_ENDS)}. Pass --to with one of {', '.join(KINDS)}."
        )
    return kind


def convert(
    source: str,
    target: str,
    kind: str | None = None,
    *,
    separator: str | None = ".",
    force: bool = False,
    started: Callable[[int], Callable[[int], None]] = lambda total: lambda n: None,
) -> Converted:
    """Converts a file, a folder, or what is in an archive.

    What is written has another name until it was read back and compared with the source
    bit by bit; then it is renamed. What is in memory at a time is a block of an array;
    but Orbax is given whole arrays, which lie in the mapped source where that is not
    compressed.

    Args:
      source: as `batiste.serialization.sources.opened` takes it.
      target: a path.
      kind: one of `KINDS`; None looks how `target` ends.
      separator: of safetensors, read and written.
      force: replaces a file that is there.
      started: is called with the number of bytes that will be written and compared, and
        returns what is called with numbers of bytes as that goes on.

    Returns:
      What was converted.

    Raises:
      SerializationError: the source is damaged, has no place in the format, or was not
        the same when it was read back. There is nothing new then.
      FileExistsError: the target is there, and not to be replaced.
      NotADirectoryError: there is no folder for it.
      ImportError: Orbax is asked for, and is not installed.
      OSError: a file cannot be read or written.
    """
    kind = kind_for(target) if kind is None else kind
    _check_new(target, force and kind != "orbax")
    with opened(source, separator=separator) as (found, tree, metadata):
        if found == ARCHIVE:
            raise SerializationError(
                "This is an archive of files. Pass one of them, as in "
                "models.zip/model.safetensors; it has "
                f"{f'these: {listed(tree)}' if tree else 'none'}."
            )
        sizes = [e.nbytes for e in map(elements_of, leaves_of(tree).values()) if e]
        done = started(2 * sum(sizes))
        tree = _counted(to_state_dict(tree), done)

        def verify(written: str) -> None:
            with opened(written, separator=separator) as again:
                for difference in compare(tree, again.tree):
                    raise SerializationError(
                        "What was written is not what was read, and is not kept: "
                        f"{difference.text()}."
                    )

        if kind == "orbax":
            _write_folder(tree, target, verify)
        else:
            write = _writer(kind, tree, separator, metadata)
            replace_file(target, write, check=verify)
    return Converted(len(sizes), sum(sizes), kind)


def _writer(
    kind: str, tree: Tree, separator: str | None, metadata: Mapping[str, str]
) -> Callable[[CheckedFile], Any]:
    if kind == "npz":
        return lambda file: write_npz(tree, file)
    format: Format = "safetensors" if kind == "safetensors" else "msgpack"
    said = metadata if kind == "safetensors" else None
    parts = parts_of(tree, format, separator=separator, metadata=said)
    return lambda file: write_parts(parts, file)


def _write_folder(tree: Tree, target: str, verify: Callable[[str], None]) -> None:
    folder, name = os.path.split(os.path.realpath(target))
    # In a folder of its own, for Orbax leaves others beside it where it fails.
    temporary = os.path.join(folder, temporary_name(name, "tmp"))
    written = os.path.join(temporary, name)
    os.mkdir(temporary)
    try:
        write_orbax(tree, written)
        verify(written)
        os.rename(written, os.path.join(folder, name))
    finally:
        with contextlib.suppress(OSError):
            shutil.rmtree(temporary)


def _counted(tree: Tree, done: Callable[[int], None]) -> Tree:
    """The tree, with arrays that report what is read of them."""
    if isinstance(tree, dict):
        return {key: _counted(value, done) for key, value in tree.items()}
    if not isinstance(tree, Elements):
        return tree

    def parts() -> Iterator[memoryview]:
        for part in tree.parts():
            yield part
            done(len(part))

    return Elements(tree.dtype, tree.shape, tree.nbytes, parts)


def _check_new(target: str, force: bool) -> None:
    folder = os.path.dirname(os.path.realpath(target))
    if not os.path.isdir(folder):
        what = "no folder" if os.path.lexists(folder) else "not there"
        raise NotADirectoryError(
            f"{target!r} cannot be written: {folder!r} is {what}. Make it first; "
            "nothing is written into archives."
        )
    if not os.path.lexists(target) or (force and os.path.isfile(target)):
        return
    way = "Remove it first" if force or os.path.isdir(target) else "Pass --force"
    raise FileExistsError(
        f"{target!r} is there already, and is not replaced. {way}, or pass another "
        "name."
    )
