"""Files inside of `.tar` and `.zip` archives, which are not unpacked for them.

A file that is stored as it is, as all of a `.tar` are, is mapped where it lies. One
that is compressed is unpacked into a temporary file, which has no name.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator
from typing import IO, Any, Final, Literal, TypeAlias, cast

from .errors import SerializationError, listed, nearest
from .magic import looks_like_zip
from .stream import mapped
from .unpacking import UNPACKING_ERRORS, check_member, check_xz

__all__ = [
    "ArchiveKind",
    "archive_kind",
    "members",
    "opened_member",
    "split_archive",
    "unpacked_folder",
]


ArchiveKind: TypeAlias = Literal["zip", "tar"]
"""The kinds of archives."""

# What a dict in msgpack begins with, which no archive does.
_DICTS: Final = frozenset((*range(0x80, 0x90), 0xDE, 0xDF))
# What compressed archives begin with; others begin with the name of a file.
_COMPRESSED: Final = {b"\x1f\x8b": "gz", b"BZ": "bz2", b"\xfd7": "xz"}


def archive_kind(path: str) -> ArchiveKind | None:
    """Tells which kind of archive a file is, by how it begins; None for other files.

    Raises:
      OSError: it cannot be read.

    >>> archive_kind(os.devnull) is None
    True
    """
    with open(path, "rb") as file:
        head = file.read(4)
    if looks_like_zip(head):
        return "zip"
    if not head or head[0] in _DICTS:
        return None
    try:
        with _tar(path):
            return "tar"
    except UNPACKING_ERRORS:
        return None
    except OSError as error:
        if error.errno is not None:
            raise
        return None  # of bz2 and gzip, for their data


def split_archive(name: str) -> tuple[str, str]:
    """Splits a name such as `folder/models.zip/bert/model.safetensors`.

    Returns:
      The file, and the name of what is in it; an empty one where the name is that of a
      file or folder as it is.

    Raises:
      OSError: there is nothing of that name, and no archive that it could be in.

    >>> split_archive(os.devnull)[1]
    ''
    """
    try:
        os.stat(name)
    except (FileNotFoundError, NotADirectoryError):
        outer = os.path.dirname(name)
        while outer and outer != os.path.dirname(outer):
            if os.path.isfile(outer) and archive_kind(outer):
                inner = os.path.relpath(name, outer).replace(os.sep, "/")
                return outer, inner
            outer = os.path.dirname(outer)
        raise
    return name, ""


def members(archive: str) -> dict[str, int]:
    """Lists the files in an archive, with their sizes.

    Raises:
      SerializationError: it is damaged, or has two files of one name.
      OSError: it cannot be read.
    """
    found: dict[str, int] = {}
    for name, size in _entries(archive):
        if name in found:
            raise SerializationError(
                f"The archive has two files of the name {name!r}, and it is not clear "
                "which is meant."
            )
        found[name] = size
    return found


@contextlib.contextmanager
def opened_member(archive: str, name: str) -> Iterator[memoryview]:
    """Gives the bytes of a file in an archive.

    Raises:
      SerializationError: the archive is damaged, or has no such file.
      OSError: it cannot be read.
    """
    known = members(archive)
    if name not in known:
        raise SerializationError(
            f"There is no file {name!r} in this archive{nearest(name, known)}. Here "
            f"are: {listed(known) or 'no files'}."
        )
    with contextlib.ExitStack() as stack, _explained(name):
        if archive_kind(archive) == "zip":
            zipped = stack.enter_context(zipfile.ZipFile(archive))
            info = zipped.getinfo(name)
            with open(archive, "rb") as whole:
                start = check_member(whole, info)
            if info.compress_type == zipfile.ZIP_STORED and not info.flag_bits & 1:
                data = stack.enter_context(mapped(archive))
                yield _cut(data, start, info.file_size, name)
                return
            file = zipped.open(info)
        else:
            tar = stack.enter_context(_tar(archive))
            entry = next(m for m in tar if m.isreg() and _plain(m.name) == name)
            if tar.mode == "r" and _is_plain_tar(archive) and not entry.issparse():
                data = stack.enter_context(mapped(archive))
                yield _cut(data, entry.offset_data, entry.size, name)
                return
            file = cast(IO[bytes], tar.extractfile(entry))
        # Compressed: the rest of this package wants to look here and there in it.
        with tempfile.TemporaryFile() as temporary, file:
            shutil.copyfileobj(file, temporary, 2**20)
            temporary.seek(0)
            yield stack.enter_context(mapped(temporary))


@contextlib.contextmanager
def unpacked_folder(archive: str, name: str) -> Iterator[str]:
    """Unpacks a folder of an archive, for as long as the context lasts.

    Args:
      archive: the archive.
      name: the folder in it; an empty one for all of it.

    Yields:
      The path of the copy.

    Raises:
      SerializationError: the archive is damaged, or has names that lead out of it.
      OSError: it cannot be read, or written to the temporary folder.
    """
    start = f"{name}/" if name else ""
    with tempfile.TemporaryDirectory() as folder:
        for member in members(archive):
            if not member.startswith(start):
                continue
            parts = member.removeprefix(start).split("/")
            if any(part in ("", ".", "..") or os.sep in part for part in parts):
                raise SerializationError(
                    f"The name {member!r} in this archive leads elsewhere, and nothing "
                    "is unpacked there: the archive is damaged, or made to do harm."
                )
            path = os.path.join(folder, *parts)
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with opened_member(archive, member) as data, open(path, "xb") as file:
                file.write(data)
        yield folder


def _entries(archive: str) -> Iterator[tuple[str, int]]:
    with _explained(archive):
        if archive_kind(archive) == "zip":
            with zipfile.ZipFile(archive) as zipped:
                for info in zipped.infolist():
                    if not info.filename.endswith("/"):
                        yield info.filename, info.file_size
        else:
            with _tar(archive) as tar:
                for entry in tar:
                    if entry.isreg():
                        yield _plain(entry.name), entry.size


def _plain(name: str) -> str:
    return name.removeprefix("./")


def _tar(path: str) -> tarfile.TarFile:
    """Opens a `.tar`, compressed as its beginning says and in no other way.

    All others are tried otherwise, and of these one takes as much memory as the first
    bytes of the file say.
    """
    with open(path, "rb") as file:
        compression = _COMPRESSED.get(file.read(2), "")
    if compression == "xz":
        check_xz(path)
    mode: Any = f"r:{compression}"
    return tarfile.open(path, mode)


def _is_plain_tar(archive: str) -> bool:
    try:
        with tarfile.open(archive, "r:"):
            return True
    except tarfile.TarError:
        return False


def _cut(data: memoryview, start: int, size: int, name: str) -> memoryview:
    if start + size > len(data):
        raise SerializationError(
            f"The archive ends inside the file {name!r} (bytes missing: "
            f"{start + size - len(data)}): it was cut short."
        )
    return data[start : start + size]


@contextlib.contextmanager
def _explained(name: str) -> Iterator[None]:
    try:
        yield
    except SerializationError:
        raise
    except (*UNPACKING_ERRORS, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # of the system; bz2 and gzip have them for their data, too
        raise SerializationError(
            f"The archive is damaged, or cannot be read here: {error} ({name!r})."
        ) from None
