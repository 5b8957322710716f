"""The items that msgpack bytes begin with: what they are, and how long."""

from __future__ import annotations

import struct
from typing import Any, Final, TypeAlias

from .errors import SerializationError
from .pages import Pages

__all__ = [
    "BINARY",
    "EXT",
    "LIST",
    "MAP",
    "SCALAR",
    "TEXT",
    "Token",
    "read_token",
]


# What a token is. For SCALAR its value follows, for the containers their number of
# items, for the rest their length in bytes.
SCALAR: Final = 0
MAP: Final = 1
LIST: Final = 2
TEXT: Final = 3
BINARY: Final = 4
EXT: Final = 5

_FIXED: Final[dict[int, struct.Struct]] = {
    byte: struct.Struct(code)
    for byte, code in {
        0xCA: ">f",
        0xCB: ">d",
        0xCC: ">B",
        0xCD: ">H",
        0xCE: ">I",
        0xCF: ">Q",
        0xD0: ">b",
        0xD1: ">h",
        0xD2: ">i",
        0xD3: ">q",
    }.items()
}
# First byte: kind, and how many bytes the length has.
_SIZED: Final = {
    0xC4: (BINARY, 1),
    0xC5: (BINARY, 2),
    0xC6: (BINARY, 4),
    0xC7: (EXT, 1),
    0xC8: (EXT, 2),
    0xC9: (EXT, 4),
    0xD9: (TEXT, 1),
    0xDA: (TEXT, 2),
    0xDB: (TEXT, 4),
    0xDC: (LIST, 2),
    0xDD: (LIST, 4),
    0xDE: (MAP, 2),
    0xDF: (MAP, 4),
}
_CONSTANTS: Final = {0xC0: None, 0xC2: False, 0xC3: True}


Token: TypeAlias = tuple[int, Any, int]
"""A kind; a value, a count or a length; and the position behind."""


def read_token(data: memoryview | Pages, start: int, end: int) -> Token:
    r"""Reads the head of an item.

    The length of text, binary and extension data has been compared with `end`. A count
    is at most the number of bytes that are left. The code of an extension is the byte
    before its data.

    Args:
      data: the message.
      start: where the item begins.
      end: where the message, or what the item is in, ends.

    Returns:
      A kind; a value, a count or a length; and the position behind.

    Raises:
      SerializationError: no item begins here, or its data goes beyond `end`.

    >>> read_token(memoryview(b"\xa3abc"), 0, 4) == (TEXT, 3, 1)
    True
    """
    if start >= end:
        raise _cut_short(1, start)
    byte = data[start]
    position = start + 1
    if byte < 0x80:
        return SCALAR, byte, position
    if byte >= 0xE0:
        return SCALAR, byte - 256, position
    if byte < 0x90:
        kind, length = MAP, byte & 0x0F
    elif byte < 0xA0:
        kind, length = LIST, byte & 0x0F
    elif byte < 0xC0:
        kind, length = TEXT, byte & 0x1F
    elif byte in _CONSTANTS:
        return SCALAR, _CONSTANTS[byte], position
    elif (fixed := _FIXED.get(byte)) is not None:
        if position + fixed.size > end:
            missing = position + fixed.size - end
            raise _cut_short(missing, start)
        behind = position + fixed.size
        return SCALAR, fixed.unpack(data[position:behind])[0], behind
    elif 0xD4 <= byte <= 0xD8:
        kind, length = EXT, 1 << (byte - 0xD4)
    elif (sized := _SIZED.get(byte)) is not None:
        kind, width = sized
        if position + width > end:
            raise _cut_short(position + width - end, start)
        length = int.from_bytes(data[position : position + width], "big")
        position += width
    else:
        raise SerializationError(
            "The byte 0xc1 begins nothing in msgpack: the data is damaged.", None, start
        )
    if kind == EXT:
        position += 1
    needed = length * 2 if kind == MAP else length
    if position + needed > end:
        raise _cut_short(position + needed - end, start)
    return kind, length, position


def _cut_short(missing: int, start: int) -> SerializationError:
    return SerializationError(
        f"The data ends inside this item (bytes missing: at least {missing}): it was "
        "cut short, or is still being written.",
        None,
        start,
    )
