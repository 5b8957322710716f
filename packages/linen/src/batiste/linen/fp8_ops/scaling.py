"""The scale of 8-bit floating numbers, and rounding to them.

An array is divided by its scale, so that it fills the range of the 8-bit dtype, and
rounded. The scale of a step comes from the largest magnitudes of some steps before,
which are kept in a history.
"""

from __future__ import annotations

from typing import Any

from jax import numpy as jnp

from ..types import Array, ArrayLike, Dtype
from .accumulation import as_float, in_dtype_of

__all__ = [
    "compute_amax_history",
    "compute_scale",
    "dequantize",
    "get_fp8_max",
    "qdq",
    "quantize",
    "quantize_dequantize_update",
    "update_fp8_meta",
]

_SUPPORTED = (
    jnp.float8_e4m3fn,
    jnp.float8_e5m2,
    jnp.float8_e4m3fnuz,
    jnp.float8_e5m2fnuz,
)


def get_fp8_max(fp8_dtype: Dtype, out_dtype: Dtype) -> Any:
    """Returns the largest finite number of an 8-bit dtype.

    Args:
      fp8_dtype: `float8_e4m3fn`, `float8_e5m2`, `float8_e4m3fnuz` or
        `float8_e5m2fnuz`.
      out_dtype: the dtype of the result.

    Returns:
      A NumPy scalar.

    Raises:
      ValueError: `fp8_dtype` is another dtype.

    >>> import jax.numpy as jnp
    >>> float(get_fp8_max(jnp.float8_e4m3fn, jnp.float32))
    448.0
    """
    if not any(fp8_dtype == dtype for dtype in _SUPPORTED):
        names = ", ".join(dtype.__name__ for dtype in _SUPPORTED)
        raise ValueError(
            f"numbers are not scaled to {fp8_dtype!r}; the dtypes that they can be "
            f"scaled to are {names} of jax.numpy"
        )
    return jnp.finfo(fp8_dtype).max.astype(out_dtype)


def _spread(scale: ArrayLike, dtype: Dtype, shape: tuple[int, ...]) -> Array:
    """Returns `scale`, of one element, in another dtype and shape."""
    scale = jnp.asarray(scale, dtype)
    if not shape:
        return jnp.reshape(scale, ())
    return jnp.broadcast_to(scale, shape)


def quantize(x: Array, q_dtype: Dtype, scale: ArrayLike, compute_dtype: Dtype) -> Array:
    """Rounds `x / scale` to 8-bit numbers; what is out of range becomes the largest.

    Args:
      x: an array of any shape.
      q_dtype: an 8-bit dtype, as in `get_fp8_max`.
      scale: a scalar, or an array of shape (1,).
      compute_dtype: the dtype of the scale and the bounds.

    Returns:
      An array of the shape of `x`, of dtype `q_dtype`.

    Raises:
      ValueError: `q_dtype` is no supported 8-bit dtype.

    >>> import jax.numpy as jnp
    >>> x = quantize(jnp.array([1.1, 1e4]), jnp.float8_e4m3fn, 2.0, jnp.float32)
    >>> x.tolist()
    [0.5625, 448.0]
    """
    largest = get_fp8_max(q_dtype, compute_dtype)
    scaled = x / _spread(scale, compute_dtype, x.shape)
    return jnp.clip(scaled, -largest, largest).astype(q_dtype)


def dequantize(x: Array, dq_dtype: Dtype, scale: ArrayLike) -> Array:
    """Returns `x * scale` in a wider dtype.

    Args:
      x: an array of any shape, usually of 8-bit numbers.
      dq_dtype: the dtype of the result.
      scale: a scalar, or an array of shape (1,).

    >>> import jax.numpy as jnp
    >>> dequantize(jnp.array([0.5], jnp.float8_e4m3fn), jnp.float32, 2.0).tolist()
    [1.0]
    """
    return x.astype(dq_dtype) * _spread(scale, dq_dtype, x.shape)


def qdq(x: Array, q_dtype: Dtype, scale: ArrayLike, compute_dtype: Dtype) -> Array:
    """Rounds `x` to what 8-bit numbers can hold at this scale, and keeps its size.

    Args:
      x: an array of any shape.
      q_dtype: an 8-bit dtype, as in `get_fp8_max`.
      scale: a scalar, or an array of shape (1,).
      compute_dtype: the dtype of the scale and the bounds.

    Returns:
      An array of the shape and dtype of `x`.

    Raises:
      ValueError: `q_dtype` is no supported 8-bit dtype.

    >>> import jax.numpy as jnp
    >>> qdq(jnp.array([1.1]), jnp.float8_e4m3fn, 2.0, jnp.float32).tolist()
    [1.125]
    """
    return dequantize(quantize(x, q_dtype, scale, compute_dtype), x.dtype, scale)


