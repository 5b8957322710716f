"""Names for the types that signatures of models and layers share.

They are for annotations. Most are no classes, and nothing checks them when a program
runs, but where an example shows it.

>>> from batiste.flax.typing import Array, Dtype, Shape
>>> def init(key: PRNGKey, shape: Shape, dtype: Dtype) -> Array: ...
"""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Generic, Optional, Protocol, TypeGuard, TypeVar, Union

import jax
import numpy as np
from jax import lax

from batiste.core.frozen_dict import FrozenDict
from batiste.core.lift.axes import In, Out
from batiste.core.scope import CollectionFilter, PRNGSequenceFilter

__all__ = [
    "MISSING",
    "Array",
    "ArrayPytree",
    "Axes",
    "Axis",
    "AxisName",
    "Collection",
    "CollectionFilter",
    "ConvGeneralDilatedT",
    "DotGeneralT",
    "Dtype",
    "EinsumT",
    "FrozenVariableDict",
    "HashableMapping",
    "In",
    "InOutAxis",
    "InOutScanAxis",
    "Initializer",
    "K",
    "Key",
    "LaxPadding",
    "Leaf",
    "LogicalNames",
    "LogicalPartitionSpec",
    "LogicalPartitionSpecPytree",
    "LogicalRules",
    "Missing",
    "MutableCollection",
    "MutableVariableDict",
    "Out",
    "PRNGFoldable",
    "PRNGKey",
    "PRNGSequenceFilter",
    "PaddingLike",
    "PartitionSpecPytree",
    "Path",
    "PathParts",
    "PrecisionLike",
    "PromoteDtypeFn",
    "PytreeDeque",
    "RNGSequences",
    "ScanAxis",
    "Shape",
    "ShapeDtype",
    "Sharding",
    "SizeBytes",
    "T",
    "V",
    "VariableDict",
    "has_shape_dtype",
    "is_key_like",
]


T = TypeVar("T")
K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

# Arrays, their shapes and their dtypes.
Array = Union[jax.Array, Any]  # noqa: UP007 (for `isinstance`, it is no class)
PRNGKey = jax.Array
Dtype = Union[str, type[Any], np.dtype, Any]  # noqa: UP007
Shape = Sequence[int]
Axis = Optional[int]  # noqa: UP045
Axes = int | Sequence[int]
ArrayPytree = Any
Leaf = Any

# Collections of variables, and the keys that they are made with.
PRNGFoldable = int | str
RNGSequences = dict[str, PRNGKey]
Collection = Mapping[str, Any]
MutableCollection = dict[str, Any]
VariableDict = Mapping[str, Collection]
FrozenVariableDict = FrozenDict[str, Collection]
MutableVariableDict = dict[str, MutableCollection]

# Fields of layers.
Initializer = Union[jax.nn.initializers.Initializer, Callable[..., Any]]  # noqa: UP007
DotGeneralT = Callable[..., Array]
ConvGeneralDilatedT = Callable[..., Array]
EinsumT = Callable[..., Array]
LaxPadding = str | Sequence[tuple[int, int]]
PaddingLike = str | int | Sequence[int | tuple[int, int]]
PrecisionLike = (
    None | str | lax.Precision | tuple[str, str] | tuple[lax.Precision, lax.Precision]
)

# Axes of lifted transforms.
ScanAxis = int
InOutAxis = Union[Axis, In[Axis], Out[Axis]]  # noqa: UP007
InOutScanAxis = Union[ScanAxis, In[ScanAxis], Out[ScanAxis]]  # noqa: UP007

# Names of axes of arrays and of meshes.
AxisName = str | tuple[str, ...] | None
LogicalNames = tuple[str | None, ...]
LogicalRules = Sequence[tuple[str, AxisName]]
LogicalPartitionSpec = Any
LogicalPartitionSpecPytree = Any
PartitionSpecPytree = Any
Sharding = tuple[AxisName, ...]

Path = str


class Key(Hashable, Protocol):
    """What a path is made of: it can be hashed and ordered, as a name or a number."""

    def __lt__(self, value: Any, /) -> bool: ...


PathParts = tuple[Key, ...]


def is_key_like(x: Any) -> TypeGuard[Key]:
    """Tells whether a value can be hashed and ordered, as a key of a path must be.

    >>> is_key_like("kernel"), is_key_like([1])
    (True, False)
    """
    return isinstance(x, Hashable) and hasattr(x, "__lt__")


