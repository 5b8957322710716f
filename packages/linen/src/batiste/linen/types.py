"""Names for the types of the fields that layers share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from jax import lax

__all__ = [
    "Array",
    "Axes",
    "ConvGeneralDilated",
    "DotGeneral",
    "Dtype",
    "Initializer",
    "PaddingLike",
    "PrecisionLike",
    "PromoteDtypeFn",
    "Shape",
]

Array = Any
Dtype = Any
Shape = Sequence[int]
Axes = int | Sequence[int]
Initializer = Callable[..., Any]
DotGeneral = Callable[..., Array]
ConvGeneralDilated = Callable[..., Array]
PaddingLike = str | int | Sequence[int | tuple[int, int]]
PrecisionLike = (
    None | str | lax.Precision | tuple[str, str] | tuple[lax.Precision, lax.Precision]
)


class PromoteDtypeFn(Protocol):
    """Brings arrays to one dtype, as `batiste.linen.dtypes.promote_dtype` does."""

    def __call__(
        self, *args: Any, dtype: Dtype | None = None, inexact: bool = True
    ) -> list[Any]: ...
