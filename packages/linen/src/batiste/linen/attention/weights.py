"""Attention itself: mixing values by the similarity of queries and keys.

    attention(q, k, v) = softmax(q kᵀ / √depth + bias) v

for each head, with -∞ for what the mask hides (Vaswani et al. 2017, arXiv:1706.03762).
"""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp

from batiste.core.errors import InvalidArgumentError, InvalidRngError

from .. import ops
from ..dtypes import promote_dtype
from ..module.module import Module
from ..types import (
    Array,
    ArrayLike,
    DotGeneral,
    Dtype,
    Einsum,
    Key,
    PrecisionLike,
)
from .masks import as_bool

__all__ = ["check_rate", "dot_product_attention", "dot_product_attention_weights"]


def dot_product_attention_weights(
    query: ArrayLike,
    key: ArrayLike,
    bias: ArrayLike | None = None,
    mask: ArrayLike | None = None,
    broadcast_dropout: bool = True,
    dropout_rng: Key | None = None,
    dropout_rate: float = 0.0,
    deterministic: bool = False,
    dtype: Dtype | None = None,
    precision: PrecisionLike = None,
    module: Module | None = None,
    force_fp32_for_softmax: bool = False,
    einsum_dot_general: DotGeneral | None = None,
    einsum: Einsum | None = None,
) -> Array:
    """How much of each value every query takes, before the values are mixed.

    This is the first half of `dot_product_attention`, for those who want to look at
    the weights or to mix the values in another way.

    Args:
      query: array of shape (*batch, q_length, heads, depth).
      key: array of shape (*batch, kv_length, heads, depth).
      bias: array to add before the softmax, that broadcasts to
        (*batch, heads, q_length, kv_length).
      mask: array that broadcasts to the same shape; weights where it is False are 0.
      broadcast_dropout: whether all batch indices and heads drop the same weights.
      dropout_rng: PRNG key for dropout.
      dropout_rate: probability, from 0 to 1, of dropping a weight.
      deterministic: whether to skip dropout.
      dtype: the dtype of the computation; inferred from query and key if None.
      precision: as in `jax.lax.dot_general`.
      module: a bound module to sow the weights into, as `attention_weights` in the
        collection "intermediates".
      force_fp32_for_softmax: whether to compute the softmax, and return the weights,
        in float32.
      einsum_dot_general: what to call in place of `jax.lax.dot_general`.
      einsum: what to call, as `einsum(spec, query, key)`, in place of `jnp.einsum`.

    Returns:
      Array of shape (*batch, heads, q_length, kv_length).

    Raises:
      ValueError: the shapes do not match, the rate is not a probability, or `einsum`
        is combined with `precision` or `einsum_dot_general`.
      InvalidRngError: weights are to be dropped and there is no `dropout_rng`.

    >>> x = jnp.ones((2, 5, 3, 4))
    >>> dot_product_attention_weights(x, x).shape
    (2, 3, 5, 5)
    """
    # [batch..., q, heads, depth] and [batch..., kv, heads, depth]
    q, k = promote_dtype(query, key, dtype=dtype)
    working = q.dtype
    _check_shapes(q, k)
    check_rate("dropout_rate", dropout_rate)
    if einsum is not None and (precision, einsum_dot_general) != (None, None):
        raise InvalidArgumentError(
            "an einsum of one's own leaves no product to hand precision="
            f"{precision} and einsum_dot_general={einsum_dot_general} to; build them "
            "into the einsum instead"
        )

    q = ops.div_const(q, math.sqrt(q.shape[-1]))
    # [batch..., heads, q, kv], and so from here on
    if einsum is not None:
        scores = einsum("...qhd,...khd->...hqk", q, k)
    else:
        scores = _scores(q, k, precision, einsum_dot_general)
    if bias is not None:
        scores = scores + bias
    if mask is not None:
        # The least number of the computation's dtype, whatever the bias made of it.
        scores = ops.where(as_bool(mask), scores, float(jnp.finfo(working).min))
    weights = _softmax(scores, working, force_fp32_for_softmax)
    if module is not None:
        module.sow("intermediates", "attention_weights", weights)
    if not deterministic and dropout_rate != 0.0:
        weights = _drop(weights, dropout_rate, dropout_rng, broadcast_dropout, working)
    return weights


