"""How `flax.serialization` makes bytes, in steps, and the types that it knows.

>>> dict in _STATE_DICT_REGISTRY, int in _STATE_DICT_REGISTRY
(True, False)
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import msgpack
import numpy as np

from batiste import serialization
from batiste.serialization import encode, registry

__all__ = [
    "_STATE_DICT_REGISTRY",
    "_MsgpackExtType",
    "_chunk",
    "_chunk_array_leaves_in_place",
    "_msgpack_ext_pack",
    "_msgpack_ext_unpack",
    "_ndarray_from_bytes",
    "_ndarray_to_bytes",
    "_np_convert_in_place",
    "_unchunk",
    "_unchunk_array_leaves_in_place",
]


class _MsgpackExtType(enum.IntEnum):
    """The numbers of the extensions of msgpack that the format has."""

    ndarray = encode.EXT_ARRAY
    native_complex = encode.EXT_COMPLEX
    npscalar = encode.EXT_SCALAR


_Functions = tuple[Callable[[Any], Any], Callable[[Any, Any], Any]]


class _Registry(Mapping[type, _Functions]):
    """The types that have a state, each with how it is taken and given back."""

    def __contains__(self, ty: object) -> bool:
        return isinstance(ty, type) and registry.is_registered(ty)

    def __getitem__(self, ty: type) -> _Functions:
        if ty not in self:
            raise KeyError(ty)
        found = registry.find_handler(ty)
        if isinstance(found, registry.Registered):
            return found.to_state, found.from_state
        return serialization.to_state_dict, serialization.from_state_dict

    def __iter__(self) -> Iterator[type]:
        yield from registry.registered_types()
        # Types that bring their own methods are in no list.
        below, seen = [object], {object, *registry.registered_types()}
        while below:
            for ty in type.__subclasses__(below.pop()):
                if ty not in seen:
                    seen.add(ty)
                    below.append(ty)
                    if registry.is_registered(ty):
                        yield ty

    def __len__(self) -> int:
        return sum(1 for _ in self)


_STATE_DICT_REGISTRY = _Registry()


def _packed(x: Any) -> Any:
    """One value as msgpack has it: an ExtType, or itself."""
    whole = serialization.msgpack_serialize(x, max_chunk_size=2**32 - 2**13)
    return msgpack.unpackb(whole, ext_hook=msgpack.ExtType)


def _ndarray_to_bytes(arr: Any) -> bytes:
    r"""Writes the shape, the dtype and the elements of an array.

    >>> _ndarray_to_bytes(np.arange(2, dtype=np.int16))
    b'\x93\x91\x02\xa5int16\xc4\x04\x00\x00\x01\x00'
    """
    return _packed(np.asarray(arr)).data


def _ndarray_from_bytes(data: bytes) -> np.ndarray:
    """Reads what `_ndarray_to_bytes` wrote.

    >>> _ndarray_from_bytes(_ndarray_to_bytes(np.arange(2)))
    array([0, 1])
    """
    return _msgpack_ext_unpack(encode.EXT_ARRAY, data)


def _msgpack_ext_pack(x: Any) -> Any:
    r"""Packs arrays, scalars and complex numbers; for the `default` of msgpack.

    >>> msgpack.packb({"w": np.zeros(1, np.int8)}, default=_msgpack_ext_pack)[:5]
    b'\x81\xa1w\xc7\x0b'
    """
    if not isinstance(x, (np.ndarray, jax.Array, np.generic, complex)):
        return x
    code, data = _packed(x)
    return msgpack.ExtType(_MsgpackExtType(code), data)


def _msgpack_ext_unpack(code: int, data: bytes) -> Any:
    """Unpacks what `_msgpack_ext_pack` packed; for the `ext_hook` of msgpack.

    >>> _msgpack_ext_unpack(*_msgpack_ext_pack(2j))
    2j
    """
    if code not in set(_MsgpackExtType):
        return msgpack.ExtType(code, data)
    packed: Any = msgpack.packb(msgpack.ExtType(code, data))
    return serialization.msgpack_restore(packed)


def _chunk(arr: np.ndarray) -> dict[str, Any]:
    """Cuts an array into flat pieces of at most `MAX_CHUNK_SIZE` bytes.

    >>> sorted(_chunk(np.arange(3)))
    ['__msgpack_chunked_array__', 'chunks', 'shape']
    """
    size = max(1, encode.MAX_CHUNK_SIZE // arr.dtype.itemsize)
    flat = arr.ravel()
    pieces = [flat[start : start + size] for start in range(0, flat.size, size)]
    return {
        encode.CHUNKED: True,
        "shape": {str(i): n for i, n in enumerate(arr.shape)},
        "chunks": {str(i): piece for i, piece in enumerate(pieces)},
    }


def _unchunk(data: dict[str, Any]) -> np.ndarray:
    """Joins the pieces of an array.

    >>> _unchunk(_chunk(np.arange(4).reshape(2, 2))).tolist()
    [[0, 1], [2, 3]]
    """
    shape = tuple(data["shape"][str(i)] for i in range(len(data["shape"])))
    pieces = [data["chunks"][str(i)] for i in range(len(data["chunks"]))]
    return np.concatenate(pieces).reshape(shape)


def _chunk_array_leaves_in_place(d: Any) -> Any:
    """Cuts the arrays in nested dicts that are larger than `MAX_CHUNK_SIZE` bytes.

    >>> tree = {"a": np.arange(3)}
    >>> _chunk_array_leaves_in_place(tree) is tree
    True
    """
    if isinstance(d, dict):
        for key, value in d.items():
            d[key] = _chunk_array_leaves_in_place(value)
    elif isinstance(d, np.ndarray) and d.nbytes > encode.MAX_CHUNK_SIZE:
        return _chunk(d)
    return d


def _np_convert_in_place(d: Any) -> Any:
    """Makes the arrays of JAX in nested dicts arrays of NumPy.

    >>> _np_convert_in_place({"a": jax.numpy.ones(1)})
    {'a': array([1.], dtype=float32)}
    """
    if isinstance(d, dict):
        for key, value in d.items():
            d[key] = _np_convert_in_place(value)
    return np.asarray(d) if isinstance(d, jax.Array) else d


def _unchunk_array_leaves_in_place(d: Any) -> Any:
    """Undoes `_chunk_array_leaves_in_place`.

    >>> _unchunk_array_leaves_in_place({"a": _chunk(np.arange(3))})
    {'a': array([0, 1, 2])}
    """
    if isinstance(d, dict):
        if encode.CHUNKED in d:
            return _unchunk(d)
        for key, value in d.items():
            d[key] = _unchunk_array_leaves_in_place(value)
    return d
