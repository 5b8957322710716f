"""Trees to safetensors files, and back.

A file has tensors by name and nothing else. The name of an array in a tree is that of
its branches, joined with a separator. What is no array, as the number of a step, goes
into the metadata, as JSON, under a name of ours.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from .decode import Leaves
from .elements import elements_of
from .errors import SerializationError, join_path, listed
from .flat import (
    flattened,
    from_json,
    names_under,
    nested,
    plain_value,
    to_json,
)
from .pages import Pages
from .safetensors_header import PACKED, Header, build_header, read_header
from .types import Leaf, Tree

__all__ = [
    "VALUES",
    "decode_safetensors",
    "encode_safetensors",
    "metadata_of",
]


VALUES: Final = "batiste.values"
"""The key of the metadata with what is no tensor."""

_HEADER: Final = 8


def encode_safetensors(
    tree: Tree,
    *,
    separator: str | None = ".",
    metadata: Mapping[str, str] | None = None,
) -> Iterator[bytes | memoryview]:
    """Writes the safetensors file of a tree, part by part.

    Args:
      tree: dicts, and lists, whose leaves are arrays, `Elements` or Python's numbers,
        strings and None. It is not changed.
      separator: joins the names of branches; None where the tree is one dict of arrays,
        whose names are taken as they are.
      metadata: what is to be said of the file, strings by strings.

    Yields:
      The parts. A part may be reused or freed once the next one is asked for.

    Raises:
      SerializationError: a leaf or a name has no place in the format.

    >>> import numpy as np
    >>> parts = encode_safetensors({"a": {"b": np.zeros(2, "u1")}})
    >>> b"".join(parts)[8:-2]
    b'{"a.b":{"dtype":"U8","shape":[2],"data_offsets":[0,2]}} '
    """
    leaves: dict[str, Leaf] = {}
    values: dict[str, Any] = {}
    arrays = {}
    for path, leaf in flattened(tree, separator):
        name = path[0] if separator is None else separator.join(path)
        try:
            found = elements_of(leaf)
            if found is None:
                values[name] = plain_value(leaf)
            else:
                leaves[name] = leaf
                arrays[name] = found.dtype, found.shape, found.nbytes
        except SerializationError as error:
            error.path = join_path(path)
            raise
    said = _checked(metadata or {})
    if values:
        said[VALUES] = to_json(values)
    head, order = build_header(arrays, said)
    yield head
    for name in order:
        # Asked for again: a copy in another byte order is not to stay.
        found = elements_of(leaves[name])
        assert found is not None
        yield from found.parts()


def decode_safetensors(
    data: memoryview | Pages,
    leaves: Leaves,
    path: Sequence[str] = (),
    *,
    separator: str | None = ".",
) -> Tree:
    r"""Reads the tree in a safetensors file, or the part of it at a path.

    Args:
      data: the whole file.
      leaves: makes arrays.
      path: keys from the root; what lies beside them is not made.
      separator: what the names of branches were joined with; None gives one dict, with
        the names of the tensors.

    Returns:
      Dicts with what `leaves` makes, and the numbers, strings and None that
      `encode_safetensors` put into the metadata.

    Raises:
      SerializationError: the file breaks a rule of the format, or the path is not in
        it.

    >>> import numpy as np
    >>> from batiste.serialization.decode import Views
    >>> data = b"".join(encode_safetensors({"a": {"b": np.ones(2, "u1"), "c": 3}}))
    >>> view = memoryview(data)
    >>> decode_safetensors(view, Views(view))
    {'a': {'b': array([1, 1], dtype=uint8), 'c': 3}}
    >>> decode_safetensors(view, Views(view), ("a", "c"))
    3
    """
    try:
        return _decoded(read_header(data), leaves, path, separator)
    except SerializationError as error:
        if error.offset is None:
            error.offset = _HEADER  # where the names are
        raise


def _decoded(
    header: Header, leaves: Leaves, path: Sequence[str], separator: str | None
) -> Tree:
    values = _values(header.metadata)
    if twice := values.keys() & header.tensors.keys():
        raise SerializationError(
            f"These are tensors, and values in the metadata too: {listed(twice)}. The "
            "file is damaged.",
            min(twice),
        )
    names = [*header.tensors, *values]
    kept = names_under(names, path, separator)
    flat: dict[str, Leaf] = {}
    for name in kept:
        tensor = header.tensors.get(name)
        if tensor is None:
            flat[name] = values[name]
            continue
        dtype, shape, start, size = tensor
        try:
            flat[name] = leaves.array(shape, dtype, start, size)
        except SerializationError as error:
            if dtype in PACKED:
                error.reason = (
                    f"Elements of {dtype} have less than a byte, and NumPy has none "
                    "such. Read the others by their paths."
                )
            error.path, error.offset = name, start
            raise
    if separator is None:
        return flat[path[0]] if path else flat
    return nested(flat, separator, len(path))


def metadata_of(data: memoryview | Pages) -> dict[str, str]:
    """Reads what is said of a file, without what `encode_safetensors` put there.

    Raises:
      SerializationError: the file breaks a rule of the format.

    >>> data = b"".join(encode_safetensors({"a": 1}, metadata={"format": "pt"}))
    >>> metadata_of(memoryview(data))
    {'format': 'pt'}
    """
    metadata = read_header(data).metadata
    metadata.pop(VALUES, None)
    return metadata


def _checked(metadata: Mapping[str, str]) -> dict[str, str]:
    for key, value in metadata.items():
        if not isinstance(key, str) or not isinstance(value, str) or key == VALUES:
            raise SerializationError(
                "The metadata of a safetensors file are strings by strings, without "
                f"{VALUES!r}; not {key!r:.100}: {value!r:.100}."
            )
    return dict(metadata)


def _values(metadata: dict[str, str]) -> dict[str, Any]:
    """What `encode_safetensors` put into the metadata."""
    text = metadata.pop(VALUES, None)
    if text is None:
        return {}
    try:
        return from_json(text)
    except ValueError as error:
        raise SerializationError(
            f"The entry {VALUES!r} of the metadata cannot be read: {error}. The file "
            "is damaged.",
            VALUES,
        ) from None
