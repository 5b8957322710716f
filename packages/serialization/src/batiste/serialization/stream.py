"""Objects to files and back, without a copy of them in memory."""

from __future__ import annotations

import contextlib
import io
import mmap
import os
import uuid
from collections.abc import Iterable, Iterator, Sequence
from typing import BinaryIO, Final, TypeAlias

from .decode import Leaves, Views, decode
from .encode import encode
from .msgpack_codec import frozen_view
from .state_dict import from_state_dict, to_state_dict
from .types import Tree

__all__ = [
    "File",
    "mapped",
    "restore",
    "serialize",
    "split_path",
]


File: TypeAlias = str | os.PathLike[str] | BinaryIO | io.RawIOBase
"""A path, or a file that is open for bytes."""

# Parts smaller than this are gathered, up to this many bytes, before they are written.
_GATHER: Final = 2**18


def serialize(
    target: Tree,
    file: File,
    *,
    max_chunk_size: int | None = None,
    durable: bool = False,
) -> int:
    """Writes the state of an object to a file, without building the message in memory.

    The file holds the bytes that `to_bytes` returns. Elements of contiguous arrays go
    from their place to the file; what is held beside the tree stays below 64 MiB.

    A path is written under another name in the same folder, and renamed at the end:
    readers find the old file or the new one, whole, and those who have mapped the old
    one keep it. If writing fails, the old file stays as it was and nothing is left
    behind.

    Args:
      target: an object that `to_state_dict` takes.
      file: a path, or a file open for writing bytes, which is written from where it
        stands and left open.
      max_chunk_size: bytes; overrides `MAX_CHUNK_SIZE`, above which arrays are written
        in pieces.
      durable: waits until the file, and for a path its folder, are on the disk, so that
        a power failure cannot take them back.

    Returns:
      The number of bytes written.

    Raises:
      SerializationError: a value has no place in the format; its `path` names it.
      OSError: the file cannot be written, as when the disk is full.

    >>> import io
    >>> from batiste.serialization import serialize, to_bytes
    >>> file = io.BytesIO()
    >>> serialize({"step": 7}, file)
    7
    >>> file.getvalue() == to_bytes({"step": 7})
    True
    """
    parts = encode(to_state_dict(target), max_chunk_size=max_chunk_size)
    if not isinstance(file, (str, os.PathLike)):
        written = _write(parts, file)
        if durable:
            file.flush()
            os.fsync(file.fileno())
        return written
    path = os.path.realpath(file)  # a link stays a link
    if os.path.exists(path) and not os.path.isfile(path):
        with open(path, "wb", buffering=0) as device:  # as /dev/stdout
            return _write(parts, device)
    folder, name = os.path.split(path)
    temporary = os.path.join(folder, f".{name}.{uuid.uuid4().hex}.tmp")
    try:
        with open(temporary, "xb", buffering=0) as raw:
            written = _write(parts, raw)
            if durable:
                os.fsync(raw.fileno())
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        raise
    if durable:
        _sync_folder(folder)
    return written


def restore(
    file: File,
    target: Tree = None,
    *,
    path: str | Sequence[str] = (),
    copy: bool = False,
) -> Tree:
    """Reads back what `serialize` or `to_bytes` wrote, from a file that it maps.

    Arrays are views of the mapped file: what they hold is read from the disk when it is
    used, and memory that is short goes back to the file. They keep the file mapped for
    as long as one of them lives. Arrays that were written in pieces are put together in
    memory.

    The file must not be cut short or overwritten in place while views of it live: the
    system ends processes that then touch them. `serialize` never does that. Pass
    `copy=True` where others might, as on a network drive.

    Args:
      file: a path, or a file open for reading bytes, which is read from where it stands
        to its end. One that cannot be mapped, such as a pipe, is read into memory.
      target: an object with the structure of what is restored; its values are not used.
        None returns plain dicts and lists.
      path: reads only what lies under these names from the root, such as
        `"params/Dense_0"` or `("params", "Dense_0")`, skipping over the rest; `target`
        is then an object with the structure of that part.
      copy: returns arrays of their own, which can be written to, and leaves the file
        unmapped.

    Returns:
      A new object like `target`. Its arrays are NumPy arrays, which can be written to
      only with `copy`.

    Raises:
      SerializationError: the file is damaged, has nothing at `path`, or does not fit
        the target; `path` and `offset` tell where. The target has not been changed.
      OSError: the file cannot be read.

    >>> import pathlib, tempfile
    >>> import numpy as np
    >>> from batiste.serialization import restore, serialize
    >>> params = {"dense": {"kernel": np.ones((2, 3)), "bias": np.zeros(3)}}
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = pathlib.Path(folder, "params.msgpack")
    ...     size = serialize(params, file)
    ...     bias = restore(file, path="dense/bias", copy=True)
    ...     whole = restore(file, params, copy=True)
    >>> bias, sorted(whole["dense"])
    (array([0., 0., 0.]), ['bias', 'kernel'])
    """
    names = split_path(path)
    with mapped(file) as data:
        leaves: Leaves = Views(data, copy)
        state = decode(data, leaves, names)
        del leaves
    return from_state_dict(target, state, "/".join((".", *names)))


def split_path(path: str | Sequence[str]) -> tuple[str, ...]:
    """Splits a path into names from the root, given as such or joined with `/`.

    >>> split_path("params/Dense_0/")
    ('params', 'Dense_0')
    >>> split_path(["a/b", ""])
    ('a/b', '')
    """
    names = path.strip("/").split("/") if isinstance(path, str) else path
    return tuple(name for name in names if name or not isinstance(path, str))


@contextlib.contextmanager
def mapped(file: File) -> Iterator[memoryview]:
    """Gives the bytes of a file, mapped where that is possible.

    The mapping outlives the context for as long as arrays are views of it.

    Raises:
      OSError: the file cannot be read.

    >>> with mapped(io.BytesIO(b"abc")) as data:
    ...     print(bytes(data))
    b'abc'
    """
    if isinstance(file, (str, os.PathLike)):
        with open(file, "rb") as opened:
            yield _map(opened)
    else:
        yield _map(file)


def _map(file: BinaryIO | io.RawIOBase) -> memoryview:
    try:
        descriptor = file.fileno()
        start = file.tell()
        size = os.fstat(descriptor).st_size
    except (AttributeError, OSError):  # io.UnsupportedOperation is an OSError
        return frozen_view(file.read())
    if size <= start:
        return memoryview(file.read())  # empty, or a device that knows no size
    try:
        whole = mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ)
    except (OSError, ValueError):
        return memoryview(file.read())
    return memoryview(whole)[start:]


def _write(parts: Iterable[bytes | memoryview], file: BinaryIO | io.RawIOBase) -> int:
    gathered = bytearray()
    written = 0
    for part in parts:
        if len(part) < _GATHER:
            gathered += part
            if len(gathered) < _GATHER:
                continue
            part = b""
        if gathered:
            written += _write_all(gathered, file)
            gathered = bytearray()
        written += _write_all(part, file)
    return written + _write_all(gathered, file)


def _write_all(
    data: bytes | bytearray | memoryview, file: BinaryIO | io.RawIOBase
) -> int:
    """Writes all of it: a raw file may take only a part at a time."""
    rest = memoryview(data)
    while rest:
        count = file.write(rest)
        if count is None:
            raise BlockingIOError("The file is in non-blocking mode, and is full.")
        rest = rest[count:]
    return len(data)


def _sync_folder(folder: str) -> None:
    if os.name == "nt":  # which has no handle for folders, and renames durably
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
