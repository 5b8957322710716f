"""Pooling: a reduction over sliding windows of the spatial axes."""

from __future__ import annotations

import math
import numbers
import operator
from collections.abc import Callable, Sequence

import numpy as np
from jax import lax
from jax import numpy as jnp

from batiste.core.arguments import is_explainable, wrong_argument
from batiste.core.errors import InvalidArgumentError
from batiste.core.rules import CALLABLE, SIZES

from . import ops
from .linear.conv_shapes import canonicalize_padding
from .types import Array, ArrayLike, PaddingLike

__all__ = ["avg_pool", "max_pool", "min_pool", "pool"]

# What rounds at each step, and so is not to be done in half precision.
_ROUNDING = (lax.add, lax.mul, jnp.add, jnp.multiply, operator.add, operator.mul)


def pool(
    inputs: ArrayLike,
    init: ArrayLike,
    reduce_fn: Callable[[Array, Array], Array],
    window_shape: Sequence[int] | int,
    strides: Sequence[int] | int | None,
    padding: PaddingLike,
) -> Array:
    """Reduces every window of the spatial axes with `reduce_fn`.

    Gradients exist where JAX knows the reduction, as for `lax.add`, `lax.max` and
    `lax.min`; a function of your own need not have one, even if it is differentiable.
    Sums and products of half-precision numbers are computed in float32.

    Args:
      inputs: an array of shape (*batch, *window dims, features); without a batch axis
        it counts as a batch of one, and the result has none either.
      init: the value that the reduction starts from.
      reduce_fn: an associative function of two arrays.
      window_shape: the size of the window in each spatial dimension. An int is that of
        all axes between the first, of the batch, and the last.
      strides: the step between windows in each spatial dimension; 1 if None.
      padding: "SAME", "SAME_LOWER", "VALID", or an int or (low, high) pair for each
        spatial dimension.

    Returns:
      An array of shape (*batch, *windows, features).

    Raises:
      ValueError: strides or padding do not fit the window, or the input has too few
        axes.

    >>> import jax.numpy as jnp
    >>> from jax import lax
    >>> x = jnp.arange(1.0, 5.0).reshape(1, 4, 1)
    >>> pool(x, 1.0, lax.mul, (2,), (2,), "VALID").ravel().tolist()
    [2.0, 12.0]
    """
    try:
        x = ops.as_array(inputs)
        window = _window(window_shape, x.ndim)
        rank = len(window)
        n_batch = x.ndim - rank - 1
        steps = _steps(strides, window)
        if n_batch < 0:
            raise InvalidArgumentError(
                f"pool: window_shape {window} needs an input of shape (*batch, {rank} "
                f"window dims, features), got shape {x.shape}"
            )
        sides = _sides(padding, window, n_batch)
        if n_batch == 0:
            x = ops.expand_dims(x, (0,))
        ones = (1,) * max(n_batch, 1)
        # Only a scalar that Python knows can tell `lax` which reduction this is.
        static = isinstance(init, (numbers.Number, np.generic))
        reduce_window = ops.reduce_window if static else lax.reduce_window
        dtype = x.dtype
        if reduce_fn in _ROUNDING and jnp.issubdtype(dtype, jnp.inexact):
            x = _widened(x)
            if not static and x.dtype != dtype:
                init = jnp.asarray(init, x.dtype)
        y = reduce_window(
            x, init, reduce_fn, (*ones, *window, 1), (*ones, *steps, 1), sides
        )
        if y.dtype != dtype and x.dtype != dtype:
            y = ops.convert_element_type(y, dtype)
    except Exception as error:
        arguments = {
            "inputs": (inputs, ()),
            "reduce_fn": (reduce_fn, lax.add),
            "window_shape": (window_shape, ()),
            "strides": (strides, None),
            "padding": (padding, "VALID"),
        }
        found = None
        if is_explainable(error) and not isinstance(error, InvalidArgumentError):
            found = wrong_argument("pool", arguments, _RULES, error)
        if found is None:
            raise
        raise found from error
    return ops.squeeze(y, (0,)) if n_batch == 0 else y


def _widened(x: Array) -> Array:
    """Returns `x` in the dtype in which its elements are summed."""
    dtype = ops.accumulator_of(x.dtype)
    return x if x.dtype == dtype else ops.convert_element_type(x, dtype)


_RULES = {"reduce_fn": CALLABLE, "window_shape": SIZES}


def _window(window_shape: Sequence[int] | int, ndim: int) -> tuple[int, ...]:
    """Returns the size of the window along each axis that it has."""
    if isinstance(window_shape, (int, np.integer)):
        return (int(window_shape),) * max(ndim - 2, 1)
    return tuple(map(operator.index, window_shape))


def _steps(
    strides: Sequence[int] | int | None, window: tuple[int, ...]
) -> tuple[int, ...]:
    """Returns the stride along each axis of the window."""
    if strides is None:
        strides = 1
    if isinstance(strides, (int, np.integer)):
        return (int(strides),) * len(window)
    steps = tuple(map(operator.index, strides))
    if len(steps) != len(window):
        raise InvalidArgumentError(
            f"pool: strides {strides} must be an int or have one entry for each of the "
            f"{len(window)} dimensions of window_shape {window}"
        )
    return steps