def dot_product_attention(
    query: ArrayLike,
    key: ArrayLike,
    value: ArrayLike,
    bias: ArrayLike | None = None,
    mask: ArrayLike | None = None,
    broadcast_dropout: bool = True,
    dropout_rng: Key | None = None,
    dropout_rate: float = 0.0,
    deterministic: bool = False,
    dtype: Dtype | None = None,
    precision: PrecisionLike = None,
    module: Module | None = None,
    force_fp32_for_softmax: bool = False,
    einsum_dot_general: DotGeneral | None = None,
    qk_attn_weights_einsum: Einsum | None = None,
    attn_weights_value_einsum: Einsum | None = None,
) -> Array:
    """Mixes values by the similarity of queries and keys, for each head.

    There may be any number of batch axes, or none.

    Args:
      query: array of shape (*batch, q_length, heads, depth).
      key: array of shape (*batch, kv_length, heads, depth).
      value: array of shape (*batch, kv_length, heads, v_depth).
      bias: array to add before the softmax, that broadcasts to
        (*batch, heads, q_length, kv_length).
      mask: array that broadcasts to the same shape; what is False is not attended to.
      broadcast_dropout: whether all batch indices and heads drop the same weights.
      dropout_rng: PRNG key for dropout.
      dropout_rate: probability, from 0 to 1, of dropping a weight.
      deterministic: whether to skip dropout.
      dtype: the dtype of the computation; inferred from the inputs if None.
      precision: as in `jax.lax.dot_general`.
      module: a bound module to sow the weights into, as `attention_weights` in the
        collection "intermediates".
      force_fp32_for_softmax: whether to compute the softmax in float32.
      einsum_dot_general: what to call in place of `jax.lax.dot_general`.
      qk_attn_weights_einsum: what to call in place of `jnp.einsum`, as
        `einsum(spec, query, key)`.
      attn_weights_value_einsum: the same, as `einsum(spec, weights, value)`.

    Returns:
      Array of shape (*batch, q_length, heads, v_depth).

    Raises:
      ValueError: the shapes do not match, the rate is not a probability, only one of
        the einsums is given, or they are combined with `precision` or
        `einsum_dot_general`.
      InvalidRngError: weights are to be dropped and there is no `dropout_rng`.

    Vaswani et al. 2017, arXiv:1706.03762.

    >>> query, memory = jnp.ones((2, 5, 3, 4)), jnp.ones((2, 7, 3, 4))
    >>> dot_product_attention(query, memory, memory).shape
    (2, 5, 3, 4)
    """
    # [batch..., q, heads, depth], and twice [batch..., kv, heads, depth]
    q, k, v = promote_dtype(query, key, value, dtype=dtype)
    _check_shapes(q, k, v)
    if (qk_attn_weights_einsum is None) != (attn_weights_value_einsum is None):
        missing = "qk_attn_weights_einsum"
        if qk_attn_weights_einsum is not None:
            missing = "attn_weights_value_einsum"
        raise InvalidArgumentError(
            "of the two einsums of attention, of queries with keys and of weights with "
            f"values, one was given and {missing} was not; pass both or neither"
        )
    # [batch..., heads, q, kv]
    weights = dot_product_attention_weights(
        q,
        k,
        bias,
        mask,
        broadcast_dropout,
        dropout_rng,
        dropout_rate,
        deterministic,
        q.dtype,
        precision,
        module,
        force_fp32_for_softmax,
        einsum_dot_general,
        qk_attn_weights_einsum,
    )
    # [batch..., q, heads, depth]
    if attn_weights_value_einsum is not None:
        return attn_weights_value_einsum("...hqk,...khd->...qhd", weights, v)
    return _mix(weights, v, precision, einsum_dot_general)


def check_rate(where: str, rate: float) -> None:
    """Raises unless a dropout rate is a probability.

    Args:
      where: what has the rate, the start of the message.
      rate: the rate.

    Raises:
      ValueError: it is not between 0 and 1.

    >>> check_rate("dropout_rate", 0.5)
    """
    if not 0.0 <= rate <= 1.0:  # false for NaN, too
        raise ValueError(
            f"{where}={rate} is not a probability; pass a number from 0 to 1, the "
            "fraction of attention weights to drop"
        )


