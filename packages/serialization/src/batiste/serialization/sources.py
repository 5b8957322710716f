"""Whatever holds a tree of arrays, opened: files of each format, folders, archives.

Nothing is read but names, shapes and dtypes, until the parts of an array are asked for.
"""

from __future__ import annotations

import contextlib
import io
import itertools
import math
import os
import select
import stat
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, BinaryIO, Final, NamedTuple, cast

from .archives import (
    archive_kind,
    members,
    opened_member,
    split_archive,
    unpacked_folder,
)
from .decode import Leaves
from .dtypes import dtype_from_name
from .elements import Elements
from .errors import SerializationError, join_path, listed, nearest
from .formats import tree_of
from .magic import looks_like_safetensors, looks_like_zip
from .npz import MEMBER, read_npz
from .orbax_folders import is_orbax, read_orbax
from .pretrained import INDEX, by_name, has_weights, shards_of, weights_file
from .safetensors_codec import metadata_of
from .stream import mapped
from .types import Shape, Tree

__all__ = [
    "ARCHIVE",
    "SHARDS",
    "Described",
    "Source",
    "Stored",
    "opened",
]


ARCHIVE: Final = "archive"
"""The kind of what holds files, and no arrays."""

SHARDS: Final = "shards"
"""The kind of an index, and of the files that it names."""

_BLOCK: Final = 2**22
_PATIENCE: Final = 2.0  # seconds for the program at the other end of a pipe to begin


class Source(NamedTuple):
    """What was opened.

    Attributes:
      kind: `msgpack`, `safetensors`, `npz`, `Orbax`, `shards` or
        `archive`.
      tree: the tree, with `Elements` for arrays. The tree of an archive has `Elements`
        without parts for its files.
      metadata: what is said of a safetensors file.

    >>> Source("msgpack", {"step": 7}).kind
    'msgpack'
    """

    kind: str
    tree: Tree
    metadata: Mapping[str, str] = {}


class Stored:
    r"""Leaves that are where they are, and are read when their parts are asked for.

    Args:
      data: the bytes of the file.

    >>> found = Stored(memoryview(b"\1\0\2\0")).array((2,), "int16", 0, 4)
    >>> b"".join(found.parts())
    b'\x01\x00\x02\x00'
    """

    def __init__(self, data: memoryview) -> None:
        self.data = data

    def array(self, shape: Shape, dtype: str, start: int, size: int) -> Elements:
        """Makes the elements of an array.

        Args:
          shape: its shape.
          dtype: the name of its dtype.
          start: where its elements begin.
          size: how many bytes they have.

        Returns:
          The elements.

        Raises:
          SerializationError: they do not make up such an array.
        """
        try:
            itemsize = dtype_from_name(dtype).itemsize
        except SerializationError:
            pass  # to list a file needs no ml_dtypes
        else:
            if math.prod(shape) * itemsize != size:
                raise SerializationError(
                    f"An array {dtype}{list(shape)} cannot have {size} bytes: the data "
                    "is damaged."
                )

        def parts() -> Iterator[memoryview]:
            for at in range(start, start + size, _BLOCK):
                yield self.data[at : min(at + _BLOCK, start + size)]

        return Elements(dtype, shape, size, parts)

    def joined(self, chunks: Sequence[Elements], shape: Shape) -> Elements:
        """Makes the elements of an array that was written in pieces.

        Args:
          chunks: the pieces.
          shape: the shape of the whole.

        Returns:
          The elements.

        Raises:
          SerializationError: the pieces do not make it up.
        """
        count = sum(math.prod(chunk.shape) for chunk in chunks)
        if count != math.prod(shape) or len({chunk.dtype for chunk in chunks}) > 1:
            raise SerializationError(
                f"The pieces of an array with the shape {list(shape)} do not make it "
                "up: the data is damaged."
            )

        def parts() -> Iterator[memoryview]:
            return itertools.chain.from_iterable(chunk.parts() for chunk in chunks)

        nbytes = sum(chunk.nbytes for chunk in chunks)
        return Elements(chunks[0].dtype, shape, nbytes, parts)

    def binary(self, start: int, size: int) -> bytes:
        """Copies `size` bytes from `start` on."""
        return bytes(self.data[start : start + size])


class Described(Stored):
    """Leaves of a listing: not even bytes are read.

    >>> Described(memoryview(b"ab")).binary(0, 2).dtype
    'bytes'
    """

    def binary(self, start: int, size: int) -> Any:
        """Makes what stands for `size` bytes from `start` on."""
        return Elements("bytes", (size,), size, _nothing)


