"""A check of a whole file, kept beside its bytes, that finds what was changed in it.

The bytes of a file are flax's, and have no room for a check: a message that says
nothing about bits that flipped on a disk. The check is therefore an extended attribute
of the file, `user.batiste.check`. It goes where the file goes, when it is renamed,
replaced or deleted, by whomever, and shows up in no listing of a folder. What copies
files without their attributes (`cp` without `-a`, `rsync` without `-X`, `git`) loses
it, as do file systems that have none; such a file is read like one that has no check.

A check is the size and a sum of 64 bits. Bytes are taken as words of 64 bits in rows
of 8 KiB. The sum of each row goes into one CRC-32, the sums of the columns of all rows
into another: a change within one word is always found in its row, and words that change
places in their columns. That goes at the speed of memory, several times that of
`zlib.crc32`.
"""

from __future__ import annotations

import io
import os
import zlib
from typing import Any, BinaryIO, Final

import numpy as np

from .errors import SerializationError
from .pages import Pages

__all__ = [
    "NONE",
    "Check",
    "CheckedFile",
    "check_of",
    "check_of_file",
    "record",
    "recorded",
    "verify",
    "verify_file",
]

NONE: Final = "0"
"""What stands for no check, as an attribute that is there."""

_ATTRIBUTE: Final = "user.batiste.check"
_FORMAT: Final = "1"
_COLUMNS: Final = 1024
_ROW: Final = 8 * _COLUMNS  # bytes
_ROWS: Final = 128  # 1 MiB, which stays in the cache while it is summed twice


class Check:
    """The check of bytes that come one part after the other.

    Attributes:
      size: the number of bytes so far.

    >>> check = Check()
    >>> check.update(b"kernel")
    >>> check.update(b"bias")
    >>> check.text() == check_of(b"kernelbias")
    True
    """

    def __init__(self) -> None:
        self.size = 0
        self._rows = 0
        self._columns = np.zeros(_COLUMNS, np.uint64)
        self._rest = b""  # less than a row

    def update(self, part: bytes | bytearray | memoryview) -> None:
        """Takes in the next bytes.

        >>> check = Check()
        >>> check.update(b"abc")
        >>> check.size
        3
        """
        data = memoryview(part).cast("B")
        self.size += len(data)
        if self._rest:
            missing = _ROW - len(self._rest)
            self._rest += bytes(data[:missing])
            data = data[missing:]
            if len(self._rest) < _ROW:
                return
            self._add(memoryview(self._rest))
        whole = len(data) - len(data) % _ROW
        self._add(data[:whole])
        self._rest = bytes(data[whole:])

    def text(self) -> str:
        """Returns the check of the bytes so far, in the form that is recorded.

        >>> Check().text()
        '1 0 00000000d8f49994'
        """
        last = memoryview(self._rest.ljust(_ROW, b"\0")) if self._rest else b""
        rows, columns = _sums(last, self._rows, self._columns.copy())
        both = rows << 32 | zlib.crc32(columns.astype("<u8").tobytes())
        return f"{_FORMAT} {self.size} {both:016x}"

    def _add(self, whole_rows: memoryview) -> None:
        self._rows, self._columns = _sums(whole_rows, self._rows, self._columns)


def _sums(
    whole_rows: bytes | memoryview, crc: int, columns: np.ndarray
) -> tuple[int, np.ndarray]:
    table = np.frombuffer(whole_rows, "<u8").reshape(-1, _COLUMNS)
    for start in range(0, len(table), _ROWS):
        some = table[start : start + _ROWS]
        sums = some.sum(axis=1, dtype=np.uint64)
        crc = zlib.crc32(sums.astype("<u8").tobytes(), crc)
        columns += some.sum(axis=0, dtype=np.uint64)
    return crc, columns


def check_of(data: bytes | bytearray | memoryview | Pages) -> str:
    """Returns the check of some bytes, in the form that is recorded.

    >>> check_of(b"kernel") == check_of(b"kernek")
    False
    """
    check = Check()
    if isinstance(data, Pages):
        part = np.empty(_ROW * _ROWS, np.uint8)
        for start in range(0, len(data), len(part)):
            part = part[: len(data) - start]
            data.fill(part, start)
            check.update(part.data)
    else:
        check.update(data)
    return check.text()