def compute_scale(
    amax: Array, scale: Array, fp8_max: ArrayLike, margin: int = 0
) -> Array:
    """Returns the scale at which `amax` becomes the largest 8-bit number.

    Args:
      amax: the largest magnitude that was seen. Where it is not positive and finite,
        the scale stays what it is.
      scale: the scale so far, of shape (1,).
      fp8_max: the largest 8-bit number.
      margin: how many bits of the range to leave free.

    Returns:
      An array of shape (1,).

    >>> import jax.numpy as jnp
    >>> compute_scale(jnp.array(896.0), jnp.ones(1), 448.0).tolist()
    [2.0]
    >>> compute_scale(jnp.array(0.0), jnp.ones(1), 448.0).tolist()
    [1.0]
    """
    # Computed as its reciprocal, which is what rounds.
    old = 1.0 / scale
    new = (fp8_max / amax) / (2**margin)
    new = jnp.where(amax > 0.0, new, old)
    new = jnp.where(jnp.isfinite(amax), new, old)
    return 1.0 / new


def compute_amax_history(x: Array, amax_history: Array) -> Array:
    """Returns the history with the largest magnitude in `x` in the place of its oldest.

    Args:
      x: an array of any shape, with at least one element.
      amax_history: an array of shape (length,).

    Returns:
      An array of shape (length,), with the newest number first and the others in the
      order in which they will be dropped.

    >>> import jax.numpy as jnp
    >>> x, history = jnp.array([-5.0, 2.0]), jnp.array([3.0, 2.0, 1.0])
    >>> compute_amax_history(x, history).tolist()
    [5.0, 1.0, 3.0]
    """
    amax = jnp.max(jnp.abs(x)).astype(amax_history.dtype)
    return jnp.roll(amax_history, -1).at[0].set(amax)


def update_fp8_meta(
    x: Array, q_dtype: Dtype, scale: Array, amax_history: Array
) -> tuple[Array, Array]:
    """Returns the scale that the history asks for, and the history with `x` in it.

    Args:
      x: an array of any shape, with at least one element.
      q_dtype: an 8-bit dtype, as in `get_fp8_max`.
      scale: the scale so far, of shape (1,).
      amax_history: the largest magnitudes before, of shape (length,).

    Returns:
      The new scale, and the new history, in their shapes and dtypes.

    Raises:
      ValueError: `q_dtype` is no supported 8-bit dtype.

    >>> import jax.numpy as jnp
    >>> x, history = jnp.array([3.0]), jnp.array([896.0, 0.0])
    >>> scale, history = update_fp8_meta(x, jnp.float8_e4m3fn, jnp.ones(1), history)
    >>> scale.tolist(), history.tolist()
    ([2.0], [3.0, 896.0])
    """
    history, old = as_float(amax_history), as_float(scale)
    largest = get_fp8_max(q_dtype, jnp.float32)
    new = compute_scale(jnp.max(history, axis=0), old, largest)
    history = compute_amax_history(x, history)
    return in_dtype_of(new, scale), in_dtype_of(history, amax_history)


def quantize_dequantize_update(
    x: Array, q_dtype: Dtype, scale: Array, amax_history: Array, compute_dtype: Dtype
) -> tuple[Array, Array, Array]:
    """Rounds `x` as `qdq` does, at the scale that `update_fp8_meta` returns.

    Args:
      x: an array of any shape, with at least one element.
      q_dtype: an 8-bit dtype, as in `get_fp8_max`.
      scale: the scale so far, of shape (1,).
      amax_history: the largest magnitudes before, of shape (length,).
      compute_dtype: the dtype of the scale and the bounds.

    Returns:
      The rounded `x`, the new scale and the new history.

    Raises:
      ValueError: `q_dtype` is no supported 8-bit dtype.

    >>> import jax.numpy as jnp
    >>> x, scale, history = quantize_dequantize_update(
    ...     jnp.array([1.1]), jnp.float8_e4m3fn, jnp.ones(1), jnp.zeros(2), jnp.float32
    ... )
    >>> [array.tolist() for array in (x, scale, history)]
    [[1.125], [1.0], [1.100000023841858, 0.0]]
    """
    new_scale, new_history = update_fp8_meta(x, q_dtype, scale, amax_history)
    rounded = qdq(x, q_dtype, as_float(new_scale), compute_dtype)
    return rounded, new_scale, new_history
