"""Attention itself: mixing values by the similarity of queries and keys."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from batiste.core.errors import InvalidRngError

from .. import ops
from ..dtypes import promote_dtype
from ..module.module import Module
from ..types import Array, DotGeneral, Dtype, PrecisionLike
from .masks import as_bool

__all__ = ["dot_product_attention", "dot_product_attention_weights"]

Einsum = Callable[..., Any]

_SHAPES = (
    "{problem}, but the shapes are {shapes}; attention takes a query of shape "
    "(*batch, q_length, heads, depth), a key of shape (*batch, kv_length, heads, "
    "depth) and a value of shape (*batch, kv_length, heads, v_depth)"
)
_NO_KEY = (
    "attention with dropout_rate={rate} needs a PRNG key; pass dropout_rng=key, or "
    "deterministic=True"
)
_BAD_RATE = (
    "dropout_rate={rate} is not a probability; pass a number from 0 to 1, the "
    "fraction of attention weights to drop"
)
_ONE_EINSUM = (
    "qk_attn_weights_einsum and attn_weights_value_einsum must be specified together; "
    "{missing} is None"
)
_EXCLUSIVE = (
    "precision/einsum_dot_general and einsum are mutually exclusive; precision is "
    "{precision} and einsum_dot_general is {dot_general}, so build them into the "
    "einsum instead"
)


def _scores(
    query: Array,
    key: Array,
    precision: PrecisionLike,
    dot_general: DotGeneral | None,
) -> Array:
    """`einsum('...qhd,...khd->...hqk')`."""
    n = query.ndim
    batch = (*range(n - 3), n - 2)
    dims = (((n - 1,), (n - 1,)), (batch, batch))
    dtype = jnp.result_type(query, key)
    if dot_general is not None:
        return dot_general(query, key, dims, precision, preferred_element_type=dtype)
    return ops.dot_general(query, key, dims, precision, dtype)


def _mix(
    weights: Array,
    value: Array,
    precision: PrecisionLike,
    dot_general: DotGeneral | None,
) -> Array:
    """`einsum('...hqk,...khd->...qhd')`."""
    n = value.ndim
    # The value comes first, as in the einsum: the order decides on the last bit.
    dims = (((n - 3,), (n - 1,)), ((*range(n - 3), n - 2), tuple(range(n - 2))))
    dtype = jnp.result_type(value, weights)
    if dot_general is None:
        mixed = ops.dot_general(value, weights, dims, precision, dtype)
    else:
        mixed = dot_general(
            value, weights, dims, precision, preferred_element_type=dtype
        )
    return ops.transpose(mixed, (*range(n - 3), n - 1, n - 3, n - 2))


def _check_shapes(query: Array, key: Array, value: Array | None = None) -> None:
    q, k = np.shape(query), np.shape(key)
    v = None if value is None else np.shape(value)
    problem = None
    if len(q) < 3 or len(k) != len(q) or (v is not None and len(v) != len(q)):
        problem = "q, k, v must have same rank, at least 3"
    elif q[:-3] != k[:-3] or (v is not None and v[:-3] != k[:-3]):
        problem = "q, k, v batch dims must match"
    elif q[-2] != k[-2] or (v is not None and v[-2] != k[-2]):
        problem = "q, k, v num_heads must match"
    elif q[-1] != k[-1]:
        problem = "q, k depths must match"
    elif v is not None and v[-3] != k[-3]:
        problem = "k, v lengths must match"
    if problem is not None:
        shapes = f"{q} (query), {k} (key)" + ("" if v is None else f", {v} (value)")
        raise ValueError(_SHAPES.format(problem=problem, shapes=shapes))


def _drop(
    weights: Array, rate: float, rng: Any, broadcast: bool, dtype: Dtype
) -> Array:
    if not 0.0 < rate <= 1.0:
        raise ValueError(_BAD_RATE.format(rate=rate))
    if rng is None:
        raise InvalidRngError(_NO_KEY.format(rate=rate))
    shape = weights.shape
    if broadcast:
        shape = (1,) * (weights.ndim - 2) + shape[-2:]
    keep_prob = 1.0 - rate
    keep = jax.random.bernoulli(rng, keep_prob, shape).astype(dtype)
    # At rate 1 nothing is kept, and there is nothing to scale up.
    return weights * (keep / jnp.asarray(keep_prob, dtype) if keep_prob else keep)


def dot_product_attention_weights(
    query: Array,
    key: Array,
    bias: Array | None = None,
    mask: Array | None = None,
    broadcast_dropout: bool = True,
    dropout_rng: Any = None,
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
    query, key = promote_dtype(query, key, dtype=dtype)
    dtype = query.dtype
    _check_shapes(query, key)
    if einsum is not None and (precision, einsum_dot_general) != (None, None):
        raise ValueError(
            _EXCLUSIVE.format(precision=precision, dot_general=einsum_dot_general)
        )

    query = ops.div_const(query, math.sqrt(query.shape[-1]))
    if einsum is not None:
        weights = einsum("...qhd,...khd->...hqk", query, key)
    else:
        weights = _scores(query, key, precision, einsum_dot_general)
    if bias is not None:
        weights = weights + bias
    if mask is not None:
        # The least value of the computation's dtype, whatever the bias made of it.
        weights = ops.where(as_bool(mask), weights, float(jnp.finfo(dtype).min))
    if force_fp32_for_softmax and dtype != jnp.float32:
        weights = jax.nn.softmax(weights.astype(jnp.float32))
    else:
        weights = jax.nn.softmax(weights)
        if weights.dtype != dtype:
            weights = weights.astype(dtype)
    if module is not None:
        module.sow("intermediates", "attention_weights", weights)
    if not deterministic and dropout_rate != 0.0:
        weights = _drop(weights, dropout_rate, dropout_rng, broadcast_dropout, dtype)
    return weights


def dot_product_attention(
    query: Array,
    key: Array,
    value: Array,
    bias: Array | None = None,
    mask: Array | None = None,
    broadcast_dropout: bool = True,
    dropout_rng: Any = None,
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

    Vaswani et al., 2017, https://arxiv.org/abs/1706.03762.

    >>> query, memory = jnp.ones((2, 5, 3, 4)), jnp.ones((2, 7, 3, 4))
    >>> dot_product_attention(query, memory, memory).shape
    (2, 5, 3, 4)
    """
    query, key, value = promote_dtype(query, key, value, dtype=dtype)
    _check_shapes(query, key, value)
    if (qk_attn_weights_einsum is None) != (attn_weights_value_einsum is None):
        missing = "qk_attn_weights_einsum"
        if qk_attn_weights_einsum is not None:
            missing = "attn_weights_value_einsum"
        raise ValueError(_ONE_EINSUM.format(missing=missing))
    weights = dot_product_attention_weights(
        query,
        key,
        bias,
        mask,
        broadcast_dropout,
        dropout_rng,
        dropout_rate,
        deterministic,
        query.dtype,
        precision,
        module,
        force_fp32_for_softmax,
        einsum_dot_general,
        qk_attn_weights_einsum,
    )
    if attn_weights_value_einsum is not None:
        return attn_weights_value_einsum("...hqk,...khd->...qhd", weights, value)
    return _mix(weights, value, precision, einsum_dot_general)
