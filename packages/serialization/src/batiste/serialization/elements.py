"""The elements of arrays as bytes, part by part, whatever kind of array has them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import chain
from typing import Final

import numpy as np

from .dtypes import dtype_name, unprintable
from .errors import SerializationError, UnserializableTypeError
from .jax_leaves import host_blocks, is_jax_array, local_array
from .types import Leaf, Shape

__all__ = [
    "Elements",
    "elements_of",
    "native",
]


# Arrays that are not contiguous, or not in host memory, are copied this many bytes at a
# time. Several copies may be on their way at once.
_COPY_SIZE: Final = 2**23
_LONG: Final = (np.longdouble, np.clongdouble)


class Elements:
    """An array, as what is needed to write it to a file.

    Attributes:
      dtype: the name of its dtype.
      shape: its shape.
      nbytes: how many bytes its elements have.
      parts: gives these bytes, in C order and little-endian, part by part. A part may
        be reused or freed once the next one is asked for.

    >>> Elements("uint8", (2,), 2, lambda: iter([memoryview(b"ab")])).shape
    (2,)
    """

    __slots__ = ("dtype", "shape", "nbytes", "parts")

    def __init__(
        self,
        dtype: str,
        shape: Shape,
        nbytes: int,
        parts: Callable[[], Iterator[memoryview]],
    ) -> None:
        self.dtype = dtype
        self.shape = shape
        self.nbytes = nbytes
        self.parts = parts

    @property
    def ndim(self) -> int:
        """The number of axes."""
        return len(self.shape)


def elements_of(value: Leaf) -> Elements | None:
    r"""Finds the elements of an array; None for what is no array.

    Args:
      value: an array of NumPy or JAX, a scalar of NumPy, or `Elements`, which are
        returned as they are.

    Raises:
      SerializationError: no file could give the array back, as one of objects, or
        this process does not have all of it.

    >>> found = elements_of(np.arange(3, dtype="u1"))
    >>> found.dtype, found.shape, b"".join(found.parts())
    ('uint8', (3,), b'\x00\x01\x02')
    """
    if isinstance(value, (np.ndarray, np.generic)):
        if isinstance(value, np.ma.MaskedArray):
            raise UnserializableTypeError(
                "A masked array cannot be serialized: its mask would be lost. Save its "
                "data and its mask as two arrays."
            )
        array = native(np.asarray(value))
        name = dtype_name(array.dtype)
        return Elements(name, array.shape, array.nbytes, lambda: _parts(array))
    if is_jax_array(value):
        local = local_array(value)
        dtype = np.dtype(local.dtype)

        def parts() -> Iterator[memoryview]:
            blocks = host_blocks(local, _COPY_SIZE)
            return chain.from_iterable(map(_parts, blocks))

        nbytes = local.size * dtype.itemsize
        return Elements(dtype_name(dtype), local.shape, nbytes, parts)
    return value if isinstance(value, Elements) else None


def native(array: np.ndarray) -> np.ndarray:
    """Gives the array that is written for an array: little-endian, without padding.

    Raises:
      SerializationError: its dtype has no name, or its elements could not be shown.

    >>> native(np.array([1], ">i4")).dtype.str
    '<i4'
    """
    # The name of a dtype does not tell the byte order, so there is only one in a file.
    try:
        order = array.dtype.newbyteorder("<")
    except TypeError:
        order = array.dtype  # strings of any width have none
    dtype_name(order)
    if why := unprintable(array):
        raise SerializationError(
            f"An array {array.dtype} cannot be serialized, since {why}: nobody could "
            "show its elements. Convert it first, as with astype('datetime64[s]')."
        )
    array = array if array.dtype == order else array.astype(order)
    return _without_padding(array) if array.dtype.type in _LONG else array


def _without_padding(array: np.ndarray) -> np.ndarray:
    """Zeros between extended numbers, where memory has what was there before.

    Those of x86 have 80 bits, in 12 or 16 bytes. The same numbers are to give the same
    bytes.
    """
    if np.finfo(np.longdouble).nmant != 63:
        return array
    copy = np.array(array, order="C")
    numbers = copy.reshape(-1).view(np.uint8).reshape(-1, np.dtype("g").itemsize)
    numbers[:, 10:] = 0
    return copy


def _parts(array: np.ndarray) -> Iterator[memoryview]:
    """The bytes of the elements in C order; copies at most a part at a time."""
    if array.flags.c_contiguous:
        # The buffer protocol does not know every dtype, so it is handed plain bytes.
        yield array.reshape(-1).view(np.uint8).data
    elif array.nbytes <= _COPY_SIZE:
        yield from _parts(np.ascontiguousarray(array))
    else:
        rows = max(1, _COPY_SIZE * len(array) // array.nbytes)
        for i in range(0, len(array), rows):
            block = array[i] if rows == 1 else array[i : i + rows]
            yield from _parts(block)
