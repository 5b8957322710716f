"""Trees to safetensors files, and back.

A file has tensors by name and nothing else. The name of an array in a tree is that of
its branches, joined with a separator. What is no array, as the number of a step, goes
into the metadata, as JSON, under a name of ours.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from .decode import Leaves
from .elements import elements_of
from .encode import MAX_DEPTH
from .errors import (
    SerializationError,
    UnserializableTypeError,
    join_path,
    listed,
    nearest,
)
from .pages import Pages
from .safetensors_header import PACKED, build_header, read_header
from .types import Leaf, Tree

__all__ = [
    "VALUES",
    "decode_safetensors",
    "encode_safetensors",
]


VALUES: Final = "batiste.values"
"""The key of the metadata with what is no tensor."""

_PLAIN: Final = (bool, int, float, str, type(None))
_MAX_BITS: Final = 64  # as in msgpack


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
    for path, leaf in _flattened(tree, separator):
        name = path[0] if separator is None else separator.join(path)
        try:
            found = elements_of(leaf)
            if found is None:
                values[name] = _plain(leaf)
            else:
                leaves[name] = leaf
                arrays[name] = found.dtype, found.shape, found.nbytes
        except SerializationError as error:
            error.path = join_path(path)
            raise
    said = _checked(metadata or {})
    if values:
        said[VALUES] = json.dumps(values, ensure_ascii=False, separators=(",", ":"))
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
    header = read_header(data)
    values = _values(header.metadata)
    if twice := values.keys() & header.tensors.keys():
        raise SerializationError(
            f"These are tensors, and values in the metadata too: {listed(twice)}. The "
            "file is damaged.",
            min(twice),
            8,
        )
    names = [*header.tensors, *values]
    wanted = "" if separator is None else separator.join(path)
    if separator is None:
        kept = [name for name in names if not path or name == path[0]]
        kept = kept if len(path) < 2 else []
    elif path:
        start = wanted + separator
        kept = [name for name in names if name == wanted or name.startswith(start)]
    else:
        kept = names
    if path and not kept:
        raise SerializationError(
            f"There is nothing at {join_path(path)!r}"
            f"{nearest((separator or '/').join(path), names)}. Here are: "
            f"{listed(names) or 'no names'}.",
            "",
            8,
        )
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
    return _nested(flat, separator, len(path))


def _flattened(
    tree: Tree, separator: str | None
) -> Iterator[tuple[tuple[str, ...], Leaf]]:
    """The leaves, each with its path; an empty container is one."""
    if not isinstance(tree, (Mapping, list, tuple)):
        raise SerializationError(
            f"A safetensors file holds arrays by name, and this is a "
            f"{type(tree).__name__}. Put it into a dict."
        )
    stack: list[tuple[tuple[str, ...], Iterator[tuple[Any, Tree]]]]
    stack = [((), iter(_children(tree)))]
    while stack:
        path, items = stack[-1]
        item = next(items, None)
        if item is None:
            stack.pop()
            continue
        key, value = item
        here = (*path, str(key))
        if separator is not None and separator in here[-1]:
            raise SerializationError(
                f"The name {here[-1]!r} holds {separator!r}, which joins the names of "
                "branches, so that the tree could not be read back. Pass another "
                "separator, or separator=None for a dict that has no branches.",
                join_path(here),
            )
        if isinstance(value, (Mapping, list, tuple)) and value:
            if separator is None:
                raise SerializationError(
                    "With separator=None, the tree is one dict of arrays, and this is "
                    f"a {type(value).__name__} in it.",
                    join_path(here),
                )
            if len(here) >= MAX_DEPTH:
                raise SerializationError(
                    f"The tree is nested deeper than {MAX_DEPTH} levels, or contains "
                    "itself."
                )
            stack.append((here, iter(_children(value))))
        else:
            yield here, value


def _children(tree: Tree) -> Iterator[tuple[Any, Tree]]:
    return iter(tree.items() if isinstance(tree, Mapping) else enumerate(tree))


def _plain(leaf: Leaf) -> Any:
    if isinstance(leaf, (Mapping, list, tuple)):
        return {}
    if type(leaf) is int and leaf.bit_length() > _MAX_BITS:
        raise SerializationError(
            f"This int has {leaf.bit_length()} bits, and more than {_MAX_BITS} do not "
            "fit into the format."
        )
    if type(leaf) not in _PLAIN:
        raise UnserializableTypeError(
            f"A value of type {type(leaf).__name__!r} has no place in a safetensors "
            "file: it holds arrays, and Python's numbers, strings and None. Make an "
            "array of it, or write msgpack."
        )
    return leaf


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
        found = json.loads(text)
    except (ValueError, RecursionError):
        found = None
    if isinstance(found, dict) and all(
        type(v) in _PLAIN or v == {} for v in found.values()
    ):
        return found
    raise SerializationError(
        f"The entry {VALUES!r} of the metadata is not an object of numbers, strings "
        "and null: the file is damaged.",
        VALUES,
        8,
    )


def _nested(flat: dict[str, Leaf], separator: str, depth: int) -> Tree:
    """Makes dicts of joined names, leaving out the first `depth` of each."""
    holder: dict[str, Any] = {}
    for name, leaf in flat.items():
        if name.count(separator) >= MAX_DEPTH:
            raise SerializationError(
                f"The tree is nested deeper than {MAX_DEPTH} levels. Pass "
                "separator=None, which reads one dict.",
                name,
                8,
            )
        names = ["", *name.split(separator)[depth:]]
        branch: Any = holder
        for key in names[:-1]:
            branch = branch.setdefault(key, {})
            if not isinstance(branch, dict):
                raise _clash(name, separator)
        if branch.setdefault(names[-1], leaf) is not leaf:
            raise _clash(name, separator)
    return holder.get("", {})


def _clash(name: str, separator: str) -> SerializationError:
    return SerializationError(
        f"The name {name!r} and another one, split at {separator!r}, are an array and "
        "the branch that it would be in. Pass separator=None, which reads one dict "
        "with the names as they are.",
        name,
        8,
    )
