"""Two trees, compared leaf by leaf: paths, shapes, dtypes, bits, largest difference."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Final, NamedTuple

import numpy as np

from .dtypes import dtype_from_name
from .elements import Elements, elements_of
from .errors import SerializationError, join_path
from .types import Leaf, Tree

__all__ = [
    "Difference",
    "compare",
    "describe",
    "leaves_of",
]


_BLOCK: Final = 2**22  # bytes that are compared at once


class Difference(NamedTuple):
    """What differs at a path.

    Attributes:
      path: the path.
      first: what the first tree has there; None if nothing.
      second: what the second one has.
      unequal: how many elements differ, in value or only in bits; None where the two
        cannot be laid on one another.
      size: how many elements there are.
      largest: the largest difference between two elements, which is NaN where one of
        them is; None where elements are no numbers.

    >>> Difference("bias", "float32[3]", "float32[3]", 1, 3, 0.5).text()
    'bias: 1 of 3 elements of float32[3] differ, at most by 0.5'
    """

    path: str
    first: str | None
    second: str | None
    unequal: int | None = None
    size: int = 0
    largest: float | None = None

    def text(self) -> str:
        """Says it in one line.

        >>> Difference("step", "7", "8").text()
        'step: 7 and 8'
        """
        if self.first is None or self.second is None:
            where = "first" if self.second is None else "second"
            return f"{self.path}: only in the {where}, {self.first or self.second}"
        most = "" if self.largest is None else f", at most by {self.largest:g}"
        if self.unequal is None:
            return f"{self.path}: {self.first} and {self.second}{most}"
        some = f"{self.unequal} of {self.size} elements"
        if self.first != self.second:
            both = f"{self.first} and {self.second}"
            return f"{self.path}: {both}, {some} differ{most}"
        return f"{self.path}: {some} of {self.first} differ{most}"


def compare(
    first: Tree, second: Tree, progress: Callable[[int], None] = lambda nbytes: None
) -> Iterator[Difference]:
    """Compares two trees.

    Lists count as dicts whose keys are positions, and scalars of NumPy as arrays
    without axes. Arrays are read block by block.

    Args:
      first: dicts and lists with arrays, `Elements` and other leaves.
      second: likewise.
      progress: is called with numbers of bytes of the first tree as they are compared.

    Yields:
      What differs, in the order of the first tree; then what only the second has.

    Raises:
      SerializationError: an array cannot be read.

    >>> [d.text() for d in compare({"a": np.arange(3)}, {"a": np.array([0, 1, 4])})]
    ['a: 1 of 3 elements of int64[3] differ, at most by 2']
    """
    ours, theirs = leaves_of(first), leaves_of(second)
    for path, leaf in ours.items():
        name = join_path(path)
        if path not in theirs:
            yield Difference(name, describe(leaf), None)
        elif found := _leaves(name, leaf, theirs[path], progress):
            yield found
    for path, leaf in theirs.items():
        if path not in ours:
            yield Difference(join_path(path), None, describe(leaf))


def leaves_of(tree: Tree) -> dict[tuple[str, ...], Leaf]:
    """Gives the leaves of a tree by their paths; empty containers are leaves.

    >>> leaves_of({"a": [1, {}]})
    {('a', '0'): 1, ('a', '1'): {}}
    """
    found: dict[tuple[str, ...], Leaf] = {}
    stack: list[tuple[tuple[str, ...], Tree]] = [((), tree)]
    while stack:
        path, value = stack.pop()
        if isinstance(value, (Mapping, list, tuple)) and value:
            is_map = isinstance(value, Mapping)
            items = value.items() if is_map else enumerate(value)
            below = [((*path, str(key)), item) for key, item in items]
            stack.extend(reversed(below))
        else:
            found[path] = value
    if isinstance(tree, (Mapping, list, tuple)):
        found.pop((), None)  # a root without anything
    return found


def describe(leaf: Leaf) -> str:
    """Says what a leaf is: dtype and shape, or the value.

    >>> describe(np.zeros((2, 3), "float32")), describe(7), describe(b"ab")
    ('float32[2, 3]', '7', 'bytes[2]')
    """
    elements = elements_of(leaf)
    if elements is not None:
        return f"{elements.dtype}[{', '.join(map(str, elements.shape))}]"
    if isinstance(leaf, bytes):
        return f"bytes[{len(leaf)}]"
    if isinstance(leaf, (Mapping, list, tuple)):
        return "nothing"
    text = repr(leaf[:50] if isinstance(leaf, str) else leaf)
    return text if len(text) <= 60 else f"{text[:59]}…"


def _leaves(
    name: str, one: Leaf, other: Leaf, progress: Callable[[int], None]
) -> Difference | None:
    ours, theirs = elements_of(one), elements_of(other)
    first, second = describe(one), describe(other)
    if ours is None or theirs is None:
        if ours is None and theirs is None and _same(one, other):
            return None
        return Difference(name, first, second)
    if ours.shape != theirs.shape:
        progress(ours.nbytes)
        return Difference(name, first, second)
    try:
        count, largest = _elements(ours, theirs, progress)
    except SerializationError as error:
        error.path = error.path or name
        raise
    if not count and first == second:
        return None
    size = int(np.prod(ours.shape, dtype=object))
    return Difference(name, first, second, count, size, largest)


def _same(one: Leaf, other: Leaf) -> bool:
    if isinstance(one, (Mapping, list, tuple)):
        return isinstance(other, (Mapping, list, tuple))
    # To the bit, and a NaN is like itself.
    return (
        type(one) is type(other)
        and (one == other or one != one)
        and (repr(one) == repr(other))
    )


def _elements(
    ours: Elements, theirs: Elements, progress: Callable[[int], None]
) -> tuple[int, float | None]:
    """How many elements of two arrays differ, and by how much at most."""
    dtypes = dtype_from_name(ours.dtype), dtype_from_name(theirs.dtype)
    alike = dtypes[0] == dtypes[1]
    step = max(1, _BLOCK // max(d.itemsize for d in dtypes) or 1)
    count, largest = 0, None
    pairs = zip(
        _blocks(ours, step * dtypes[0].itemsize),
        _blocks(theirs, step * dtypes[1].itemsize),
        strict=True,
    )
    for one, other in pairs:
        progress(len(one))
        if alike and np.array_equal(one, other):
            continue
        a, b = one.view(dtypes[0]), other.view(dtypes[1])
        if alike:
            size = dtypes[0].itemsize
            differ = (one.reshape(-1, size) != other.reshape(-1, size)).any(axis=1)
            a, b = a[differ], b[differ]
            count += len(a)
            most = _largest(a, b)
        else:
            most = _largest(a, b)
            count += _unequal(_wide(a), _wide(b), len(a))
        if most is not None:
            largest = most if largest is None else float(np.fmax(largest, most))
            largest = most if most != most else largest
    return count, largest


def _unequal(a: np.ndarray | None, b: np.ndarray | None, count: int) -> int:
    """How many values of two dtypes differ: all, where these are no numbers."""
    if a is None or b is None:
        return count
    return int(np.count_nonzero((a != b) & ~((a != a) & (b != b))))


def _largest(a: np.ndarray, b: np.ndarray) -> float | None:
    if a.dtype == b.dtype and a.dtype.kind in "iu":
        high, low = np.maximum(a, b), np.minimum(a, b)
        gaps = high.astype(np.uint64) - low.astype(np.uint64)
        return float(gaps.max()) if len(gaps) else None
    wide = _wide(a), _wide(b)
    if wide[0] is None or wide[1] is None or not len(a):
        return None
    with np.errstate(all="ignore"):
        return float(np.abs(wide[0] - wide[1]).max())


def _wide(array: np.ndarray) -> np.ndarray | None:
    """Numbers with room for their differences; None for what is no number."""
    kind = array.dtype.kind
    if kind in "cW":  # W is that of the complex numbers of ml_dtypes
        return array.astype(np.clongdouble if kind == "c" else np.complex128)
    if kind in "biuf" or (kind == "V" and array.dtype.names is None):
        try:
            return array.astype(np.longdouble if kind == "f" else np.float64)
        except (TypeError, ValueError):
            return None  # raw bytes
    return None


def _blocks(elements: Elements, size: int) -> Iterator[np.ndarray]:
    """The bytes of an array in blocks of one size, but for the last."""
    rest = np.empty(0, np.uint8)
    for part in elements.parts():
        more = np.frombuffer(part, np.uint8)
        if len(rest):
            more = np.concatenate([rest, more])
        whole = len(more) - len(more) % size if size else 0
        for start in range(0, whole, size):
            yield more[start : start + size]
        rest = more[whole:].copy()
    if len(rest):
        yield rest