def _scores(
    q: Array, k: Array, precision: PrecisionLike, dot_general: DotGeneral | None
) -> Array:
    """Returns `einsum('...qhd,...khd->...hqk')`."""
    n = q.ndim
    batch_and_heads = (*range(n - 3), n - 2)
    dims = (((n - 1,), (n - 1,)), (batch_and_heads, batch_and_heads))
    dtype = _common_dtype(q, k)
    if dot_general is not None:
        return dot_general(q, k, dims, precision, preferred_element_type=dtype)
    return ops.dot_general(q, k, dims, precision, dtype)


def _softmax(scores: Array, dtype: Dtype, force_float32: bool) -> Array:
    """Returns the softmax over the keys, in `dtype` or, if forced, in float32."""
    if force_float32 and dtype != jnp.float32:
        return jax.nn.softmax(scores.astype(jnp.float32))
    weights = jax.nn.softmax(scores)
    return weights if weights.dtype == dtype else weights.astype(dtype)


def _drop(
    weights: Array, rate: float, rng: Key | None, broadcast: bool, dtype: Dtype
) -> Array:
    """Sets weights to zero with probability `rate`, and scales up the rest."""
    if rng is None:
        raise InvalidRngError(
            f"attention with dropout_rate={rate} needs a PRNG key; pass "
            "dropout_rng=key, or deterministic=True"
        )
    shape = weights.shape
    if broadcast:
        shape = (1,) * (weights.ndim - 2) + shape[-2:]
    keep_prob = 1.0 - rate
    keep = jax.random.bernoulli(rng, keep_prob, shape).astype(dtype)
    # At rate 1 nothing is kept, and there is nothing to scale up.
    keep = keep / jnp.asarray(keep_prob, dtype) if keep_prob else keep
    return ops.multiply(weights, keep)


def _mix(
    weights: Array, v: Array, precision: PrecisionLike, dot_general: DotGeneral | None
) -> Array:
    """Returns `einsum('...hqk,...khd->...qhd')`."""
    n = v.ndim
    batch = tuple(range(n - 3))
    # The value comes first, as in the einsum: the order decides on the last bit.
    dims = (((n - 3,), (n - 1,)), ((*batch, n - 2), (*batch, n - 3)))
    dtype = _common_dtype(v, weights)
    # [batch..., heads, depth, q] to [batch..., q, heads, depth]
    order = (*batch, n - 1, n - 3, n - 2)
    if dot_general is not None:
        mixed = dot_general(v, weights, dims, precision, preferred_element_type=dtype)
        return ops.transpose(mixed, order)
    return ops.dot_general(v, weights, dims, precision, dtype, order)


def _common_dtype(x: Array, y: Array) -> Dtype:
    # To ask JAX takes longer than the product does, and mostly they are alike.
    return x.dtype if x.dtype == y.dtype else jnp.result_type(x, y)


def _check_shapes(query: Array, key: Array, value: Array | None = None) -> None:
    q, k = query.shape, key.shape
    v = None if value is None else value.shape
    problem = None
    if len(q) < 3 or len(k) != len(q) or (v is not None and len(v) != len(q)):
        problem = "attention needs arrays with equally many axes, at least 3"
    elif q[:-3] != k[:-3] or (v is not None and v[:-3] != k[:-3]):
        problem = "the arrays that attention is given have different batch axes"
    elif q[-2] != k[-2] or (v is not None and v[-2] != k[-2]):
        problem = "the arrays that attention is given have different numbers of heads"
    elif q[-1] != k[-1]:
        problem = "the query and the key of an attention differ in their depth"
    elif v is not None and v[-3] != k[-3]:
        problem = "the key and the value of an attention differ in their length"
    if problem is not None:
        shapes = f"{q} (query), {k} (key)" + ("" if v is None else f", {v} (value)")
        raise InvalidArgumentError(
            f"{problem}: the shapes are {shapes}; pass a query of shape (*batch, "
            "q_length, heads, depth), a key of shape (*batch, kv_length, heads, depth) "
            "and a value of shape (*batch, kv_length, heads, v_depth)"
        )
