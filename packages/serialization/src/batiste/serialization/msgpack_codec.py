"""Trees and objects to msgpack bytes, and back."""

from __future__ import annotations

from collections.abc import Mapping

from .decode import Views, decode
from .encode import encode
from .formats import Format, parts_of, tree_of
from .state_dict import from_state_dict, to_state_dict
from .types import Buffer, Tree

__all__ = [
    "from_bytes",
    "frozen_view",
    "msgpack_restore",
    "msgpack_serialize",
    "to_bytes",
]


def msgpack_serialize(
    pytree: Tree, in_place: bool = False, *, max_chunk_size: int | None = None
) -> bytes:
    r"""Writes a tree of plain containers as msgpack bytes.

    Low-level: custom objects need `to_bytes`. Lists stay lists and keys that are not
    strings stay what they are; mappings of all types, such as `FrozenDict`, are read
    back as dicts, and tuples as lists. Arrays of more than
    `MAX_CHUNK_SIZE` bytes (2**30) are written in pieces, except inside lists.

    Args:
      pytree: a tree of mappings, lists and tuples whose leaves are arrays, NumPy
        scalars, or Python's numbers, complex numbers, strings, bytes and None.
      in_place: the items of dicts are written in the order they have. Otherwise they
        are sorted by key. The tree is not changed in either case.
      max_chunk_size: bytes; overrides `MAX_CHUNK_SIZE`.

    Returns:
      The bytes, which equal those that `flax.serialization` makes.

    Raises:
      SerializationError: a value or a key has no place in the format; its `path` names
        it. For a type that has none, it is a TypeError as well.

    >>> from batiste.serialization import msgpack_restore, msgpack_serialize
    >>> msgpack_serialize({"b": [1, 2], "a": 0.5})
    b'\x82\xa1a\xcb?\xe0\x00\x00\x00\x00\x00\x00\xa1b\x92\x01\x02'
    """
    parts = encode(
        pytree, sort_keys=not in_place, max_chunk_size=max_chunk_size, plain=True
    )
    return b"".join(parts)


def msgpack_restore(encoded_pytree: Buffer) -> Tree:
    """Reads the tree that msgpack bytes hold.

    Low-level: returns plain dicts and lists; `from_bytes` gives objects their state
    back. Nothing in the bytes is run, and what is allocated is bounded by their length.

    Args:
      encoded_pytree: bytes that `msgpack_serialize`, `to_bytes` or `flax.serialization`
        made, of any version.

    Returns:
      A tree of dicts and lists. Its arrays are NumPy arrays that cannot be written to:
      they are views of the bytes, and keep all of them in memory; `np.array(x)` makes a
      copy. Bytes that could change, as in a bytearray, are copied first.

    Raises:
      SerializationError: the bytes are damaged; `offset` and `path` tell where.

    >>> import numpy as np
    >>> from batiste.serialization import msgpack_restore, msgpack_serialize
    >>> msgpack_restore(msgpack_serialize({"a": np.arange(3), "b": [1, 2j]}))
    {'a': array([0, 1, 2]), 'b': [1, 2j]}
    """
    return decode(frozen_view(encoded_pytree))


def to_bytes(
    target: Tree,
    *,
    max_chunk_size: int | None = None,
    format: Format = "msgpack",
    separator: str | None = ".",
    metadata: Mapping[str, str] | None = None,
) -> bytes:
    r"""Writes the state of an object as msgpack bytes, or as those of safetensors.

    Args:
      target: an object that `to_state_dict` takes, such as parameters, a struct
        dataclass or the state of an optimizer.
      max_chunk_size: bytes; overrides `MAX_CHUNK_SIZE`, above which arrays are written
        in pieces.
      format: `"msgpack"`, or `"safetensors"`, as `serialize` explains.
      separator: for safetensors, what joins the names of branches.
      metadata: for safetensors, what is to be said of the file.

    Returns:
      The bytes, which equal those that `flax.serialization` makes. Typed PRNG keys,
      which it refuses, are written as their `uint32` values.

    Raises:
      SerializationError: a value has no place in the format; its `path` names it. For a
        type that has none, it is a TypeError as well.
      ValueError: there is no such format or separator.

    >>> from batiste.serialization import to_bytes
    >>> to_bytes({"step": 7, "done": (True, None)})
    b'\x82\xa4step\x07\xa4done\x82\xa10\xc3\xa11\xc0'
    """
    parts = parts_of(
        to_state_dict(target),
        format,
        max_chunk_size=max_chunk_size,
        separator=separator,
        metadata=metadata,
    )
    return b"".join(parts)


def from_bytes(
    target: Tree,
    encoded_bytes: Buffer,
    *,
    format: Format | None = None,
    separator: str | None = ".",
) -> Tree:
    """Makes a copy of an object with the values of the bytes that `to_bytes` made.

    Args:
      target: an object with the structure of the saved one; its values are not used.
        None returns the state dict.
      encoded_bytes: the bytes.
      format: `"msgpack"` or `"safetensors"`; None looks how they begin.
      separator: for safetensors, what names were joined with, as for `restore`.

    Returns:
      A new object like `target`. Its arrays are NumPy arrays that cannot be written to
      and share memory with the bytes, as `msgpack_restore` explains.

    Raises:
      SerializationError: the bytes are damaged, or do not fit the target; `path` tells
        where. The target has not been changed.
      ValueError: there is no such format or separator.

    >>> from batiste.serialization import from_bytes, to_bytes
    >>> from_bytes({"step": 0, "moments": [None, None]}, to_bytes(
    ...     {"step": 7, "moments": [0.5, 0.25]}))
    {'step': 7, 'moments': [0.5, 0.25]}
    """
    data = frozen_view(encoded_bytes)
    state = tree_of(data, Views(data), format=format, separator=separator)
    return from_state_dict(target, state)


def frozen_view(data: Buffer) -> memoryview:
    """Gives a view of bytes that will not change; copies those that could.

    >>> source = bytearray(b"ab")
    >>> view = frozen_view(source)
    >>> source.clear()
    >>> bytes(view)
    b'ab'
    """
    view = memoryview(data)
    if not view.contiguous or not isinstance(view.obj, bytes):
        view = memoryview(view.tobytes())
    return view.cast("B") if view.nbytes else memoryview(b"")
