"""Msgpack bytes to trees: one pass, without recursion, without copying arrays.

The bytes may come from anyone. Every length is compared with what is left of the input
before it is used, so that what is allocated is bounded by the size of the input.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from typing import Any, Final, Protocol, TypeAlias

import numpy as np

from .dtypes import dtype_from_name, unprintable
from .encode import CHUNKED, EXT_ARRAY, EXT_COMPLEX, EXT_SCALAR, MAX_DEPTH
from .errors import SerializationError, join_path, listed, nearest
from .keys import KeyCost, check_key
from .pages import Pages
from .types import Leaf, Shape, Tree

__all__ = [
    "BINARY",
    "EXT",
    "LIST",
    "MAP",
    "SCALAR",
    "TEXT",
    "Leaves",
    "Token",
    "Views",
    "decode",
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
_MAX_DIMENSIONS: Final = 64  # of NumPy


Token: TypeAlias = tuple[int, Any, int]
"""A kind; a value, a count or a length; and the position behind."""


class Leaves(Protocol):
    r"""Makes the leaves whose data may be large from where the data lies.

    >>> class Sizes:
    ...     def array(self, shape, dtype, start, size):
    ...         return size
    ...     def joined(self, chunks, shape):
    ...         return sum(chunks)
    ...     def binary(self, start, size):
    ...         return size
    >>> decode(memoryview(b"\x81\xa4data\xc4\x02ab"), Sizes())
    {'data': 2}
    """

    def array(self, shape: Shape, dtype: str, start: int, size: int) -> Leaf:
        """Makes an array.

        Args:
          shape: its shape.
          dtype: the name of its dtype.
          start: where in the input its elements begin, in C order.
          size: how many bytes they have.

        Returns:
          The array, or what stands for it.
        """

    def joined(self, chunks: Sequence[Any], shape: Shape) -> Leaf:
        """Makes one array of the flat arrays that it was written as.

        Args:
          chunks: what `array` made of them, in their order.
          shape: the shape of the whole.

        Returns:
          The array, or what stands for it.
        """

    def binary(self, start: int, size: int) -> Leaf:
        """Makes a bytes value.

        Args:
          start: where in the input it begins.
          size: how many bytes it has.

        Returns:
          The value, or what stands for it.
        """


class Views:
    r"""Leaves that are views of the input, where it is in memory.

    Args:
      data: the input.
      copy: makes arrays of their own, which can be written to.

    >>> views = Views(memoryview(b"\x01\x00\x02\x00"))
    >>> views.array((2,), "int16", 0, 4)
    array([1, 2], dtype=int16)
    """

    def __init__(self, data: memoryview | Pages, copy: bool = False) -> None:
        self.data = data
        self.copy = copy or isinstance(data, Pages)

    def array(self, shape: Shape, dtype: str, start: int, size: int) -> np.ndarray:
        """Makes an array whose elements are where they lie in the input.

        Args:
          shape: its shape.
          dtype: the name of its dtype.
          start: where in the input its elements begin, in C order.
          size: how many bytes they have.

        Returns:
          The array, of the shape `shape`.

        Raises:
          SerializationError: the bytes do not make up such an array.
        """
        element = dtype_from_name(dtype)
        if math.prod(shape) * element.itemsize != size:
            raise SerializationError(
                f"An array {dtype}{list(shape)} has {math.prod(shape)} elements of "
                f"{element.itemsize} bytes, but {size} bytes are stored for it: the "
                "data is damaged."
            )
        try:
            if isinstance(self.data, Pages):
                found = np.empty(shape, element)
                self.data.fill(found, start)
            else:
                found = np.ndarray(shape, element, self.data, start)
        except SerializationError:
            raise
        except (ValueError, OverflowError) as error:
            raise SerializationError(
                f"No array can have the shape {list(shape)}: {error}."
            ) from None
        if why := unprintable(found):
            raise SerializationError(
                f"NumPy could not show the elements of an array {dtype}, since {why}: "
                "the data is damaged."
            )
        return found if found.base is None or not self.copy else found.copy()

    def joined(self, chunks: Sequence[np.ndarray], shape: Shape) -> np.ndarray:
        """Copies flat arrays into one.

        Args:
          chunks: the arrays, in their order.
          shape: the shape of the whole.

        Returns:
          The array, of the shape `shape`.

        Raises:
          SerializationError: the arrays do not make up such an array.
        """
        if len({chunk.dtype for chunk in chunks}) > 1:
            raise SerializationError("The pieces of an array differ in their dtype.")
        if sum(chunk.size for chunk in chunks) != math.prod(shape):
            raise SerializationError(
                f"The pieces of an array have {sum(c.size for c in chunks)} elements "
                f"in all, but its shape is {list(shape)}: the data is damaged."
            )
        whole = np.concatenate(chunks)
        if not self.copy:
            whole.flags.writeable = False
        try:
            return whole.reshape(shape)
        except ValueError as error:
            raise SerializationError(
                f"No array can have the shape {list(shape)}: {error}."
            ) from None

    def binary(self, start: int, size: int) -> bytes:
        """Copies `size` bytes from `start` on."""
        return bytes(self.data[start : start + size])


class _Open:
    """A container that still lacks items."""

    __slots__ = ("value", "left", "key", "has_key", "is_map", "start", "cost")

    def __init__(self, is_map: bool, left: int, start: int) -> None:
        self.value: Any = {} if is_map else []
        self.is_map = is_map
        self.left = left  # items, or keys and values
        self.key: Any = None
        self.has_key = False
        self.start = start
        self.cost: KeyCost | None = None


def decode(
    data: memoryview | Pages, leaves: Leaves | None = None, path: Sequence[str] = ()
) -> Tree:
    r"""Reads the tree in the bytes of one message, or the part of it at a path.

    Args:
      data: the whole message and nothing else.
      leaves: makes arrays and bytes; `Views(data)` if None.
      path: keys from the root; what lies beside them is skipped.

    Returns:
      Dicts and lists, with leaves of numbers, strings, None, and what `leaves` makes.

    Raises:
      SerializationError: the bytes are not such a message, or the path is not in it.

    >>> message = memoryview(b"\x82\xa1a\x01\xa1b\x92\x02\x03")
    >>> decode(message)
    {'a': 1, 'b': [2, 3]}
    >>> decode(message, path=("b", "1"))
    3
    """
    reader = _Reader(data, leaves or Views(data))
    start = 0
    for depth in range(len(path)):
        start = reader.enter(start, path, depth)
    value, end = reader.read(start, path)
    # What lies behind a part is not looked at: that is the point of asking for one.
    if not path and end != len(data):
        raise SerializationError(
            f"The message ends here, but {len(data) - end} more bytes follow. Pass one "
            "message at a time.",
            "",
            end,
        )
    return value


class _Reader:
    def __init__(self, data: memoryview | Pages, leaves: Leaves) -> None:
        self.data = data
        self.leaves = leaves

    def read(self, start: int, path: Sequence[str]) -> tuple[Tree, int]:
        """The value that begins at `start`, and where it ends."""
        data, end, position = self.data, len(self.data), start
        stack: list[_Open] = []
        item = start
        try:
            while True:
                item = position
                kind, found, position = read_token(data, position, end)
                if kind == SCALAR:
                    value = found
                elif kind == TEXT:
                    value = self._text(position, found)
                    position += found
                elif kind == EXT:
                    value = self._ext(data[position - 1], position, found)
                    position += found
                elif kind == BINARY:
                    if stack and stack[-1].is_map and not stack[-1].has_key:
                        value = bytes(data[position : position + found])
                    else:
                        value = self.leaves.binary(position, found)
                    position += found
                elif found == 0:
                    value = {} if kind == MAP else []
                else:
                    if len(stack) + len(path) >= MAX_DEPTH:
                        raise SerializationError(
                            f"The tree is nested deeper than {MAX_DEPTH} levels."
                        )
                    is_map = kind == MAP
                    if is_map and stack and stack[-1].is_map and not stack[-1].has_key:
                        check_key({}, {}, None)
                    stack.append(_Open(is_map, found * (1 + is_map), item))
                    continue
                while stack:
                    if not self._add(stack[-1], value):
                        break
                    closed = stack.pop()
                    item, value = closed.start, closed.value
                    if closed.is_map and CHUNKED in value:
                        value = self._join(value)
                else:
                    return value, position
        except SerializationError as error:
            if error.path is None:
                error.path = join_path((*path, *_places(stack)))
            if error.offset is None:
                error.offset = item
            raise

    def enter(self, start: int, path: Sequence[str], depth: int) -> int:
        """Where in the container at `start` the value of key `path[depth]` begins."""
        wanted = path[depth]
        try:
            kind, count, position = read_token(self.data, start, len(self.data))
            if kind not in (MAP, LIST):
                raise SerializationError(
                    f"There is nothing at {join_path(path)!r}: no branch begins here."
                )
            names = []
            for index in range(count):
                name: Any = str(index)
                if kind == MAP:
                    name, position = self.read(position, path[:depth])
                    name = name if isinstance(name, str) else str(name)
                if name == wanted:
                    return position
                names.append(name)
                position = self._skip(position)
        except SerializationError as error:
            if error.path is None:
                error.path = join_path(path[:depth])
            if error.offset is None:
                error.offset = start
            raise
        raise SerializationError(
            f"There is nothing at {join_path(path)!r}{nearest(wanted, names)}. Here "
            f"are: {listed(names) or 'no names'}.",
            join_path(path[:depth]),
            start,
        )

    def _skip(self, position: int) -> int:
        """Where the value that begins at `position` ends."""
        left = 1
        while left:
            kind, found, position = read_token(self.data, position, len(self.data))
            left -= 1
            if kind in (MAP, LIST):
                left += found * (1 + (kind == MAP))
            elif kind != SCALAR:
                position += found
        return position

    def _add(self, entry: _Open, value: Any) -> bool:
        """Puts a value into the innermost container; True if that is complete now."""
        if not entry.is_map:
            entry.value.append(value)
        elif entry.has_key:
            entry.value[entry.key] = value
            entry.has_key = False
        else:
            entry.cost = check_key(value, entry.value, entry.cost)
            entry.key, entry.has_key = value, True
        entry.left -= 1
        return not entry.left

    def _text(self, start: int, size: int) -> str:
        try:
            return str(self.data[start : start + size], "utf-8")
        except UnicodeDecodeError as error:
            raise SerializationError(
                f"This string is not UTF-8 ({error.reason}): the data is damaged."
            ) from None

    def _ext(self, code: int, start: int, size: int) -> Leaf:
        if code == EXT_ARRAY:
            return self.leaves.array(*self._array_fields(start, size))
        if code == EXT_SCALAR:
            shape, dtype, begin, length = self._array_fields(start, size)
            if shape:
                raise SerializationError("A NumPy scalar here has a shape.")
            data = memoryview(self.data[begin : begin + length])
            return Views(data, copy=True).array(shape, dtype, 0, length)[()]
        if code == EXT_COMPLEX:
            parts = self._fields(start, size, 2, "complex number")
            numbers = [found for kind, found, _ in parts if kind == SCALAR]
            if len(numbers) == 2 and all(type(n) in (int, float) for n in numbers):
                return complex(*numbers)
            raise SerializationError("The parts of a complex number are not numbers.")
        raise SerializationError(
            f"The extension type {code if code < 128 else code - 256} is not one of "
            "this format, which has 1 (array), 2 (complex) and 3 (NumPy scalar): the "
            "data is damaged, or was not written by Flax or Batiste."
        )

    def _array_fields(self, start: int, size: int) -> tuple[Shape, str, int, int]:
        fields = self._fields(start, size, 3, "array")
        (shape_kind, count, position), name, elements = fields
        if shape_kind != LIST or count > _MAX_DIMENSIONS:
            raise SerializationError("The shape of an array is not a list of lengths.")
        shape = []
        for _ in range(count):
            kind, length, position = read_token(self.data, position, start + size)
            if kind != SCALAR or type(length) is not int or length < 0:
                raise SerializationError("A length in the shape of an array is wrong.")
            shape.append(length)
        if name[0] not in (TEXT, BINARY):  # bytes in the first releases of Flax
            raise SerializationError("The dtype of an array is not a string.")
        if elements[0] not in (TEXT, BINARY):
            raise SerializationError("The elements of an array are not bytes.")
        dtype = self._text(name[2], name[1])
        return tuple(shape), dtype, elements[2], elements[1]

    def _fields(self, start: int, size: int, count: int, what: str) -> list[Token]:
        """The tokens of a list of `count` items inside an extension; lists may nest."""
        end = start + size
        kind, found, position = read_token(self.data, start, end)
        if kind != LIST or found != count:
            raise SerializationError(f"This {what} is not a list of {count} items.")
        fields = []
        for _ in range(count):
            token = kind, found, position = read_token(self.data, position, end)
            fields.append(token)
            if kind == LIST:
                for _ in range(found):
                    kind, found, position = read_token(self.data, position, end)
                    if kind != SCALAR:
                        raise SerializationError(f"This {what} has a wrong item.")
            elif kind != SCALAR:
                position += found
        if position != end:
            raise SerializationError(
                f"This {what} is followed by {end - position} bytes within its item."
            )
        return fields

    def _join(self, parts: dict[Any, Any]) -> Leaf:
        shape, chunks = parts.get("shape"), parts.get("chunks")
        lengths, arrays = _numbered(shape), _numbered(chunks)
        if (
            len(parts) != 3
            or lengths is None
            or not arrays
            or len(lengths) > _MAX_DIMENSIONS
            or not all(type(n) is int and n >= 0 for n in lengths)
            or not all(getattr(a, "ndim", None) == 1 for a in arrays)
        ):
            raise SerializationError(
                f"A dict with the key {CHUNKED!r} must hold the shape and the pieces "
                "of an array, and this one does not: the data is damaged."
            )
        return self.leaves.joined(arrays, tuple(lengths))


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


def _numbered(items: Any) -> list[Any] | None:
    """The items of a list, or of a dict with the keys '0', '1', ..."""
    if isinstance(items, list):
        return items
    if isinstance(items, dict) and list(items) == [str(i) for i in range(len(items))]:
        return list(items.values())
    return None


def _places(stack: list[_Open]) -> list[Any]:
    """The keys of the item that is being read, or of the dict whose key is."""
    return [
        entry.key if entry.is_map else len(entry.value)
        for entry in stack
        if entry.has_key or not entry.is_map
    ]