@contextlib.contextmanager
def opened(
    name: str,
    path: Sequence[str] = (),
    *,
    describe: bool = False,
    separator: str | None = ".",
) -> Iterator[Source]:
    """Opens a file, a folder, or what is in an archive.

    Args:
      name: a path, which may go on in an archive: `models.zip/bert/model.safetensors`.
      path: names from the root of the tree; only what is under them is given.
      describe: bytes among the leaves are `Elements`, too, with the dtype `bytes`.
      separator: of safetensors.

    Yields:
      What it is, and its tree, the parts of whose arrays can be asked for as long as
      the context lasts.

    Raises:
      SerializationError: it is damaged, or has nothing at `path`.
      ImportError: it is a folder of Orbax, which is not installed.
      OSError: it cannot be read, or is a folder of another kind.
    """
    file, inner = split_archive(name)
    with contextlib.ExitStack() as stack:
        place = _in_archive if inner else _on_disk
        found = place(file, inner, separator, stack)
        if isinstance(found, Source):
            yield found._replace(tree=_part(found.tree, path))
            return
        if looks_like_zip(found):
            tree = stack.enter_context(read_npz(io.BufferedReader(_ViewFile(found))))
            yield Source("npz", _part(tree, path))
            return
        leaves = cast(Leaves, (Described if describe else Stored)(found))
        tree = tree_of(found, leaves, path, separator=separator)
        if looks_like_safetensors(found):
            yield Source("safetensors", tree, metadata_of(found))
        else:
            yield Source("msgpack", tree)


def _on_disk(
    file: str, inner: str, separator: str | None, stack: contextlib.ExitStack
) -> Source | memoryview:
    mode = os.stat(file).st_mode
    if stat.S_ISDIR(mode):
        return _folder(file, separator, stack)
    if stat.S_ISFIFO(mode):
        return stack.enter_context(mapped(_read_pipe(file)))
    if not stat.S_ISREG(mode):
        raise OSError("this is a device or a socket, and not a file or a pipe.")
    if file.endswith(INDEX):
        return _shards(*os.path.split(file), separator, stack)
    if (kind := archive_kind(file)) and not _is_npz(file, kind):
        sizes = members(file).items()
        return Source(
            ARCHIVE, {name: Elements("file", (n,), n, _nothing) for name, n in sizes}
        )
    return stack.enter_context(mapped(file))


def _in_archive(
    archive: str, inner: str, separator: str | None, stack: contextlib.ExitStack
) -> Source | memoryview:
    known = members(archive)
    below = any(name.startswith(f"{inner}/") for name in known)
    if inner not in known and below:
        folder = stack.enter_context(unpacked_folder(archive, inner))
        return _folder(folder, separator, stack)
    if inner.endswith(INDEX):
        outer = os.path.dirname(inner)
        folder = stack.enter_context(unpacked_folder(archive, outer))
        return _shards(folder, os.path.basename(inner), separator, stack)
    return stack.enter_context(opened_member(archive, inner))


def _folder(
    folder: str, separator: str | None, stack: contextlib.ExitStack
) -> Source | memoryview:
    entries = [entry.path for entry in os.scandir(folder) if entry.is_dir()]
    if is_orbax(folder) or any(map(is_orbax, entries)):
        return Source("Orbax", read_orbax(folder))
    if not has_weights(folder):
        raise IsADirectoryError(
            "this is a folder, neither one of Orbax nor one with weights. The other "
            "checkpoints are files."
        )
    chosen = weights_file(folder)
    if chosen.endswith(INDEX):
        return _shards(folder, chosen, separator, stack)
    return stack.enter_context(mapped(os.path.join(folder, chosen)))


def _shards(
    folder: str, index: str, separator: str | None, stack: contextlib.ExitStack
) -> Source:
    """The tree in the files that an index names."""
    shards = shards_of(os.path.join(folder, index))
    if shards.separator == ".":
        shards = shards._replace(separator=separator)
    metadata: dict[str, str] = {}

    def read(name: str) -> Mapping[str, Any]:
        data = stack.enter_context(mapped(os.path.join(folder, name)))
        if name.endswith(".safetensors"):
            metadata.update(metadata_of(data))
        leaves = cast(Leaves, Stored(data))
        return by_name(tree_of(data, leaves, separator=None), name)

    tree, _ = shards.collected(read)
    return Source(SHARDS, tree, metadata)


def _nothing() -> Iterator[memoryview]:
    return iter(())


def _is_npz(file: str, kind: str) -> bool:
    names = members(file) if kind == "zip" else ["x"]
    return all(name.endswith(".npy") or name == MEMBER for name in names)


def _part(tree: Tree, path: Sequence[str]) -> Tree:
    for depth, name in enumerate(path):
        if isinstance(tree, (list, tuple)):
            tree = {str(i): item for i, item in enumerate(tree)}
        names = {str(key): key for key in tree} if isinstance(tree, dict) else {}
        if name not in names:
            raise SerializationError(
                f"There is nothing at {join_path(path)!r}{nearest(name, names)}. Here "
                f"are: {listed(names) or 'no names'}.",
                join_path(path[:depth]),
            )
        tree = tree[names[name]]
    return tree


class _ViewFile(io.RawIOBase):
    """Bytes in memory as a file, without a copy of them."""

    def __init__(self, data: memoryview) -> None:
        self._data = data
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = 0, /) -> int:
        base = (0, self._at, len(self._data))[whence]
        if base + offset < 0:
            raise OSError("a place before the file")
        self._at = base + offset
        return self._at

    def readinto(self, buffer: Any, /) -> int:
        part = self._data[self._at : self._at + len(buffer)]
        buffer[: len(part)] = part
        self._at += len(part)
        return len(part)


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
