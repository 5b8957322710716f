"""Names for the types of the fields that layers share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeAlias

from jax import lax

from batiste.core.types import Array, ArrayLike, Dtype, Initializer, Key, Shape

__all__ = [
    "Array",
    "ArrayLike",
    "Axes",
    "ConvGeneralDilated",
    "DotGeneral",
    "Dtype",
    "Einsum",
    "Initializer",
    "Key",
    "Padding",
    "PaddingLike",
    "PrecisionLike",
    "PromoteDtypeFn",
    "Shape",
]

Axes: TypeAlias = int | Sequence[int]
"""Axes of an array, or one of them; below zero they count from the end."""

DotGeneral: TypeAlias = Callable[..., Array]
"""What a layer calls in place of `jax.lax.dot_general`, with its arguments."""

ConvGeneralDilated: TypeAlias = Callable[..., Array]
"""What a layer calls in place of `jax.lax.conv_general_dilated`."""

Einsum: TypeAlias = Callable[..., Array]
"""What a layer calls in place of `jax.numpy.einsum`: `einsum(spec, x, y)`."""

PaddingLike: TypeAlias = str | int | Sequence[int | tuple[int, int]]
"""A name, an int for all sides, or for each dimension an int or (low, high)."""

Padding: TypeAlias = str | Sequence[tuple[int, int]]
"""A name that `jax.lax` knows, or (low, high) for each dimension."""

PrecisionLike: TypeAlias = (
    None | str | lax.Precision | tuple[str, str] | tuple[lax.Precision, lax.Precision]
)
"""The precision of products, of both operands or of each; as in `jax.lax`."""


class PromoteDtypeFn(Protocol):
    """Brings arrays to one dtype, as `batiste.linen.dtypes.promote_dtype` does."""

    def __call__(
        self, *args: Any, dtype: Dtype | None = None, inexact: bool = True
    ) -> list[Any]:
        """Returns `args` as arrays of one dtype; None stays None."""
        ...
