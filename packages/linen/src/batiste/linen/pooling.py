"""Pooling: a reduction over sliding windows of the spatial axes."""

from __future__ import annotations

import math
import numbers
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from jax import lax
from jax import numpy as jnp

from . import ops
from .linear.conv_shapes import canonicalize_padding
from .types import Array, PaddingLike

__all__ = ["avg_pool", "max_pool", "min_pool", "pool"]

_STRIDES = (
    "pool: strides {strides} must be an int or have one entry for each of the "
    "{rank} dimensions of window_shape {window}"
)
_PADDING_NAME = "pool: unknown padding {padding!r}; use 'SAME', 'SAME_LOWER', 'VALID', "
_PADDING_NAME += "or (low, high) pairs, one for each dimension of window_shape"
_PADDING = (
    "pool: padding {padding} must be a str or specify pads for the same number of "
    "dims as window_shape {window}, as one (low, high) pair each"
)
_RANK = (
    "pool: window_shape {window} needs an input of shape (*batch, {rank} window dims, "
    "features), got shape {shape}"
)


def pool(
    inputs: Array,
    init: Any,
    reduce_fn: Callable[[Array, Array], Array],
    window_shape: Sequence[int],
    strides: Sequence[int] | int | None,
    padding: PaddingLike,
) -> Array:
    """Reduces every window of the spatial axes with `reduce_fn`.

    Gradients exist where JAX knows the reduction, as for `lax.add`, `lax.max` and
    `lax.min`; a function of your own need not have one, even if it is differentiable.

    Args:
      inputs: an array of shape (*batch, *window dims, features); without a batch axis
        it counts as a batch of one, and the result has none either.
      init: the value that the reduction starts from.
      reduce_fn: an associative function of two arrays.
      window_shape: the size of the window in each spatial dimension.
      strides: the step between windows in each spatial dimension; 1 if None.
      padding: "SAME", "SAME_LOWER", "VALID", or an int or (low, high) pair for each
        spatial dimension.

    Raises:
      ValueError: strides or padding do not fit the window, or the input has too few
        axes.

    >>> import jax.numpy as jnp
    >>> from jax import lax
    >>> x = jnp.arange(1.0, 5.0).reshape(1, 4, 1)
    >>> pool(x, 1.0, lax.mul, (2,), (2,), "VALID").ravel().tolist()
    [2.0, 12.0]
    """
    inputs = ops.as_array(inputs)
    window = tuple(window_shape)
    rank = len(window)
    if strides is None:
        strides = 1
    steps = (strides,) * rank if isinstance(strides, int) else tuple(strides)
    if len(steps) != rank:
        raise ValueError(_STRIDES.format(strides=strides, rank=rank, window=window))
    n_batch = inputs.ndim - rank - 1
    if n_batch < 0:
        raise ValueError(_RANK.format(window=window, rank=rank, shape=inputs.shape))
    sides: Any = padding
    if isinstance(padding, str):
        if padding.upper() not in ("SAME", "SAME_LOWER", "VALID"):
            raise ValueError(_PADDING_NAME.format(padding=padding))
    else:
        try:
            pairs = canonicalize_padding(padding, rank)
        except ValueError:
            raise ValueError(_PADDING.format(padding=padding, window=window)) from None
        sides = ((0, 0),) * max(n_batch, 1) + tuple(pairs) + ((0, 0),)

    single = n_batch == 0
    if single:
        inputs = ops.expand_dims(inputs, (0,))
        n_batch = 1
    # Only a scalar that Python knows can tell `lax` which reduction this is.
    static = isinstance(init, (numbers.Number, np.generic))
    reduce = ops.reduce_window if static else lax.reduce_window
    y = reduce(
        inputs,
        init,
        reduce_fn,
        (1,) * n_batch + window + (1,),
        (1,) * n_batch + steps + (1,),
        sides,
    )
    return ops.squeeze(y, (0,)) if single else y


def max_pool(
    inputs: Array,
    window_shape: Sequence[int],
    strides: Sequence[int] | int | None = None,
    padding: PaddingLike = "VALID",
) -> Array:
    """The maximum of every window; arguments as for `pool`.

    >>> import jax.numpy as jnp
    >>> x = jnp.array([3.0, 1.0, 2.0, 5.0]).reshape(1, 4, 1)
    >>> max_pool(x, (2,), strides=(2,)).ravel().tolist()
    [3.0, 5.0]
    """
    return pool(inputs, -math.inf, lax.max, window_shape, strides, padding)


def min_pool(
    inputs: Array,
    window_shape: Sequence[int],
    strides: Sequence[int] | int | None = None,
    padding: PaddingLike = "VALID",
) -> Array:
    """The minimum of every window; arguments as for `pool`.

    >>> import jax.numpy as jnp
    >>> x = jnp.array([3.0, 1.0, 2.0, 5.0]).reshape(1, 4, 1)
    >>> min_pool(x, (2,), strides=(2,)).ravel().tolist()
    [1.0, 2.0]
    """
    return pool(inputs, math.inf, lax.min, window_shape, strides, padding)


def avg_pool(
    inputs: Array,
    window_shape: Sequence[int],
    strides: Sequence[int] | int | None = None,
    padding: PaddingLike = "VALID",
    count_include_pad: bool = True,
) -> Array:
    """The mean of every window; arguments as for `pool`.

    Args:
      count_include_pad: whether padded elements count, as zeros, in the mean.

    >>> import jax.numpy as jnp
    >>> x = jnp.array([3.0, 1.0, 2.0, 5.0]).reshape(1, 4, 1)
    >>> avg_pool(x, (2,), strides=(2,)).ravel().tolist()
    [2.0, 3.5]
    >>> ends = avg_pool(x, (3,), padding="SAME", count_include_pad=False)
    >>> ends.ravel().tolist()
    [2.0, 2.0, 2.6666667461395264, 3.5]
    """
    inputs = ops.as_array(inputs)
    y = pool(inputs, 0.0, lax.add, window_shape, strides, padding)
    if count_include_pad:
        return y / math.prod(window_shape)
    rank = len(tuple(window_shape))
    spatial = inputs.shape[inputs.ndim - rank - 1 : -1]
    ones = jnp.ones((1, *spatial, 1))
    counts = pool(ones, 0.0, lax.add, window_shape, strides, padding)
    # One batch axis broadcasts against any number of them, none included.
    return y / counts.reshape(counts.shape[1:])
