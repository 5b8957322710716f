"""Tests of batiste.serialization.tokens."""

import struct

import pytest

from batiste.serialization import SerializationError
from batiste.serialization.tokens import (
    BINARY,
    EXT,
    LIST,
    MAP,
    SCALAR,
    TEXT,
    read_token,
)


@pytest.mark.parametrize(
    ("data", "token"),
    [
        (b"\x07", (SCALAR, 7, 1)),
        (b"\xff", (SCALAR, -1, 1)),
        (b"\xc0", (SCALAR, None, 1)),
        (b"\xc3", (SCALAR, True, 1)),
        (b"\xd1\xff\x00", (SCALAR, -256, 3)),
        (b"\xcb" + struct.pack(">d", 1.5), (SCALAR, 1.5, 9)),
        (b"\x81\x01\x02", (MAP, 1, 1)),
        (b"\xde\x00\x01\x01\x02", (MAP, 1, 3)),
        (b"\x91\x01", (LIST, 1, 1)),
        (b"\xdc\x00\x01\x01", (LIST, 1, 3)),
        (b"\xa2ab", (TEXT, 2, 1)),
        (b"\xd9\x02ab", (TEXT, 2, 2)),
        (b"\xc4\x02ab", (BINARY, 2, 2)),
        (b"\xd5\x01ab", (EXT, 2, 2)),
        (b"\xc7\x03\x01abc", (EXT, 3, 3)),
    ],
)
def test_items_begin_with_what_they_are(data, token):
    assert read_token(memoryview(data), 0, len(data)) == token


@pytest.mark.parametrize(
    ("data", "missing"),
    [
        (b"", 1),
        (b"\xcb\x00", 7),
        (b"\xda\x00", 1),
        (b"\xa3ab", 1),
        (b"\x82\x00", 3),
        (b"\xc7\x02\x01", 2),
    ],
)
def test_items_that_go_beyond_the_end(data, missing):
    padded = b"\x00" + data
    with pytest.raises(SerializationError, match=f"at least {missing}\\)") as caught:
        read_token(memoryview(padded), 1, len(padded))
    assert caught.value.offset == 1


def test_a_byte_that_begins_nothing():
    with pytest.raises(SerializationError, match="The byte 0xc1 begins nothing"):
        read_token(memoryview(b"\xc1"), 0, 1)
