"""Objects to files and back, without a copy of them in memory."""

from __future__ import annotations

import contextlib
import gc
import io
import mmap
import os
import stat
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import BinaryIO, Final, TypeAlias, TypeVar

import numpy as np

from .decode import Leaves, Views
from .errors import SerializationError
from .formats import Format, format_for, parts_of, tree_of
from .integrity import CheckedFile, record, recorded
from .integrity import verify as verify_bytes
from .msgpack_codec import frozen_view
from .pages import Pages, lives_on, remember
from .state_dict import from_state_dict, to_state_dict
from .types import Tree

__all__ = [
    "File",
    "held_parts",
    "mapped",
    "open_beside",
    "replace_file",
    "restore",
    "safetensors_metadata",
    "serialize",
    "split_path",
    "temporary_name",
    "write_parts",
]


File: TypeAlias = str | os.PathLike[str] | BinaryIO | io.RawIOBase
"""A path, or a file that is open for bytes."""

_Result = TypeVar("_Result")

# Parts smaller than this are gathered, up to this many bytes, before they are written.
_GATHER: Final = 2**18
_NAME_MAX: Final = 255  # bytes, on nearly all file systems


def serialize(
    target: Tree,
    file: File,
    *,
    max_chunk_size: int | None = None,
    durable: bool = False,
    format: Format | None = None,
    separator: str | None = ".",
    metadata: Mapping[str, str] | None = None,
) -> int:
    """Writes the state of an object to a file, without building the message in memory.

    The file holds the bytes that `to_bytes` returns. Elements of contiguous arrays go
    from their place to the file; what is held beside the tree stays below 64 MiB.

    A safetensors file has arrays by name, and no tree: the name of each is that of its
    branches, joined with a separator. What is not an array, but a number, a string or
    None, goes into the metadata of the file, where `restore` finds it. Other programs
    read the same arrays; they, and the file, are those that the safetensors library
    makes.

    A path is written under another name in the same folder, and renamed at the end:
    readers find the old file or the new one, whole, and those who have mapped the old
    one keep it. If writing fails, the old file stays as it was and nothing is left
    behind. The new file has the permissions of the old one. A check of its bytes is
    recorded with it, as an attribute of the file, where the file system has such;
    `restore` compares with it on request.

    Args:
      target: an object that `to_state_dict` takes.
      file: a path, or a file open for writing bytes, which is written from where it
        stands and left open.
      max_chunk_size: bytes; overrides `MAX_CHUNK_SIZE`, above which arrays are written
        in pieces.
      durable: waits until the file, and for a path its folder, are on the disk, so that
        a power failure cannot take them back.
      format: `"msgpack"` or `"safetensors"`; None takes safetensors for a path that
        ends in `.safetensors`.
      separator: for safetensors, what joins the names of branches, none of which may
        hold it; None for a dict without branches, such as a state dict of PyTorch.
      metadata: for safetensors, what is to be said of the file, such as
        `{"format": "flax"}`.

    Returns:
      The number of bytes written.

    Raises:
      SerializationError: a value has no place in the format; its `path` names it. Or an
        open file would be overwritten of which `restore` returned views that live:
        pass its path.
      TypeError: `file` is neither a path nor an open file.
      ValueError: there is no such format or separator.
      OSError: the file cannot be written, as when the disk is full.

    >>> import io
    >>> from batiste.serialization import serialize, to_bytes
    >>> file = io.BytesIO()
    >>> serialize({"step": 7}, file)
    7
    >>> file.getvalue() == to_bytes({"step": 7})
    True
    """
    _check_file(file, "write")
    parts = parts_of(
        to_state_dict(target),
        format_for(file) if format is None else format,
        max_chunk_size=max_chunk_size,
        separator=separator,
        metadata=metadata,
    )
    if not isinstance(file, (str, os.PathLike)):
        _check_not_mapped(file)
        written = write_parts(parts, file)
        if durable:
            file.flush()
            os.fsync(file.fileno())
        return written
    path = os.path.realpath(file)
    if os.path.exists(path) and not os.path.isfile(path):
        with open(path, "wb", buffering=0) as device:  # as /dev/stdout
            return write_parts(parts, device)
    return replace_file(path, lambda file: write_parts(parts, file), durable=durable)


