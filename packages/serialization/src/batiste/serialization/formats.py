"""Which format a file has, and what reads and writes it."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Literal, TypeAlias, get_args

from .decode import Leaves, decode
from .encode import encode
from .errors import SerializationError
from .magic import looks_like_safetensors, looks_like_zip
from .pages import Pages
from .types import Tree

__all__ = [
    "Format",
    "check_format",
    "format_for",
    "parts_of",
    "tree_of",
]


Format: TypeAlias = Literal["msgpack", "safetensors"]
"""What files are written in."""


def check_format(format: str | None, separator: str | None = None) -> None:
    """Refuses what is no format, or no separator.

    Raises:
      ValueError: they are neither one of the formats and a string, nor None.

    >>> check_format("msgpack", ".")
    """
    if separator is not None and (not isinstance(separator, str) or not separator):
        raise ValueError(
            f"separator is {separator!r:.100}; it has to be a string that is not "
            "empty, or None for a dict without branches."
        )
    if format is not None and format not in get_args(Format):
        raise ValueError(
            f"format is {format!r:.100}; it has to be 'msgpack' or 'safetensors'."
        )


def format_for(file: object) -> Format:
    """Finds the format that a new file is to have: what its name ends in says it.

    >>> format_for("model.safetensors"), format_for("model"), format_for(None)
    ('safetensors', 'msgpack', 'msgpack')
    """
    if isinstance(file, (str, os.PathLike)):
        name = os.fsdecode(file)
        if name.lower().endswith(".safetensors"):
            return "safetensors"
    return "msgpack"


def parts_of(
    tree: Tree,
    format: Format,
    *,
    max_chunk_size: int | None = None,
    separator: str | None = ".",
    metadata: Mapping[str, str] | None = None,
) -> Iterator[bytes | memoryview]:
    r"""Writes a tree in a format, part by part.

    Args:
      tree: a state dict.
      format: the format.
      max_chunk_size: bytes; of msgpack.
      separator: joins names; of safetensors.
      metadata: what is said of the file; of safetensors.

    Returns:
      The parts.

    Raises:
      SerializationError: as soon as parts are asked for, the tree has no place in the
        format; or metadata is for a file that has none.
      ValueError: there is no such format, or `max_chunk_size` is below 1.

    >>> b"".join(parts_of({"step": 7}, "msgpack"))
    b'\x81\xa4step\x07'
    """
    check_format(format, separator)
    if format == "safetensors":
        from .safetensors_codec import encode_safetensors

        return encode_safetensors(tree, separator=separator, metadata=metadata)
    if metadata:
        raise SerializationError(
            "A msgpack file has no metadata: put it into the tree, or pass "
            "format='safetensors'."
        )
    return encode(tree, max_chunk_size=max_chunk_size)


def tree_of(
    data: memoryview | Pages,
    leaves: Leaves,
    path: Sequence[str] = (),
    *,
    format: Format | None = None,
    separator: str | None = ".",
) -> Tree:
    r"""Reads the tree in a file, or the part of it at a path.

    Args:
      data: the whole file.
      leaves: makes arrays.
      path: keys from the root.
      format: the format; None looks how the file begins.
      separator: what names were joined with; of safetensors.

    Returns:
      Dicts and lists with leaves.

    Raises:
      SerializationError: the bytes are damaged, or of another format, or the path is
        not in them.
      ValueError: there is no such format.

    >>> from batiste.serialization.decode import Views
    >>> data = memoryview(b"\x81\xa4step\x07")
    >>> tree_of(data, Views(data))
    {'step': 7}
    """
    check_format(format, separator)
    if format is None and looks_like_safetensors(data):
        format = "safetensors"
    if format == "safetensors":
        from .safetensors_codec import decode_safetensors

        return decode_safetensors(data, leaves, path, separator=separator)
    if format is None and looks_like_zip(data):
        raise SerializationError(
            "This is a zip archive, as .npz files are, and what is read here is "
            "msgpack or safetensors. Convert it with "
            "`python -m batiste.serialization convert`, or read it with numpy.load.",
            None,
            0,
        )
    return decode(data, leaves, path)