class PromoteDtypeFn(Protocol):
    """Brings arrays to one dtype, as `batiste.linen.dtypes.promote_dtype` does."""

    def __call__(
        self, *args: Any, dtype: Any = None, inexact: bool = True
    ) -> list[Any]:
        """Returns the arrays in the one dtype."""
        ...


class ShapeDtype(Protocol):
    """Anything with a shape and a dtype."""

    shape: Shape
    dtype: Any


def has_shape_dtype(x: Any) -> TypeGuard[ShapeDtype]:
    """Tells whether a value has a shape and a dtype, as arrays do.

    >>> has_shape_dtype(np.ones(2)), has_shape_dtype(2.0)
    (True, False)
    """
    return hasattr(x, "shape") and hasattr(x, "dtype")


@dataclasses.dataclass(frozen=True, repr=False)
class SizeBytes:
    """A number of elements, and of the bytes that they take.

    Args:
      size: number of elements.
      bytes: number of bytes.

    >>> SizeBytes.from_array(np.ones((2, 3), np.float32))
    6 (24 B)
    >>> SizeBytes(6, 24) + SizeBytes(1, 4)
    7 (28 B)
    """

    size: int
    bytes: int

    @classmethod
    def from_array(cls, x: ShapeDtype) -> SizeBytes:
        """Measures an array, or a description of one."""
        size = int(np.prod(x.shape))
        # Keys have a dtype that NumPy does not know.
        dtype = x.dtype if hasattr(x.dtype, "itemsize") else np.dtype(x.dtype)
        return cls(size, size * dtype.itemsize)

    @classmethod
    def from_any(cls, x: Any) -> SizeBytes:
        """Measures all arrays of a tree together.

        >>> SizeBytes.from_any({'a': np.ones(3, np.int8), 'b': 'text'})
        3 (3 B)
        """
        arrays = filter(has_shape_dtype, jax.tree.leaves(x))
        return sum(map(cls.from_array, arrays), cls(0, 0))

    def __add__(self, other: SizeBytes) -> SizeBytes:
        return SizeBytes(self.size + other.size, self.bytes + other.bytes)

    def __bool__(self) -> bool:
        return bool(self.size)

    def __repr__(self) -> str:
        for unit, scale in (("GB", 10**9), ("MB", 10**6), ("KB", 10**3)):
            if self.bytes > scale:
                return f"{self.size:,} ({self.bytes / scale:,.1f} {unit})"
        return f"{self.size:,} ({self.bytes:,} B)"


class Missing:
    """The type of `MISSING`."""

    def __repr__(self) -> str:
        return "MISSING"


# Stands for an argument that was not given, where None is a value.
MISSING = Missing()


class PytreeDeque(collections.deque[T]):
    """A deque whose elements are children of a tree.

    >>> jax.tree.map(lambda x: x + 1, PytreeDeque([1, 2]))
    PytreeDeque([2, 3])
    """


jax.tree_util.register_pytree_node(
    PytreeDeque,
    lambda xs: (tuple(xs), xs.maxlen),
    lambda maxlen, xs: PytreeDeque(xs, maxlen),
)


class HashableMapping(Mapping[K, V], Generic[K, V]):
    """A mapping that can be hashed, if its values can.

    Args:
      mapping: the mapping, or pairs.
      copy: whether to copy it; without a copy it must not change any more.

    >>> {HashableMapping({'a': 1}): 'found'}[HashableMapping({'a': 1})]
    'found'
    """

    def __init__(
        self, mapping: Mapping[K, V] | Iterable[tuple[K, V]], copy: bool = True
    ):
        keep = not copy and isinstance(mapping, Mapping)
        self._mapping: Mapping[K, V] = mapping if keep else dict(mapping)  # type: ignore

    def __contains__(self, key: object) -> bool:
        return key in self._mapping

    def __getitem__(self, key: K) -> V:
        return self._mapping[key]

    def __iter__(self) -> Iterator[K]:
        return iter(self._mapping)

    def __len__(self) -> int:
        return len(self._mapping)

    def __hash__(self) -> int:
        return hash(frozenset(self._mapping.items()))

    def __eq__(self, other: Any) -> bool:
        return isinstance(other, HashableMapping) and self._mapping == other._mapping

    def update(self, other: Mapping[K, V]) -> HashableMapping[K, V]:
        """Returns a mapping with the entries of both; the other's win.

        >>> dict(HashableMapping({'a': 1}).update({'b': 2}))
        {'a': 1, 'b': 2}
        """
        return HashableMapping({**self._mapping, **other}, copy=False)

    def __repr__(self) -> str:
        return f"HashableMapping({self._mapping!r})"
