"""Msgpack bytes to trees: one pass, without recursion, without copying arrays.

The bytes may come from anyone. Every length is compared with what is left of the input
before it is used, so that what is allocated is bounded by the size of the input.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final, Protocol

import numpy as np

from .dtypes import dtype_from_name, unprintable
from .encode import CHUNKED, EXT_ARRAY, EXT_COMPLEX, EXT_SCALAR, MAX_DEPTH
from .errors import SerializationError, join_path, listed, nearest
from .keys import KeyCost, check_key
from .pages import Pages
from .tokens import BINARY, EXT, LIST, MAP, SCALAR, TEXT, Token, read_token
from .types import Leaf, Shape, Tree

__all__ = [
    "Leaves",
    "Views",
    "decode",
]


_MAX_DIMENSIONS: Final = 64  # of NumPy


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
        # What comes before the elements of arrays of a shape and a dtype, with both, by
        # the first two bytes of it.
        self.known: dict[tuple[int, int], tuple[Any, ...]] = {}

    def read(self, start: int, path: Sequence[str]) -> tuple[Tree, int]:
        """The value that begins at `start`, and where it ends."""
        data, end, position = self.data, len(self.data), start
        stack: list[_Open] = []
        item = start
        try:
            while True:
                if self.known and stack and stack[-1].is_map and not stack[-1].has_key:
                    position = self._arrays(stack[-1], position)
                if not stack or stack[-1].left:
                    item = position
                    kind, found, position = read_token(data, position, end)
                    if kind == SCALAR:
                        value = found
                    elif kind == TEXT:
                        value = self._text(position, found)
                        position += found
                    elif kind == EXT:
                        value = self._ext(data[position - 1], position, found, item)
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
                        stack.append(self._open(stack, kind, found, item, len(path)))
                        continue
                    if not stack:
                        return value, position
                    self._add(stack[-1], value)
                while not stack[-1].left:
                    closed = stack.pop()
                    item, value = closed.start, closed.value
                    if closed.is_map and CHUNKED in value:
                        value = self._join(value)
                    if not stack:
                        return value, position
                    self._add(stack[-1], value)
        except SerializationError as error:
            if error.path is None:
                error.path = join_path((*path, *_places(stack)))
            if error.offset is None:
                error.offset = item
            raise

    def _open(
        self, stack: list[_Open], kind: int, count: int, start: int, depth: int
    ) -> _Open:
        if len(stack) + depth >= MAX_DEPTH:
            raise SerializationError(
                f"The tree is nested deeper than {MAX_DEPTH} levels."
            )
        is_map = kind == MAP
        if is_map and stack and stack[-1].is_map and not stack[-1].has_key:
            check_key({}, {}, None)
        return _Open(is_map, count * (1 + is_map), start)

    def _arrays(self, entry: _Open, position: int) -> int:
        """Reads short strings with arrays that are known but for their elements.

        Without a call for each, since most of a large tree are such. Returns where the
        first item is that is anything else; what is wrong is not found here.
        """
        data, known, arrays = self.data, self.known, entry.value
        assert isinstance(data, memoryview)
        assert isinstance(self.leaves, Views)
        copy, end = self.leaves.copy, len(data) - 1
        while entry.left and position < end:
            size = data[position]
            start = position + 1
            behind = start + (size & 0x1F)
            if not 0xA0 <= size < 0xC0 or behind >= end:
                break
            found = known.get((data[behind], data[behind + 1]))
            if found is None:
                break
            head, shape, dtype, nbytes = found
            begin = behind + len(head)
            if begin + nbytes > end + 1 or data[behind:begin] != head:
                break
            try:
                name = str(data[start:behind], "utf-8")
            except UnicodeDecodeError:
                break
            if name in arrays:
                break
            array = np.ndarray(shape, dtype, data, begin)
            arrays[name] = array.copy() if copy else array
            entry.left -= 2
            position = begin + nbytes
        return position

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

    def _add(self, entry: _Open, value: Any) -> None:
        """Puts a value into the innermost container."""
        if not entry.is_map:
            entry.value.append(value)
        elif entry.has_key:
            entry.value[entry.key] = value
            entry.has_key = False
        else:
            entry.cost = check_key(value, entry.value, entry.cost)
            entry.key, entry.has_key = value, True
        entry.left -= 1

    def _text(self, start: int, size: int) -> str:
        try:
            return str(self.data[start : start + size], "utf-8")
        except UnicodeDecodeError as error:
            raise SerializationError(
                f"This string is not UTF-8 ({error.reason}): the data is damaged."
            ) from None

    def _ext(self, code: int, start: int, size: int, item: int) -> Leaf:
        if code == EXT_ARRAY:
            shape, dtype, begin, length = self._array_fields(start, size)
            array = self.leaves.array(shape, dtype, begin, length)
            self._remember(item, begin, shape, array, length)
            return array
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

    def _remember(
        self, item: int, begin: int, shape: Shape, array: Leaf, size: int
    ) -> None:
        """Keeps how an array began, unless its elements have to be looked at."""
        leaves, data = self.leaves, self.data
        # Only dates and text have elements that NumPy may be unable to show.
        if type(leaves) is not Views or leaves.data is not data:
            return
        if isinstance(data, memoryview) and size and array.dtype.kind not in "MU":
            head = bytes(data[item:begin])
            self.known[head[0], head[1]] = head, shape, array.dtype, size

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
