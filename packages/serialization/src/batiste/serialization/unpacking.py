"""What may be asked for to unpack a file, before it is unpacked.

Lists in archives say how much there is of a member, and compressed data how much memory
is needed for them; libraries believe both. Here they are compared with the file, and
with what files are written with.
"""

from __future__ import annotations

import lzma
import os
import struct
import tarfile
import zipfile
import zlib
from typing import IO, Final

__all__ = ["LARGEST_DICTIONARY", "UNPACKING_ERRORS", "check_member", "check_xz"]

UNPACKING_ERRORS: Final = (
    EOFError,
    ValueError,
    NotImplementedError,  # a way of compression
    RuntimeError,  # encrypted
    lzma.LZMAError,
    struct.error,  # of what is beside a name
    tarfile.TarError,
    zipfile.BadZipFile,
    zlib.error,
)
"""What the standard library raises of archives that are damaged."""

LARGEST_DICTIONARY: Final = 2**26
"""Bytes of memory for xz, as its highest preset (9) has them."""

_LOCAL: Final = 30  # bytes of what is before a file in a zip, without its name


def check_member(file: IO[bytes], info: zipfile.ZipInfo) -> int:
    """Checks that a file in a zip archive has what the archive's list says.

    Args:
      file: the archive, open for reading, which can seek.
      info: the file in it.

    Returns:
      Where its bytes begin, compressed or not.

    Raises:
      BadZipFile: it would not fit into the archive, or would take too much memory.

    >>> import io
    >>> archive = io.BytesIO()
    >>> with zipfile.ZipFile(archive, "w") as opened:
    ...     opened.writestr("a", b"data")
    >>> check_member(archive, opened.getinfo("a"))
    31
    """
    length = file.seek(0, os.SEEK_END)
    file.seek(min(info.header_offset, length))
    head = file.read(_LOCAL)
    if len(head) < _LOCAL or not head.startswith(b"PK\x03\x04"):
        raise zipfile.BadZipFile("no file begins where one should")
    lengths = (int.from_bytes(head[at : at + 2], "little") for at in (26, 28))
    start = info.header_offset + _LOCAL + sum(lengths)
    if start + info.compress_size > length:
        raise zipfile.BadZipFile(
            f"it would have {info.compress_size} bytes from {start} on, and the file "
            f"has {length}"
        )
    if info.compress_type == zipfile.ZIP_LZMA:
        file.seek(start)
        size = int.from_bytes(file.read(9)[5:], "little")
        if size > LARGEST_DICTIONARY:
            raise zipfile.BadZipFile(f"to unpack it would take {size} bytes of memory")
    return start


def check_xz(path: str) -> None:
    """Checks how much memory it takes to unpack a file of xz.

    Raises:
      LZMAError: it is too much, or the file is damaged.
      OSError: it cannot be read.

    >>> import tempfile
    >>> with tempfile.NamedTemporaryFile() as file:
    ...     _ = file.write(lzma.compress(b"data", preset=9))
    ...     file.flush()
    ...     check_xz(file.name)
    """
    limit = 2 * LARGEST_DICTIONARY
    with open(path, "rb") as file:
        unpack = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=limit)
        unpack.decompress(file.read(2**12), max_length=1)
