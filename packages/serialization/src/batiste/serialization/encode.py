"""Trees to msgpack, as a stream of parts.

The format is the one that Flax writes: plain msgpack for containers, text and numbers,
and three extension types, each with a msgpack message inside.

- 1, an array: shape, name of the dtype, elements in C order, little-endian;
- 2, a complex number: real and imaginary part;
- 3, a NumPy scalar: like an array, with an empty shape.

Arrays of more than `MAX_CHUNK_SIZE` bytes are dicts of flat pieces, since a length in
msgpack has 32 bits.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

import msgpack
import numpy as np

from .dtypes import dtype_name
from .elements import Elements, elements_of, native
from .errors import SerializationError, UnserializableTypeError, join_path
from .jax_leaves import is_jax_array, is_prng_key, on_one_cpu
from .registry import is_serializable
from .types import Leaf, Tree

__all__ = [
    "CHUNKED",
    "EXT_ARRAY",
    "EXT_COMPLEX",
    "EXT_SCALAR",
    "MAX_CHUNK_SIZE",
    "MAX_DEPTH",
    "encode",
]


MAX_CHUNK_SIZE: Final = 2**30
"""Arrays of more bytes than this are written in pieces of at most this many."""

MAX_DEPTH: Final = 1000
"""Containers inside one another that are written, and read."""

EXT_ARRAY: Final = 1
EXT_COMPLEX: Final = 2
EXT_SCALAR: Final = 3
CHUNKED: Final = "__msgpack_chunked_array__"

# Arrays of at most this many bytes are copied, so many at a time at most.
_SMALL: Final = 2**14
_MOST_GATHERED: Final = 1024
_MAX_EXT: Final = 2**32 - 1
_MAX_ARRAY: Final = _MAX_EXT - 4096  # leaves room for shape and dtype
# Those of other dtypes of NumPy are converted first, or compared with care.
_NUMBERS: Final = "?bhilqBHILQefdFD"
_LAST_OF_NUMPY: Final = 255
_SCALARS: Final = (str, int, float, bool, type(None), bytes)


def encode(
    tree: Tree,
    *,
    sort_keys: bool = False,
    max_chunk_size: int | None = None,
    plain: bool = False,
) -> Iterator[bytes | memoryview]:
    r"""Writes the msgpack message of a tree, part by part.

    Array elements are handed out as views where the array is contiguous; a part may be
    reused or freed once the next one is asked for, so use it before.

    Args:
      tree: dicts, lists and tuples with array and scalar leaves; `Elements` stand for
        arrays. It is not changed.
      sort_keys: writes the items of dicts in the order of their keys.
      max_chunk_size: bytes; `MAX_CHUNK_SIZE` if None.
      plain: the tree is not the state of an object, but what a user gave: it may have
        mappings of other types, which are written as dicts.

    Yields:
      The parts.

    Raises:
      SerializationError: a value or a key has no place in the format.
      ValueError: `max_chunk_size` is below 1.

    >>> b"".join(encode({"step": 7}))
    b'\x81\xa4step\x07'
    """
    limit = MAX_CHUNK_SIZE if max_chunk_size is None else max_chunk_size
    if limit < 1:
        raise ValueError(f"max_chunk_size is a number of bytes above 0, not {limit}.")
    packer = msgpack.Packer(strict_types=True)
    # A large tree is mostly small arrays with strings for keys. They are written
    # without a call for each, and handed out many at a time.
    small = min(limit, _SMALL)
    headers: dict[tuple[Any, ...], bytes] = {}
    of_jax: type | None = None  # that of its arrays, once there was one that has values
    gathered: list[bytes] = []
    # One entry per open container: its remaining (key, value) pairs, and whether it is
    # in a list, where arrays are not split unless they must be.
    stack: list[tuple[Iterator[tuple[Any, Any]], bool, bool]] = []
    path: list[Any] = []
    value: Any = tree
    in_list = False
    try:
        while True:
            if len(gathered) > _MOST_GATHERED:
                yield b"".join(gathered)
                gathered.clear()
            kind = type(value)
            if plain and kind is not dict and isinstance(value, Mapping):
                kind, value = dict, _as_dict(value)
            if kind in (dict, list, tuple):
                if len(stack) == MAX_DEPTH:
                    raise SerializationError(
                        f"The tree is nested deeper than {MAX_DEPTH} levels, or "
                        "contains itself."
                    )
                if kind is dict:
                    gathered.append(packer.pack_map_header(len(value)))
                    stack.append((_items(value, sort_keys), True, in_list))
                else:
                    gathered.append(packer.pack_array_header(len(value)))
                    in_list = True
                    stack.append((iter(enumerate(value)), False, in_list))
                path.append(None)
            elif kind in _SCALARS and kind is not bytes:
                gathered.append(_scalar(packer, value))
            else:
                if gathered:
                    yield b"".join(gathered)
                    gathered.clear()
                yield from _leaf(packer, value, _MAX_ARRAY if in_list else limit, plain)
                if kind is np.ndarray:
                    _remember(headers, packer, value)
                elif is_jax_array(value) and not is_prng_key(value):
                    of_jax = kind
                    if (array := on_one_cpu(value)) is not None:
                        _remember(headers, packer, array)
            while stack:
                pairs, is_map, in_list = stack[-1]
                for key, value in pairs:
                    path[-1] = key
                    if is_map:
                        gathered.append(_key(packer, key))
                    kind = type(value)
                    array = value
                    if kind is of_jax:
                        array = on_one_cpu(value)
                    elif kind is not np.ndarray:
                        break
                    if array is None or array.nbytes > small:
                        break
                    dtype = array.dtype
                    header = headers.get((dtype.num, dtype.isnative, array.shape))
                    if header is None or len(gathered) > _MOST_GATHERED:
                        break
                    gathered += header, array.tobytes()
                else:
                    stack.pop()
                    path.pop()
                    continue
                break
            else:
                if gathered:
                    yield b"".join(gathered)
                return
    except SerializationError as error:
        if error.path is None:
            error.path = join_path(path)
        raise


def _items(tree: dict[Any, Any], sort_keys: bool) -> Iterator[tuple[Any, Any]]:
    if CHUNKED in tree:
        raise SerializationError(
            f"The key {CHUNKED!r} marks arrays that were split into pieces, and cannot "
            "be the name of anything else. Rename it."
        )
    if not sort_keys:
        return iter(tree.items())
    try:
        keys = sorted(tree)
    except (TypeError, ValueError, OverflowError):
        raise SerializationError(
            "The keys of this dict have no order among them. Use keys of one type, or "
            "in_place=True, which keeps the order they have."
        ) from None
    return ((key, tree[key]) for key in keys)


def _key(packer: msgpack.Packer, key: Any) -> bytes:
    if type(key) is str:
        return _scalar(packer, key)
    if type(key) in _SCALARS or type(key) is complex or isinstance(key, np.generic):
        return b"".join(_leaf(packer, key, _MAX_ARRAY))
    raise UnserializableTypeError(
        f"A key of type {type(key).__name__!r} cannot be serialized: keys are strings, "
        "bytes, numbers, booleans or None. to_bytes converts others to strings."
    )


def _scalar(packer: msgpack.Packer, value: Any) -> bytes:
    try:
        return packer.pack(value)
    except (OverflowError, ValueError) as error:  # 65 bits; a lone surrogate; 4 GiB
        raise SerializationError(
            f"This {type(value).__name__} does not fit into the format: {error}."
        ) from error


def _remember(
    headers: dict[tuple[Any, ...], bytes], packer: msgpack.Packer, array: np.ndarray
) -> None:
    """Keeps the header of arrays of a shape and a dtype that are written as they are.

    Their dtype goes by its number, since there are some that cannot be compared.
    """
    dtype = array.dtype
    known = dtype.char in _NUMBERS or dtype.num > _LAST_OF_NUMPY
    if known and native(array) is array:
        name = dtype_name(dtype)
        header = _array_header(packer, EXT_ARRAY, name, array.shape, array.nbytes)
        headers[dtype.num, dtype.isnative, array.shape] = header


def _leaf(
    packer: msgpack.Packer, value: Leaf, limit: int, plain: bool = False
) -> Iterator[bytes | memoryview]:
    kind = type(value)
    if kind in (bytes, bytearray, memoryview):
        yield from _binary(memoryview(value))
    elif kind in _SCALARS:
        yield _scalar(packer, value)
    elif kind is complex:
        inner = packer.pack([value.real, value.imag])
        yield _ext_header(EXT_COMPLEX, len(inner)) + inner
    elif isinstance(value, np.generic):
        array = native(np.asarray(value))
        name = dtype_name(array.dtype)
        yield _array_header(packer, EXT_SCALAR, name, (), array.nbytes)
        yield array.tobytes()
    elif (elements := elements_of(value)) is not None:
        yield from _array(packer, elements, limit)
    else:
        raise UnserializableTypeError(
            f"A value of type {kind.__name__!r} cannot be serialized. "
            f"{_way(value, plain)}"
        )


def _way(value: Leaf, plain: bool) -> str:
    if not plain:
        return (
            "Convert it first, register the type with register_serialization_state, or "
            "give it the methods __to_state_dict__ and __from_state_dict__."
        )
    if is_serializable(value) or isinstance(value, tuple) and hasattr(value, "_fields"):
        return "It has a state of its own: save it with to_bytes, which asks for that."
    return (
        "msgpack_serialize takes mappings, lists, tuples, arrays, numbers, strings, "
        "bytes and None: convert it to one of these."
    )


def _as_dict(value: Mapping[Any, Any]) -> dict[Any, Any]:
    try:
        return dict(value)
    except Exception as error:
        raise SerializationError(
            f"A mapping of type {type(value).__name__!r} cannot be read: {error!r}."
        ) from error


def _array(
    packer: msgpack.Packer, elements: Elements, limit: int
) -> Iterator[bytes | memoryview]:
    dtype, shape, nbytes = elements.dtype, elements.shape, elements.nbytes
    if nbytes <= limit:
        yield _array_header(packer, EXT_ARRAY, dtype, shape, nbytes)
        yield from elements.parts()
        return
    size = math.prod(shape)
    itemsize = nbytes // size
    per_chunk = max(1, min(limit, _MAX_ARRAY) // itemsize)
    starts = range(0, size, per_chunk)
    yield packer.pack_map_header(3)
    yield packer.pack(CHUNKED) + packer.pack(True) + packer.pack("shape")
    yield packer.pack({str(i): n for i, n in enumerate(shape)})
    yield packer.pack("chunks")
    yield packer.pack_map_header(len(starts))
    some = elements.parts()
    rest = memoryview(b"")
    for i, start in enumerate(starts):
        count = min(per_chunk, size - start)
        left = count * itemsize
        yield packer.pack(str(i))
        yield _array_header(packer, EXT_ARRAY, dtype, (count,), left)
        while left:
            rest = rest or next(some)
            yield rest[:left]
            rest, left = rest[left:], left - min(left, len(rest))


def _array_header(
    packer: msgpack.Packer,
    code: int,
    dtype: str,
    shape: Iterable[int],
    nbytes: int,
) -> bytes:
    inner = packer.pack_array_header(3)
    inner += packer.pack(list(shape))
    inner += packer.pack(dtype)
    inner += _bin_header(nbytes)
    return _ext_header(code, len(inner) + nbytes) + inner


def _binary(data: memoryview) -> Iterator[bytes | memoryview]:
    if data.nbytes > _MAX_EXT:
        raise SerializationError(
            f"{data.nbytes} bytes do not fit into the format, which holds up to "
            f"{_MAX_EXT} in one piece. Save np.frombuffer(data, np.uint8) instead."
        )
    yield _bin_header(data.nbytes)
    yield data.cast("B") if data.c_contiguous and data.nbytes else data.tobytes()


# The msgpack library writes these two headers only together with the data, which it
# would copy.


def _bin_header(length: int) -> bytes:
    if length < 2**8:
        return b"\xc4" + length.to_bytes(1, "big")
    if length < 2**16:
        return b"\xc5" + length.to_bytes(2, "big")
    return b"\xc6" + length.to_bytes(4, "big")


def _ext_header(code: int, length: int) -> bytes:
    if length in (1, 2, 4, 8, 16):
        return bytes((0xD4 + length.bit_length() - 1, code))
    if length < 2**8:
        return b"\xc7" + length.to_bytes(1, "big") + bytes((code,))
    if length < 2**16:
        return b"\xc8" + length.to_bytes(2, "big") + bytes((code,))
    return b"\xc9" + length.to_bytes(4, "big") + bytes((code,))
