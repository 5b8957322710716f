"""Mean and variance of the elements that a normalization layer puts together."""

from __future__ import annotations

import functools
import math
from typing import TYPE_CHECKING, Any

import jax
import numpy as np
from jax import lax
from jax import numpy as jnp

from ..module.text import located
from ..ops import eager_jit
from ..types import Array, Axes, Dtype

if TYPE_CHECKING:
    from ..module.module import Module

__all__ = ["as_mask", "canonical_axes", "moments"]

_BAD_AXIS = (
    "{module}: {field}={axes} names axis {axis}, which an input of shape {shape} does "
    "not have; give axes between {low} and {high}"
)
_MASK = (
    "{module}: the mask of shape {mask} does not broadcast to the input of shape "
    "{shape}; give it that shape, with 1 where all elements of an axis are alike"
)


@functools.cache
def _at_least_float32(dtype: Any) -> np.dtype:
    return np.dtype(jnp.promote_types(dtype, jnp.float32))


@functools.cache
def _accumulator(dtype: np.dtype) -> np.dtype:
    """The dtype in which numbers of `dtype` are summed for a mean."""
    wide = dtype.itemsize >= 4 and jnp.issubdtype(dtype, jnp.inexact)
    return dtype if wide else _at_least_float32(dtype)


def _squared_parts(x: Array) -> tuple[Array, Array]:
    return lax.square(lax.real(x)), lax.square(lax.imag(x))


def _mean(x: Array, axes: tuple[int, ...]) -> Array:
    accumulator = _accumulator(x.dtype)
    total = x
    if accumulator != x.dtype:
        total = lax.convert_element_type(x, accumulator)
    total = lax.reduce_sum(total, axes)
    count = math.prod(x.shape[axis] for axis in axes)
    mean = lax.div(total, np.asarray(count, accumulator))
    return mean if accumulator == x.dtype else lax.convert_element_type(mean, x.dtype)


def _masked_mean(x: Array, mask: Array, axes: tuple[int, ...]) -> Array:
    accumulator = _accumulator(x.dtype)
    if mask.shape != x.shape:
        mask = lax.broadcast_in_dim(mask, x.shape, tuple(range(x.ndim)))
    count = lax.reduce_sum(lax.convert_element_type(mask, accumulator), axes)
    total = x
    if accumulator != x.dtype:
        total = lax.convert_element_type(x, accumulator)
    total = lax.select(mask, total, lax.full_like(total, 0))
    mean = lax.div(lax.reduce_sum(total, axes), count)
    return mean if accumulator == x.dtype else lax.convert_element_type(mean, x.dtype)


def _difference_from(x: Array, mean: Array, axes: tuple[int, ...]) -> Array:
    return lax.sub(x, lax.expand_dims(mean, axes))


def _positive_difference(a: Array, b: Array) -> Array:
    return lax.max(lax.sub(a, b), np.zeros((), a.dtype))


# Products are apart from the sums that follow, as `eager` explains.
_square_real = eager_jit(lax.square)
_square_parts = eager_jit(_squared_parts)
_add = eager_jit(lax.add)
_average = eager_jit(_mean, static_argnums=(1,))
_masked_average = eager_jit(_masked_mean, static_argnums=(2,))
_center = eager_jit(_difference_from, static_argnums=(2,))
_clipped_sub = eager_jit(_positive_difference)


def _square(x: Array) -> Array:
    """The squared modulus of `x`, which is real."""
    if jnp.issubdtype(x.dtype, jnp.complexfloating):
        return _add(*_square_parts(x))
    return _square_real(x)


def canonical_axes(
    module: Module, field: str, axes: Axes, shape: tuple[int, ...]
) -> tuple[int, ...]:
    """The axes counted from the front, in that order.

    Raises:
      ValueError: an array of `shape` does not have such an axis.
    """
    rank = len(shape)
    if isinstance(axes, int) and -rank <= axes < rank:
        return (axes % rank,)
    found = set()
    for axis in (axes,) if isinstance(axes, int) else axes:
        if not -rank <= axis < rank:
            raise ValueError(
                _BAD_AXIS.format(
                    module=located(module),
                    field=field,
                    axes=axes,
                    axis=axis,
                    shape=shape,
                    low=-rank,
                    high=rank - 1,
                )
            )
        found.add(axis % rank)
    return tuple(sorted(found))


def as_mask(module: Module, mask: Any, shape: tuple[int, ...]) -> Any:
    """`mask` as booleans, with as many axes as `shape` has.

    Raises:
      ValueError: it does not broadcast to `shape`.
    """
    mask = jnp.asarray(mask)
    try:
        fits = np.broadcast_shapes(mask.shape, shape) == shape
    except ValueError:
        fits = False
    if not fits:
        raise ValueError(
            _MASK.format(module=located(module), mask=mask.shape, shape=shape)
        )
    if mask.dtype != jnp.bool_:
        mask = lax.ne(mask, np.zeros((), mask.dtype))
    return lax.expand_dims(mask, range(len(shape) - mask.ndim))


def moments(
    x: Array,
    axes: tuple[int, ...],
    dtype: Dtype | None,
    *,
    axis_name: str | None = None,
    axis_index_groups: Any = None,
    use_mean: bool = True,
    use_fast_variance: bool = True,
    force_float32_reductions: bool = True,
    mask: Array | None = None,
) -> tuple[Array | None, Array]:
    """The mean and the variance of `x` over `axes`.

    Args:
      x: an array.
      axes: the axes to reduce, counted from the front.
      dtype: the dtype of the layer, if it has one.
      axis_name: the mapped axis over which the moments are averaged as well.
      axis_index_groups: the groups of devices along it, as in `jax.lax.pmean`.
      use_mean: if not, the mean is taken to be zero, and None is returned for it.
      use_fast_variance: whether the variance is the mean of the squares less the
        square of the mean, clipped at zero, which reads `x` only once; or else the
        mean of the squared differences, which is more exact.
      force_float32_reductions: whether to compute in float32 or wider.
      mask: booleans that broadcast to `x`: where to count its elements.

    Returns:
      Arrays of the shape of `x` without the axes. The variance is real.

    >>> import jax.numpy as jnp
    >>> mean, var = moments(jnp.array([[1.0, 3.0], [5.0, 5.0]]), (1,), None)
    >>> mean.tolist(), var.tolist()
    ([2.0, 5.0], [1.0, 0.0])
    """
    working: Any = x.dtype if dtype is None else dtype
    if force_float32_reductions or not jnp.issubdtype(working, jnp.inexact):
        working = _at_least_float32(working)
    if x.dtype != working:
        x = jnp.asarray(x, working)

    def average(values: Array) -> Array:
        if mask is None:
            return _average(values, axes)
        return _masked_average(values, mask, axes)

    def across_devices(values: Any) -> Any:
        if axis_name is None:
            return values
        return jax.lax.pmean(values, axis_name, axis_index_groups=axis_index_groups)

    if not use_mean:
        return None, across_devices(average(_square(x)))
    if use_fast_variance:
        # Together, so that devices exchange numbers once.
        mean, mean_square = across_devices((average(x), average(_square(x))))
        return mean, _clipped_sub(mean_square, _square(mean))
    mean = across_devices(average(x))
    return mean, across_devices(average(_square(_center(x, mean, axes))))
