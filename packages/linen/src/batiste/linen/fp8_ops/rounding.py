"""Rounding with rules for gradients: the "gradient" of a statistic is its next value.

Each function here has two more, by JAX's convention: `..._fwd`, what it computes where
gradients are wanted, and what it keeps for them; `..._bwd`, the gradients.
"""

from __future__ import annotations

from functools import partial

import jax

from ..types import Array, Dtype
from .accumulation import as_float
from .scaling import (
    dequantize,
    quantize,
    quantize_dequantize_update,
    update_fp8_meta,
)

__all__ = [
    "in_q",
    "in_q_bwd",
    "in_q_fwd",
    "in_qdq",
    "in_qdq_bwd",
    "in_qdq_fwd",
    "out_dq",
    "out_dq_bwd",
    "out_dq_fwd",
    "out_qdq",
    "out_qdq_bwd",
    "out_qdq_fwd",
]


@partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def in_qdq(
    compute_dtype: Dtype, q_dtype: Dtype, inp: Array, scale: Array, amax_history: Array
) -> Array:
    """Rounds a factor of a product to what 8-bit numbers can hold.

    The gradient passes unchanged; those of `scale` and `amax_history` are their values
    for the next step.

    Args:
      compute_dtype: the dtype of the scale and the bounds.
      q_dtype: an 8-bit dtype, as in `get_fp8_max`.
      inp: an array of any shape, with at least one element.
      scale: the scale so far, of shape (1,).
      amax_history: the largest magnitudes before, of shape (length,).

    Returns:
      An array of the shape and dtype of `inp`.

    Raises:
      ValueError: `q_dtype` is no supported 8-bit dtype.

    >>> import jax
    >>> import jax.numpy as jnp
    >>> def total(history):
    ...     x = jnp.array([1.1])
    ...     return in_qdq(x.dtype, jnp.float8_e4m3fn, x, jnp.ones(1), history).sum()
    >>> jax.grad(total)(jnp.zeros(2)).tolist()
    [1.100000023841858, 0.0]
    """
    return quantize_dequantize_update(inp, q_dtype, scale, amax_history, compute_dtype)[
        0
    ]


def in_qdq_fwd(
    compute_dtype: Dtype, q_dtype: Dtype, inp: Array, scale: Array, amax_history: Array
) -> tuple[Array, tuple[Array, Array]]:
    """Returns what `in_qdq` does, and the statistics of the next step."""
    rounded, new_scale, new_history = quantize_dequantize_update(
        inp, q_dtype, scale, amax_history, compute_dtype
    )
    return rounded, (new_scale, new_history)


def in_qdq_bwd(
    compute_dtype: Dtype, q_dtype: Dtype, res: tuple[Array, Array], g: Array
) -> tuple[Array, Array, Array]:
    """Returns the gradient as it came, and the statistics of the next step."""
    return g, *res


in_qdq.defvjp(in_qdq_fwd, in_qdq_bwd)


@partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def out_qdq(
    compute_dtype: Dtype, q_dtype: Dtype, out: Array, scale: Array, amax_history: Array
) -> Array:
    """Returns a product as it is, and rounds its gradient.

    The gradients of `scale` and `amax_history` are their values for the next step.

    Args:
      compute_dtype: the dtype of the scale and the bounds.
      q_dtype: the 8-bit dtype of the gradient, as in `get_fp8_max`.
      out: an array of any shape, with at least one element.
      scale: the scale so far, of shape (1,).
      amax_history: the largest magnitudes of gradients before, of shape (length,).

    >>> import jax
    >>> import jax.numpy as jnp
    >>> def total(x):
    ...     q_dtype, history = jnp.float8_e5m2, jnp.zeros(2)
    ...     return 1.1 * out_qdq(x.dtype, q_dtype, x, jnp.ones(1), history).sum()
    >>> jax.grad(total)(jnp.ones(1)).tolist()
    [1.0]
    """
    return out