def restore(
    file: File,
    target: Tree = None,
    *,
    path: str | Sequence[str] = (),
    copy: bool = False,
    verify: bool = False,
    format: Format | None = None,
    separator: str | None = ".",
) -> Tree:
    """Reads back what `serialize` or `to_bytes` wrote, from a file that it maps.

    Safetensors files are told from msgpack by how they begin, and come from any
    program; `batiste.serialization.safetensors_metadata` reads what is said of them.

    The file must not be cut short or overwritten in place while arrays from it live:
    the system ends processes that then touch them (SIGBUS), and no error can be raised.
    `serialize` never does that to a path. Pass `copy=True` where others might, as on a
    network drive: the file is then read instead of mapped, and what happens to it is an
    error at worst.

    Arrays are views of the mapped file: what they hold is read from the disk when it is
    used, and memory that is short goes back to the file. They keep the file mapped for
    as long as one of them lives. Arrays that were written in pieces are put together in
    memory.

    Args:
      file: a path, or a file open for reading bytes, which is read from where it stands
        to its end. One that cannot be mapped, such as a pipe, is read into memory.
      target: an object with the structure of what is restored; its values are not used.
        None returns plain dicts and lists.
      path: reads only what lies under these names from the root, such as
        `"params/Dense_0"` or `("params", "Dense_0")`, skipping over the rest; `target`
        is then an object with the structure of that part.
      copy: returns arrays of their own, which can be written to, and never maps the
        file.
      verify: first reads the whole file, and compares it with the check that
        `serialize` recorded with it, which finds every flipped bit.
      format: `"msgpack"` or `"safetensors"`; None looks how the file begins.
      separator: for safetensors, what the names of branches were joined with; None
        gives one dict, with the names of the file.

    Returns:
      A new object like `target`. Its arrays are NumPy arrays, which can be written to
      only with `copy`.

    Raises:
      SerializationError: the file is damaged, has nothing at `path`, or does not fit
        the target; `path` and `offset` tell where. The target has not been changed.
        Or it is to be verified, and no check is recorded with it.
      TypeError: `file` is neither a path nor an open file.
      ValueError: there is no such format or separator.
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
    _check_file(file, "read")
    with (_paged if copy else mapped)(file) as data:
        if verify:
            _verify(file, data)
        leaves: Leaves = Views(data, copy)
        state = tree_of(data, leaves, names, format=format, separator=separator)
        del leaves
    return from_state_dict(target, state, "/".join((".", *names)))


def replace_file(
    path: str | os.PathLike[str],
    write: Callable[[CheckedFile], _Result],
    *,
    durable: bool = False,
    check: Callable[[str], None] | None = None,
) -> _Result:
    """Writes a file under another name, and renames it when it is complete.

    Args:
      path: what it is to be called. A link stays a link.
      write: writes to the file that it is given.
      durable: waits until the file and its folder are on the disk.
      check: looks at the file by its name, before it is renamed; may raise.

    Returns:
      What `write` returned.

    Raises:
      OSError: the file cannot be written.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "a")
    ...     replace_file(path, lambda file: file.write(b"abc")), os.listdir(folder)
    (3, ['a'])
    """
    path = os.path.realpath(path)
    folder, name = os.path.split(path)
    temporary = os.path.join(folder, temporary_name(name, "tmp"))
    try:
        with open_beside(temporary, path) as raw:
            checked = CheckedFile(raw)
            result = write(checked)
            record(raw.fileno(), checked.check.text())
            if durable:
                os.fsync(raw.fileno())
        if check is not None:
            check(temporary)
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        raise
    if durable:
        _sync_folder(folder)
    return result


def safetensors_metadata(file: File) -> dict[str, str]:
    """Reads what is said of a safetensors file, without its arrays.

    Files of PyTorch have `{"format": "pt"}` by custom.

    Args:
      file: a path, or a file open for reading bytes.

    Returns:
      Strings by strings; without what `serialize` put there for itself.

    Raises:
      SerializationError: the file breaks a rule of the format.
      TypeError: `file` is neither a path nor an open file.
      OSError: the file cannot be read.

    >>> import io
    >>> from batiste.serialization import safetensors_metadata, to_bytes
    >>> data = to_bytes({}, format="safetensors", metadata={"format": "flax"})
    >>> safetensors_metadata(io.BytesIO(data))
    {'format': 'flax'}
    """
    from .safetensors_codec import metadata_of

    _check_file(file, "read")
    with mapped(file) as data:
        return metadata_of(data)


def held_parts(target: Tree) -> list[bytes | memoryview]:
    r"""Gives what `to_bytes` returns in parts, whatever becomes of the object later.

    For writing in the background. Elements of JAX arrays that are in the memory of a
    CPU are not copied: nobody can change them, and JAX gives no memory away that is
    held. All others are: those of NumPy can be changed at any time, and those of
    accelerators are elsewhere.

    Args:
      target: an object that `to_state_dict` takes.

    Returns:
      The parts, for `write_parts`.

    Raises:
      As `to_bytes`.

    >>> b"".join(held_parts({"step": 7}))
    b'\x81\xa4step\x07'
    """
    return list(parts_of(_copied(to_state_dict(target)), "msgpack"))


def _copied(state: Tree) -> Tree:
    """A state dict without memory that others can change."""
    if isinstance(state, dict):
        copied = {}
        for key, value in state.items():
            copied[key] = _copied(value)
        return copied
    if isinstance(state, np.ndarray):
        return state.copy()
    return bytes(state) if isinstance(state, (bytearray, memoryview)) else state


def write_parts(
    parts: Iterable[bytes | memoryview], file: BinaryIO | io.RawIOBase
) -> int:
    """Writes parts to an open file, small ones together.

    Returns:
      The number of bytes.

    Raises:
      OSError: the file cannot be written.

    >>> write_parts([b"ab", b"c"], io.BytesIO())
    3
    """
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


def split_path(path: str | Sequence[str]) -> tuple[str, ...]:
    """Splits a path into names from the root, given as such or joined with `/`.

    >>> split_path("params/Dense_0/")
    ('params', 'Dense_0')
    >>> split_path(["a/b", ""])
    ('a/b', '')
    """
    names = path.strip("/").split("/") if isinstance(path, str) else path
    return tuple(name for name in names if name or not isinstance(path, str))


def temporary_name(name: str, suffix: str) -> str:
    """Makes a name for a file that is to be renamed to `name` when it is complete.

    It says which one it is for, unless that would be longer than file systems allow.

    >>> temporary_name("state", "tmp").split(".")[1::2]
    ['state', 'tmp']
    >>> len(temporary_name("long" * 60, "tmp"))
    37
    """
    unique = uuid.uuid4().hex
    named = f".{name}.{unique}.{suffix}"
    return named if len(os.fsencode(named)) <= _NAME_MAX else f".{unique}.{suffix}"


@contextlib.contextmanager
def open_beside(temporary: str, path: str) -> Iterator[io.FileIO]:
    """Opens a new file that is going to replace another, with the permissions of that.

    Args:
      temporary: the new file.
      path: the other one, which need not be there.

    Raises:
      OSError: the file cannot be made.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "a")
    ...     with open_beside(path, path) as file:
    ...         file.write(b"abc")
    3
    """
    try:
        old = os.stat(path) if os.path.isfile(path) else None
    except FileNotFoundError:
        old = None
    # Nobody may read what he could not read before, not even meanwhile.
    first = 0o666 if old is None else 0o600
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
    descriptor = os.open(temporary, flags | getattr(os, "O_CLOEXEC", 0), first)
    with open(descriptor, "wb", buffering=0) as raw:
        yield raw
        if old is not None:
            with contextlib.suppress(OSError, AttributeError):  # for root only
                os.chown(temporary, old.st_uid, old.st_gid)
            os.chmod(temporary, stat.S_IMODE(old.st_mode))


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


def _check_file(file: object, needed: str) -> None:
    if not isinstance(file, (str, os.PathLike)) and not hasattr(file, needed):
        raise TypeError(
            f"file is {file!r:.100}; it has to be a path, or a file that is open for "
            f"bytes and has the method {needed}."
        )


def _verify(file: File, data: memoryview | Pages) -> None:
    check = None
    with contextlib.suppress(AttributeError, OSError):
        if isinstance(file, (str, os.PathLike)):
            check = recorded(file)
        elif file.tell() == 0 or len(data) == os.fstat(file.fileno()).st_size:
            check = recorded(file.fileno())
    if check is None:
        raise SerializationError(
            "The file cannot be verified: no check is recorded with it. It was written "
            "by another program, or copied without its attributes (as cp does without "
            "-a), or it is not read from its start. Restore it with verify=False."
        )
    verify_bytes(data, check)


@contextlib.contextmanager
def _paged(file: File) -> Iterator[memoryview | Pages]:
    """The bytes of a file without mapping it: what cannot be paged is in memory."""
    if isinstance(file, (str, os.PathLike)):
        with open(file, "rb", buffering=0) as opened:
            yield Pages.of(opened) or frozen_view(opened.read())
    else:
        yield Pages.of(file) or frozen_view(file.read())


def _check_not_mapped(file: BinaryIO | io.RawIOBase) -> None:
    """Refuses to write where views of the file are."""
    if not lives_on(file):
        return
    gc.collect()  # those that nobody has any more may be in cycles
    if lives_on(file):
        raise SerializationError(
            "The open file would be overwritten, and arrays that restore returned as "
            "views of it still live: they would change, or end the process. Pass its "
            "path, which writes another file and renames it, or restore with copy=True."
        )


def _map(file: BinaryIO | io.RawIOBase) -> memoryview:
    try:
        descriptor = file.fileno()
        start = file.tell()
        status = os.fstat(descriptor)
    except (AttributeError, OSError):  # io.UnsupportedOperation is an OSError
        return frozen_view(file.read())
    if status.st_size <= start:
        return memoryview(file.read())  # empty, or a device that knows no size
    try:
        whole = mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ)
        remember(whole, status)
    except (OSError, ValueError):
        return memoryview(file.read())
    return memoryview(whole)[start:]


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
