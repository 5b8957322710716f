"""Products of two arrays in 8-bit numbers, and their gradients."""

from __future__ import annotations

import itertools
import warnings
from functools import partial
from typing import Any

import jax
import numpy as np
from jax import lax
from jax import numpy as jnp

from ..types import Array, Dtype, PrecisionLike
from .accumulation import as_float
from .rounding import in_q, out_dq
from .scaling import dequantize, quantize, update_fp8_meta

__all__ = [
    "dot_general_transpose_lhs",
    "dot_general_transpose_rhs",
    "dot_general_with_precision",
    "dot_general_with_precision_jvp",
    "fp8_scaled_dot_general",
    "quantized_dot",
    "quantized_dot_bwd",
    "quantized_dot_fwd",
]

# Gradients are summed exactly; forward, what the hardware does fastest is enough.
_FORWARD = lax.Precision.DEFAULT
_BACKWARD = lax.Precision.HIGHEST


def dot_general_transpose_lhs(
    g: Array,
    x: Array,
    y: Array,
    *,
    dimension_numbers: lax.DotDimensionNumbers,
    precision: PrecisionLike,
    preferred_element_type: Dtype | None,
    swap_ans: bool = False,
) -> Array:
    """Returns the gradient of the left factor of `lax.dot_general(x, y)`.

    Args:
      g: the gradient of the product.
      x: the left factor, of which the rank is used.
      y: the right factor.
      dimension_numbers: those of the product.
      precision: as in `jax.lax.dot_general`.
      preferred_element_type: as in `jax.lax.dot_general`.
      swap_ans: whether `g` has the axes of `y` before those of `x`, as the gradient of
        `lax.dot_general(y, x)` does.

    Returns:
      An array of the shape of `x`.

    >>> import jax.numpy as jnp
    >>> dot_general_transpose_lhs(
    ...     jnp.ones((2, 4)), jnp.ones((2, 3)), jnp.ones((3, 4)),
    ...     dimension_numbers=(((1,), (0,)), ((), ())), precision=None,
    ...     preferred_element_type=None,
    ... ).tolist()
    [[4.0, 4.0, 4.0], [4.0, 4.0, 4.0]]
    """
    (x_contracted, y_contracted), (x_batch, y_batch) = dimension_numbers
    x_kept = _others(np.ndim(x), x_contracted, x_batch)
    y_kept = _others(np.ndim(y), y_contracted, y_batch)
    # The axes of the product: those of the batch, of `x`, of `y`.
    g_batch = tuple(range(len(x_batch)))
    first = len(x_batch) if swap_ans else len(x_batch) + len(x_kept)
    g_of_y = tuple(range(first, first + len(y_kept)))
    product = lax.dot_general(
        g,
        y,
        ((g_of_y, y_kept), (g_batch, tuple(y_batch))),
        precision=precision,
        preferred_element_type=preferred_element_type,
    )
    # What is left of `y` comes in the order of its own axes.
    by_y = sorted(zip(y_contracted, x_contracted, strict=True))
    axes = (*x_batch, *x_kept, *(axis for _, axis in by_y))
    return lax.transpose(product, tuple(int(i) for i in np.argsort(axes)))


def dot_general_transpose_rhs(
    g: Array,
    x: Array,
    y: Array,
    *,
    dimension_numbers: lax.DotDimensionNumbers,
    precision: PrecisionLike,
    preferred_element_type: Dtype | None,
) -> Array:
    """Returns the gradient of the right factor of `lax.dot_general(x, y)`.

    Args:
      g: the gradient of the product.
      x: the left factor.
      y: the right factor, of which the rank is used.
      dimension_numbers: those of the product.
      precision: as in `jax.lax.dot_general`.
      preferred_element_type: as in `jax.lax.dot_general`.

    Returns:
      An array of the shape of `y`.

    >>> import jax.numpy as jnp
    >>> dot_general_transpose_rhs(
    ...     jnp.ones((2, 4)), jnp.ones((2, 3)), jnp.ones((3, 4)),
    ...     dimension_numbers=(((1,), (0,)), ((), ())), precision=None,
    ...     preferred_element_type=None,
    ... ).tolist()
    [[2.0, 2.0, 2.0, 2.0], [2.0, 2.0, 2.0, 2.0], [2.0, 2.0, 2.0, 2.0]]
    """
    (x_contracted, y_contracted), (x_batch, y_batch) = dimension_numbers
    return dot_general_transpose_lhs(
        g,
        y,
        x,
        dimension_numbers=((y_contracted, x_contracted), (y_batch, x_batch)),
        precision=precision,
        preferred_element_type=preferred_element_type,
        swap_ans=True,
    )


def _others(ndim: int, *axes: Any) -> tuple[int, ...]:
    """Returns the axes that are in none of the groups."""
    named = set(itertools.chain.from_iterable(axes))
    return tuple(axis for axis in range(ndim) if axis not in named)


