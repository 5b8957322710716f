"""A file that is read where it is asked for, without being mapped."""

from __future__ import annotations

import io
import itertools
import mmap
import os
import stat
import weakref
from collections.abc import Iterator
from typing import BinaryIO, Final, overload

import numpy as np

from .errors import SerializationError

__all__ = [
    "Pages",
    "lives_on",
    "remember",
]


_PAGE: Final = 2**16


class Pages:
    """The bytes of a regular file from a position on, as a sequence.

    A view of a mapped file ends the process if somebody cuts the file short. Here that
    is an error.

    Args:
      descriptor: of the file, open for reading; it has to stay open.
      start: where the sequence begins.

    >>> import tempfile
    >>> with tempfile.TemporaryFile() as file:
    ...     written = file.write(b"headbody")
    ...     file.flush()
    ...     pages = Pages(file.fileno(), 4)
    ...     len(pages), pages[0], pages[1:3]
    (4, 98, b'od')
    """

    def __init__(self, descriptor: int, start: int = 0) -> None:
        self._descriptor = descriptor
        self._start = start
        self._size = os.fstat(descriptor).st_size - start
        self._page = b""
        self._begin = 0

    @staticmethod
    def of(file: BinaryIO | io.RawIOBase) -> Pages | None:
        """Gives the pages of an open file from where it stands; None for a pipe."""
        try:
            descriptor, start = file.fileno(), file.tell()
            status = os.fstat(descriptor)
        except (AttributeError, OSError):  # io.UnsupportedOperation is an OSError
            return None
        if not stat.S_ISREG(status.st_mode) or not hasattr(os, "pread"):
            return None
        # Files of the system have contents, but no size.
        return Pages(descriptor, start) if status.st_size > start else None

    def __len__(self) -> int:
        return self._size

    @overload
    def __getitem__(self, place: int) -> int: ...
    @overload
    def __getitem__(self, place: slice) -> bytes: ...
    def __getitem__(self, place: int | slice) -> int | bytes:
        if isinstance(place, int):
            at = place - self._begin
            if not 0 <= at < len(self._page):
                self._turn(place, 1)
                at = 0
            return self._page[at]
        start, stop, _ = place.indices(self._size)
        if stop - start > _PAGE:
            whole = np.empty(stop - start, np.uint8)
            self.fill(whole, start)
            return whole.tobytes()
        at = start - self._begin
        if not 0 <= at <= len(self._page) - (stop - start):
            self._turn(start, stop - start)
            at = 0
        return self._page[at : at + max(0, stop - start)]

    def fill(self, array: np.ndarray, start: int) -> None:
        """Reads the bytes of a contiguous array from a position on.

        Raises:
          SerializationError: the file has become shorter.
          OSError: it cannot be read.
        """
        if not array.nbytes:
            return
        rest = array.reshape(-1).view(np.uint8).data
        at = self._start + start
        while rest:
            count = os.preadv(self._descriptor, [rest[: 2**30]], at)
            if not count:
                raise self._shorter()
            rest, at = rest[count:], at + count

    def _turn(self, start: int, size: int) -> None:
        self._page = os.pread(self._descriptor, _PAGE, self._start + start)
        self._begin = start
        if len(self._page) < size:
            raise self._shorter()

    def _shorter(self) -> SerializationError:
        return SerializationError(
            f"The file had {self._start + self._size} bytes and was cut short while it "
            "was read. Write another file and rename it, as serialize does."
        )


# Which mappings live, by the file that they are of.
_MAPPINGS: weakref.WeakValueDictionary[tuple[int, int, int], mmap.mmap] = (
    weakref.WeakValueDictionary()
)
_NUMBERS: Iterator[int] = itertools.count()


def remember(mapping: mmap.mmap, status: os.stat_result) -> None:
    """Notes that a file is mapped, for as long as the mapping lives.

    >>> import tempfile
    >>> with tempfile.TemporaryFile() as file:
    ...     written = file.write(b"ab")
    ...     file.flush()
    ...     mapping = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    ...     remember(mapping, os.fstat(file.fileno()))
    ...     at_end = lives_on(file)
    ...     position = file.seek(0)
    ...     at_end, lives_on(file)
    (False, True)
    """
    _MAPPINGS[status.st_dev, status.st_ino, next(_NUMBERS)] = mapping


def lives_on(file: BinaryIO | io.RawIOBase) -> bool:
    """Tells whether writing to an open file would change a mapping that lives.

    Args:
      file: open for writing, which begins where it stands.

    Returns:
      Whether it is mapped there; False for what has no place in a folder.
    """
    if not _MAPPINGS:
        return False
    try:
        status, position = os.fstat(file.fileno()), file.tell()
    except (AttributeError, OSError):
        return False
    return any(
        key[:2] == (status.st_dev, status.st_ino) and position < len(mapping)
        for key, mapping in list(_MAPPINGS.items())
    )