def check_of_file(path: str | os.PathLike[str]) -> str:
    """Returns the check of the bytes of a file, which is read part by part.

    Raises:
      OSError: it cannot be read.

    >>> check_of_file(os.devnull) == check_of(b"")
    True
    """
    check = Check()
    part = memoryview(bytearray(_ROW * _ROWS))
    with open(path, "rb", buffering=0) as file:
        while count := file.readinto(part):
            check.update(part[:count])
    return check.text()


class CheckedFile(io.RawIOBase):
    """A file open for writing that notes the check of what is written to it.

    Args:
      file: the file; it stays open when this one is closed.

    >>> file = CheckedFile(io.BytesIO())
    >>> file.write(b"kernel")
    6
    >>> file.check.text() == check_of(b"kernel")
    True
    """

    def __init__(self, file: BinaryIO | io.RawIOBase) -> None:
        self.check = Check()
        self._file = file

    def writable(self) -> bool:
        """Returns True.

        >>> CheckedFile(io.BytesIO()).writable()
        True
        """
        return True

    def fileno(self) -> int:
        """Returns the descriptor of the file.

        >>> import os
        >>> with open(os.devnull, "wb") as file:
        ...     CheckedFile(file).fileno() == file.fileno()
        True
        """
        return self._file.fileno()

    def write(self, data: Any, /) -> int | None:
        """Writes bytes, or as many of them as the file takes at once.

        Returns:
          The number of bytes that were written; None if the file is full for now.

        >>> CheckedFile(io.BytesIO()).write(b"abc")
        3
        """
        written = self._file.write(data)
        if written:
            self.check.update(memoryview(data).cast("B")[:written])
        return written


def record(file: int | str | os.PathLike[str], check: str) -> bool:
    """Records the check of a file as an attribute of it.

    Args:
      file: a path or a descriptor.
      check: the check, as `Check.text` gives it.

    Returns:
      Whether the file system took it.

    >>> record("no such file", check_of(b""))
    False
    """
    try:
        os.setxattr(file, _ATTRIBUTE, check.encode())
    except (AttributeError, OSError):  # only Linux has os.setxattr
        return False
    return True


def recorded(file: int | str | os.PathLike[str]) -> str | None:
    """Returns the check that is recorded of a file, or None.

    >>> recorded("no such file") is None
    True
    """
    try:
        return os.getxattr(file, _ATTRIBUTE).decode("ascii", "replace")
    except (AttributeError, OSError):
        return None


def verify(data: bytes | memoryview | Pages, check: str) -> None:
    """Compares the bytes of a file with the check that was recorded of it.

    A check of a format that is not known, of a later version, is taken for none.

    Args:
      data: all bytes of the file.
      check: what `recorded` returned.

    Raises:
      SerializationError: they do not fit.

    >>> verify(b"kernel", check_of(b"kernel"))
    >>> verify(b"kernek", check_of(b"kernel"))
    Traceback (most recent call last):
    ...
    batiste.serialization.errors.SerializationError: The file is damaged: its bytes are
    not those that were written...
    """
    if _is_known(check):
        _compare(check_of(data), check)


def verify_file(path: str | os.PathLike[str], check: str) -> None:
    """Compares a file with the check that was recorded of it, as `verify` does.

    Args:
      path: the file.
      check: what `recorded` returned.

    Raises:
      SerializationError: they do not fit.
      OSError: the file cannot be read.

    >>> verify_file(os.devnull, check_of(b""))
    """
    if _is_known(check):
        _compare(check_of_file(path), check)


def _is_known(check: str) -> bool:
    return check.split(" ")[0] == _FORMAT


def _compare(found: str, check: str) -> None:
    if found == check:
        return
    size, wanted = (text.partition(" ")[2].partition(" ")[0] for text in (found, check))
    if size != wanted:
        what = f"the file has {size} bytes of data, and {wanted} were written"
    else:
        what = "its bytes are not those that were written"
    raise SerializationError(
        f"The file is damaged: {what} (the check recorded with it is {check!r}, that "
        f"of its bytes {found!r}). Use another copy of it. To read it as it is, turn "
        f"the verification off."
    )