@partial(jax.custom_vjp, nondiff_argnums=(8, 9))
def quantized_dot(
    lhs: Array,
    q_lhs: Array,
    lhs_scale: Array,
    rhs: Array,
    q_rhs: Array,
    rhs_scale: Array,
    out_grad_scale: Array,
    out_grad_amax_history: Array,
    dimension_numbers: lax.DotDimensionNumbers,
    preferred_element_type: Dtype | None = None,
) -> Array:
    """Multiplies two arrays of 8-bit numbers.

    The gradient is rounded to `float8_e5m2` and multiplied with the 8-bit factors, and
    goes to `lhs` and `rhs`. The gradients of the last two arrays are their values for
    the next step.

    Args:
      lhs: the left factor before it was rounded; only its gradient is of use.
      q_lhs: the left factor in 8-bit numbers.
      lhs_scale: its scale, of shape (1,).
      rhs: the right factor before it was rounded; only its gradient is of use.
      q_rhs: the right factor in 8-bit numbers.
      rhs_scale: its scale, of shape (1,).
      out_grad_scale: the scale of the gradient so far, of shape (1,).
      out_grad_amax_history: the largest magnitudes of gradients before, of shape
        (length,).
      dimension_numbers: as in `jax.lax.dot_general`.
      preferred_element_type: the dtype of the product and of the gradients.

    Returns:
      The product, which the scales have yet to be multiplied to: see `out_dq`.

    >>> import jax.numpy as jnp
    >>> x, one = jnp.ones((2, 3)), jnp.ones(1)
    >>> q = x.astype(jnp.float8_e4m3fn)
    >>> dimensions = (((1,), (1,)), ((), ()))
    >>> quantized_dot(
    ...     x, q, one, x, q, one, one, jnp.zeros(2), dimensions, jnp.float32
    ... ).tolist()
    [[3.0, 3.0], [3.0, 3.0]]
    """
    return lax.dot_general(
        q_lhs,
        q_rhs,
        dimension_numbers,
        precision=_FORWARD,
        preferred_element_type=preferred_element_type,
    )


def quantized_dot_fwd(
    lhs: Array,
    q_lhs: Array,
    lhs_scale: Array,
    rhs: Array,
    q_rhs: Array,
    rhs_scale: Array,
    out_grad_scale: Array,
    out_grad_amax_history: Array,
    dimension_numbers: lax.DotDimensionNumbers,
    preferred_element_type: Dtype | None,
) -> tuple[Array, tuple[Array, ...]]:
    """Returns what `quantized_dot` does, and all its arrays."""
    arrays = (
        *(lhs, q_lhs, lhs_scale, rhs, q_rhs, rhs_scale),
        *(out_grad_scale, out_grad_amax_history),
    )
    product: Any = quantized_dot(*arrays, dimension_numbers, preferred_element_type)
    return product, arrays


def quantized_dot_bwd(
    dimension_numbers: lax.DotDimensionNumbers,
    preferred_element_type: Dtype | None,
    res: tuple[Array, ...],
    g: Array,
) -> tuple[Array | None, ...]:
    """Returns the gradients of the factors, and the statistics of the next step."""
    lhs, q_lhs, lhs_scale, rhs, q_rhs, rhs_scale, scale, history = res
    compute_dtype = preferred_element_type or jnp.float32
    q_dtype = jnp.float8_e5m2
    new_scale, new_history = update_fp8_meta(g, q_dtype, scale, history)
    g_scale = as_float(new_scale)
    q_g = quantize(g, q_dtype, g_scale, compute_dtype)
    like_forward: Any = {
        "dimension_numbers": dimension_numbers,
        "precision": _BACKWARD,
        "preferred_element_type": preferred_element_type,
    }
    grad_lhs = dot_general_transpose_lhs(q_g, lhs, q_rhs, **like_forward)
    grad_lhs = dequantize(grad_lhs, compute_dtype, as_float(rhs_scale) * g_scale)
    grad_rhs = dot_general_transpose_rhs(q_g, q_lhs, rhs, **like_forward)
    grad_rhs = dequantize(grad_rhs, compute_dtype, as_float(lhs_scale) * g_scale)
    return grad_lhs, None, None, grad_rhs, None, None, new_scale, new_history


quantized_dot.defvjp(quantized_dot_fwd, quantized_dot_bwd)


