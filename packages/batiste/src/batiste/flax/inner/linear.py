"""Helpers of `flax.linen.linear` that copies of its layers use.

>>> _conv_dimension_numbers((8, 32, 32, 3)).lhs_spec
(0, 3, 1, 2)
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from jax import lax

from batiste.linen import ops

__all__ = ["_canonicalize_tuple", "_conv_dimension_numbers", "_normalize_axes"]


def _conv_dimension_numbers(input_shape: Sequence[int]) -> lax.ConvDimensionNumbers:
    """Describes a convolution whose features are the last axis of all arrays."""
    rank = len(input_shape)
    outer = (0, rank - 1, *range(1, rank - 1))
    kernel = (rank - 1, rank - 2, *range(rank - 2))
    return lax.ConvDimensionNumbers(outer, kernel, outer)


def _normalize_axes(axes: Iterable[int], ndim: int) -> tuple[int, ...]:
    """Counts axes from the front, in increasing order.

    >>> _normalize_axes((-1, 0), 3)
    (0, 2)
    """
    return tuple(sorted(axis if axis >= 0 else ndim + axis for axis in axes))


def _canonicalize_tuple(x: Sequence[int] | int) -> tuple[int, ...]:
    """Makes a tuple of a number or of several.

    >>> _canonicalize_tuple(3), _canonicalize_tuple([1, 2])
    ((3,), (1, 2))
    """
    return ops.as_tuple(x)