def out_qdq_fwd(
    compute_dtype: Dtype, q_dtype: Dtype, out: Array, scale: Array, amax_history: Array
) -> tuple[Array, tuple[Array, Array]]:
    """Returns `out`, and the statistics so far."""
    return out, (scale, amax_history)


def out_qdq_bwd(
    compute_dtype: Dtype, q_dtype: Dtype, res: tuple[Array, Array], g: Array
) -> tuple[Array, Array, Array]:
    """Returns the rounded gradient, and the statistics of the next step."""
    return quantize_dequantize_update(g, q_dtype, *res, compute_dtype)


out_qdq.defvjp(out_qdq_fwd, out_qdq_bwd)


@partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def in_q(
    compute_dtype: Dtype, q_dtype: Dtype, inp: Array, scale: Array, amax_history: Array
) -> tuple[Array, Array]:
    """Turns a factor of a product into 8-bit numbers.

    `inp` gets no gradient by this way: `quantized_dot` gives it. The gradients of
    `scale` and `amax_history` are their values for the next step.

    Args:
      compute_dtype: the dtype of the scale and the bounds.
      q_dtype: an 8-bit dtype, as in `get_fp8_max`.
      inp: an array of any shape, with at least one element.
      scale: the scale so far, of shape (1,).
      amax_history: the largest magnitudes before, of shape (length,).

    Returns:
      The 8-bit numbers, of the shape of `inp`, and their scale, of shape (1,).

    Raises:
      ValueError: `q_dtype` is no supported 8-bit dtype.

    >>> import jax.numpy as jnp
    >>> x, scale = in_q(
    ...     jnp.float32, jnp.float8_e4m3fn, jnp.array([1.1]), jnp.ones(1), jnp.zeros(2)
    ... )
    >>> x.dtype, x.tolist(), scale.tolist()
    (dtype(float8_e4m3fn), [1.125], [1.0])
    """
    return in_q_fwd(compute_dtype, q_dtype, inp, scale, amax_history)[0]


def in_q_fwd(
    compute_dtype: Dtype, q_dtype: Dtype, inp: Array, scale: Array, amax_history: Array
) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
    """Returns what `in_q` does, and the statistics of the next step."""
    new_scale, new_history = update_fp8_meta(inp, q_dtype, scale, amax_history)
    quantized = quantize(inp, q_dtype, as_float(new_scale), compute_dtype)
    return (quantized, new_scale), (new_scale, new_history)


def in_q_bwd(
    compute_dtype: Dtype, q_dtype: Dtype, res: tuple[Array, Array], _: object
) -> tuple[None, Array, Array]:
    """Returns no gradient, and the statistics of the next step."""
    return None, *res


in_q.defvjp(in_q_fwd, in_q_bwd)


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def out_dq(dq_type: Dtype, lhs_scale: Array, rhs_scale: Array, out: Array) -> Array:
    """Multiplies a product of 8-bit numbers with the scales of its factors.

    The gradient passes unchanged: `quantized_dot` takes the scales into account.

    Args:
      dq_type: the dtype of the result.
      lhs_scale: the scale of one factor, of shape (1,).
      rhs_scale: the scale of the other, of shape (1,).
      out: an array of any shape.

    >>> import jax.numpy as jnp
    >>> out_dq(jnp.float32, jnp.full(1, 2.0), jnp.full(1, 3.0), jnp.ones(2)).tolist()
    [6.0, 6.0]
    """
    return dequantize(out, dq_type, as_float(lhs_scale) * as_float(rhs_scale))


def out_dq_fwd(
    dq_type: Dtype, lhs_scale: Array, rhs_scale: Array, out: Array
) -> tuple[Array, None]:
    """Returns what `out_dq` does; nothing is kept."""
    return out_dq(dq_type, lhs_scale, rhs_scale, out), None


def out_dq_bwd(dq_type: Dtype, _: None, g: Array) -> tuple[None, None, Array]:
    """Returns the gradient as it came."""
    return None, None, g


out_dq.defvjp(out_dq_fwd, out_dq_bwd)