def fp8_scaled_dot_general(
    lhs: Array,
    rhs: Array,
    dimension_numbers: lax.DotDimensionNumbers,
    precision: PrecisionLike = None,
    preferred_element_type: Dtype | None = None,
    *,
    lhs_scale: Any = None,
    rhs_scale: Any = None,
    grad_scale: Any = None,
    lhs_amax_history: Any = None,
    rhs_amax_history: Any = None,
    grad_amax_history: Any = None,
    quantize_compute_type: Dtype = jnp.float32,
) -> Array:
    """Multiplies two arrays as `jax.lax.dot_general` does, in 8-bit numbers.

    The factors are rounded to `float8_e4m3fn`, the gradient to `float8_e5m2`. The
    gradients of the six statistics are their values for the next step.

    Args:
      lhs: the left factor.
      rhs: the right factor.
      dimension_numbers: as in `jax.lax.dot_general`.
      precision: is not used; anything but None is warned about.
      preferred_element_type: the dtype of the result and of the gradients; float32 if
        None, after a product that is rounded to 8 bits.
      lhs_scale: the scale of `lhs` so far, of shape (1,).
      rhs_scale: the scale of `rhs` so far, of shape (1,).
      grad_scale: the scale of the gradient so far, of shape (1,).
      lhs_amax_history: the largest magnitudes in `lhs` before, of shape (length,).
      rhs_amax_history: the largest magnitudes in `rhs` before, of shape (length,).
      grad_amax_history: the largest magnitudes of gradients before, of shape
        (length,).
      quantize_compute_type: the dtype of the scales and bounds in rounding.

    Raises:
      TypeError: a scale or history is missing.

    >>> import jax.numpy as jnp
    >>> scales = dict.fromkeys(("lhs_scale", "rhs_scale", "grad_scale"), jnp.ones(1))
    >>> names = ("lhs_amax_history", "rhs_amax_history", "grad_amax_history")
    >>> histories = dict.fromkeys(names, jnp.zeros(2))
    >>> x = jnp.array([[1.1]])
    >>> fp8_scaled_dot_general(
    ...     x, x, (((1,), (0,)), ((), ())), None, jnp.float32, **scales, **histories
    ... ).tolist()
    [[1.265625]]
    """
    statistics = {
        "lhs_scale": lhs_scale,
        "rhs_scale": rhs_scale,
        "grad_scale": grad_scale,
        "lhs_amax_history": lhs_amax_history,
        "rhs_amax_history": rhs_amax_history,
        "grad_amax_history": grad_amax_history,
    }
    missing = [name for name, value in statistics.items() if value is None]
    if missing:
        raise TypeError(
            f"fp8_scaled_dot_general() lacks {', '.join(missing)}; give each scale as "
            "an array of shape (1,), each history as one of shape (length,)"
        )
    if precision is not None:
        warnings.warn(
            f"precision={precision!r} has no effect on fp8_scaled_dot_general, which "
            "chooses the precision itself; leave it out",
            stacklevel=2,
        )
    q_dtype = jnp.float8_e4m3fn
    quantized: Any = in_q(
        quantize_compute_type, q_dtype, lhs, lhs_scale, lhs_amax_history
    )
    q_lhs, lhs_scale = quantized
    quantized = in_q(quantize_compute_type, q_dtype, rhs, rhs_scale, rhs_amax_history)
    q_rhs, rhs_scale = quantized
    product = quantized_dot(
        *(lhs, q_lhs, lhs_scale, rhs, q_rhs, rhs_scale, grad_scale, grad_amax_history),
        dimension_numbers,
        preferred_element_type,
    )
    return out_dq(preferred_element_type or jnp.float32, lhs_scale, rhs_scale, product)


@partial(jax.custom_jvp, nondiff_argnums=(2, 3, 4))
def dot_general_with_precision(
    lhs: Array,
    rhs: Array,
    dimension_numbers: lax.DotDimensionNumbers,
    precision: PrecisionLike = None,
    preferred_element_type: Dtype | None = None,
) -> Array:
    """Calls `lax.dot_general` with the default precision, and the highest in gradients.

    Args:
      lhs: the left factor.
      rhs: the right factor.
      dimension_numbers: as in `jax.lax.dot_general`.
      precision: is not used; anything but None is warned about.
      preferred_element_type: is not used; anything but None is warned about.

    >>> import jax.numpy as jnp
    >>> x = jnp.ones((2, 3))
    >>> dot_general_with_precision(x, x, (((1,), (1,)), ((), ()))).tolist()
    [[3.0, 3.0], [3.0, 3.0]]
    """
    if precision is not None or preferred_element_type is not None:
        warnings.warn(
            f"{precision=} and {preferred_element_type=} have no effect on "
            "dot_general_with_precision, which chooses them itself; leave them out",
            stacklevel=2,
        )
    return lax.dot_general(lhs, rhs, dimension_numbers, precision=_FORWARD)


@dot_general_with_precision.defjvp
def dot_general_with_precision_jvp(
    dimension_numbers: lax.DotDimensionNumbers,
    precision: PrecisionLike,
    preferred_element_type: Dtype | None,
    primals: tuple[Array, Array],
    tangents: tuple[Array, Array],
) -> tuple[Array, Array]:
    """Returns the product, and its derivative along `tangents`."""
    (lhs, rhs), (lhs_dot, rhs_dot) = primals, tangents
    out = lax.dot_general(lhs, rhs, dimension_numbers, precision=_FORWARD)
    of_lhs = lax.dot_general(lhs_dot, rhs, dimension_numbers, precision=_BACKWARD)
    of_rhs = lax.dot_general(lhs, rhs_dot, dimension_numbers, precision=_BACKWARD)
    return out, of_lhs + of_rhs