def _sides(
    padding: PaddingLike, window: tuple[int, ...], n_batch: int
) -> str | tuple[tuple[int, int], ...]:
    """Returns the padding of all axes, or a name that `lax` knows."""
    try:
        sides = canonicalize_padding(padding, len(window))
    except ValueError:
        raise InvalidArgumentError(
            f"pool: padding {padding} is no (low, high) pair for each of the "
            f"{len(window)} dimensions of window_shape {window}; give these, an int "
            "for all of them, or a name such as 'SAME'"
        ) from None
    if not isinstance(sides, str):
        return (*[(0, 0)] * max(n_batch, 1), *sides, (0, 0))
    if sides not in ("SAME", "SAME_LOWER", "VALID"):
        raise InvalidArgumentError(
            f"pool: unknown padding {padding!r}; use 'SAME', 'SAME_LOWER', 'VALID', or "
            "(low, high) pairs, one for each dimension of window_shape"
        )
    return sides


def max_pool(
    inputs: ArrayLike,
    window_shape: Sequence[int] | int,
    strides: Sequence[int] | int | None = None,
    padding: PaddingLike = "VALID",
) -> Array:
    """Returns the maximum of every window.

    Args:
      inputs: an array of shape (*batch, *window dims, features).
      window_shape: the size of the window in each spatial dimension. An int is that of
        all axes between the first, of the batch, and the last.
      strides: the step between windows in each spatial dimension; 1 if None.
      padding: as for `pool`; padded elements are never the maximum.

    Returns:
      An array of shape (*batch, *windows, features), of the dtype of `inputs`.

    Raises:
      ValueError: as `pool` does.

    >>> import jax.numpy as jnp
    >>> x = jnp.array([3.0, 1.0, 2.0, 5.0]).reshape(1, 4, 1)
    >>> max_pool(x, (2,), strides=(2,)).ravel().tolist()
    [3.0, 5.0]
    """
    return pool(inputs, -math.inf, lax.max, window_shape, strides, padding)


def min_pool(
    inputs: ArrayLike,
    window_shape: Sequence[int] | int,
    strides: Sequence[int] | int | None = None,
    padding: PaddingLike = "VALID",
) -> Array:
    """Returns the minimum of every window.

    Args:
      inputs: an array of shape (*batch, *window dims, features).
      window_shape: the size of the window in each spatial dimension. An int is that of
        all axes between the first, of the batch, and the last.
      strides: the step between windows in each spatial dimension; 1 if None.
      padding: as for `pool`; padded elements are never the minimum.

    Returns:
      An array of shape (*batch, *windows, features), of the dtype of `inputs`.

    Raises:
      ValueError: as `pool` does.

    >>> import jax.numpy as jnp
    >>> x = jnp.array([3.0, 1.0, 2.0, 5.0]).reshape(1, 4, 1)
    >>> min_pool(x, (2,), strides=(2,)).ravel().tolist()
    [1.0, 2.0]
    """
    return pool(inputs, math.inf, lax.min, window_shape, strides, padding)


def avg_pool(
    inputs: ArrayLike,
    window_shape: Sequence[int] | int,
    strides: Sequence[int] | int | None = None,
    padding: PaddingLike = "VALID",
    count_include_pad: bool = True,
) -> Array:
    """Returns the mean of every window.

    Sums are computed in float32 or wider, whatever the dtype of the input.

    Args:
      inputs: an array of shape (*batch, *window dims, features).
      window_shape: the size of the window in each spatial dimension. An int is that of
        all axes between the first, of the batch, and the last.
      strides: the step between windows in each spatial dimension; 1 if None.
      padding: as for `pool`.
      count_include_pad: whether padded elements count, as zeros, in the mean.

    Returns:
      An array of shape (*batch, *windows, features), of the dtype of `inputs` if that
      is inexact, or else of float32.

    Raises:
      ValueError: as `pool` does.

    >>> import jax.numpy as jnp
    >>> x = jnp.array([3.0, 1.0, 2.0, 5.0]).reshape(1, 4, 1)
    >>> avg_pool(x, (2,), strides=(2,)).ravel().tolist()
    [2.0, 3.5]
    >>> ends = avg_pool(x, (3,), padding="SAME", count_include_pad=False)
    >>> ends.ravel().tolist()
    [2.0, 2.0, 2.6666667461395264, 3.5]
    """
    try:
        x = ops.as_array(inputs)
        window = _window(window_shape, x.ndim)
    except Exception:
        # It says which of them is wrong.
        pool(inputs, 0.0, lax.add, window_shape, strides, padding)
        raise
    dtype = x.dtype
    x, window_shape = _widened(x), window
    y = pool(x, 0.0, lax.add, window_shape, strides, padding)
    if count_include_pad:
        y = y / math.prod(window_shape)
    else:
        rank = len(tuple(window_shape))
        spatial = x.shape[x.ndim - rank - 1 : -1]
        ones = jnp.ones((1, *spatial, 1), x.dtype)
        counts = pool(ones, 0.0, lax.add, window_shape, strides, padding)
        # One batch axis broadcasts against any number of them, none included.
        y = y / counts.reshape(counts.shape[1:])
    if y.dtype != dtype and jnp.issubdtype(dtype, jnp.inexact):
        y = ops.convert_element_type(y, dtype)
    return y
