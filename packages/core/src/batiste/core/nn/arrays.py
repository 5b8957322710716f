"""What the functional layers share: axes as tuples, and arrays of one dtype."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeAlias

import jax
import jax.numpy as jnp
from jax import lax

from ..errors import InvalidArgumentError
from ..types import Array, ArrayLike, Dtype

__all__ = ["Precision", "as_tuple", "cast", "normalize_axes"]

Precision: TypeAlias = lax.PrecisionLike
"""The precision of products, of both operands or of each; as in `jax.lax`."""


def as_tuple(value: int | Iterable[int]) -> tuple[int, ...]:
    """Returns several integers as a tuple, and a single one as a tuple of one.

    >>> as_tuple(-1), as_tuple([0, 2])
    ((-1,), (0, 2))
    """
    return tuple(value) if isinstance(value, Iterable) else (value,)


def cast(x: ArrayLike, dtype: Dtype) -> Array:
    """Returns `x` as an array of `dtype`, without an equation if it is one already.

    >>> cast(jnp.arange(2), jnp.float32)
    Array([0., 1.], dtype=float32)
    """
    if isinstance(x, jax.Array) and x.dtype == dtype and not x.weak_type:
        return x
    return jnp.asarray(x, dtype)


def normalize_axes(axes: Iterable[int], ndim: int) -> tuple[int, ...]:
    """Returns axes counted from the front, in the order in which they were given.

    Args:
      axes: axes of an array, those below zero counted from its end.
      ndim: the number of axes that the array has.

    Raises:
      ValueError: the array lacks one of the axes, or one is named twice.

    >>> normalize_axes((-1, 0), ndim=3)
    (2, 0)
    """
    axes = tuple(axes)
    normalized = tuple(axis + ndim if axis < 0 else axis for axis in axes)
    missing = any(not 0 <= axis < ndim for axis in normalized)
    if missing or len(set(normalized)) < len(normalized):
        raise InvalidArgumentError(
            f"Axes {axes} do not name distinct axes of an input with {ndim} "
            f"dimensions. Use values from {-ndim} to {ndim - 1}, each axis once."
        )
    return normalized
