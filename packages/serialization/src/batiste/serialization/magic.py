"""How files begin, by which their formats are told apart."""

from __future__ import annotations

from typing import Final

from .pages import Pages

__all__ = [
    "MAX_HEADER",
    "looks_like_safetensors",
    "looks_like_zip",
]


MAX_HEADER: Final = 100_000_000
"""Bytes of a safetensors header, as the library that defines the format has it."""


def looks_like_safetensors(data: memoryview | Pages) -> bool:
    r"""Tells whether bytes begin as a safetensors file does, damaged or not.

    >>> looks_like_safetensors(memoryview(b"\2\0\0\0\0\0\0\0{}"))
    True
    >>> looks_like_safetensors(memoryview(b"\x81\xa4step\x07"))
    False
    """
    head = bytes(data[:10])
    return (
        len(head) == 10
        and int.from_bytes(head[:8], "little") <= MAX_HEADER
        and head[8:9] == b"{"
        and head[9] in b'"} \t\r\n'
    )


def looks_like_zip(data: bytes | memoryview | Pages) -> bool:
    r"""Tells whether bytes begin as a zip archive does, one without files included.

    >>> looks_like_zip(b"PK\x03\x04")
    True
    """
    return bytes(data[:4]) in (b"PK\x03\x04", b"PK\x05\x06")
