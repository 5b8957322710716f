"""Dot-product attention over scopes, along any axes of the input."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.nn import initializers

from .. import struct
from ..arguments import explains_arguments
from ..errors import InvalidArgumentError
from ..rules import ARRAY, INTEGERS
from ..scope.scope import Scope
from ..types import Array, ArrayLike, Dtype, Function, Initializer, Key
from .arrays import Precision, as_tuple, cast
from .linear import default_kernel_init, dense_general
from .stochastic import check_rate

__all__ = [
    "Axes",
    "CacheEntry",
    "dot_product_attention",
    "make_padding_mask",
    "multi_head_dot_product_attention",
]

Axes: TypeAlias = int | Iterable[int] | None
"""Axes to attend along, or one of them; None for all that are between the batch and
the heads."""

# The bias of a position that is masked out.
_MASKED = -1e10


def _attention_axes(axis: Axes, ndim: int, where: str) -> tuple[int, ...]:
    """Returns the attention axes of an array `(batch, *dims, heads, features)`."""
    if axis is None:
        return tuple(range(1, ndim - 2))
    axes = as_tuple(axis)
    if not axes or any(not 1 <= ax < ndim - 2 for ax in axes):
        raise InvalidArgumentError(
            f'The attention axes {axes} in "{where}" are not all between the batch '
            "axis and the last two axes, heads and features. With an array of "
            f"{ndim} axes use values from 1 to {ndim - 3}."
        )
    return axes


def _scalar(value: ArrayLike, dtype: Dtype) -> ArrayLike:
    """Returns a NumPy scalar of any floating type, with overflow to infinity."""
    with np.errstate(over="ignore"):
        return np.asarray(value).astype(dtype)[()]


@explains_arguments(axis=INTEGERS, bias=ARRAY)
def dot_product_attention(
    scope: Scope,
    query: ArrayLike,
    key: ArrayLike,
    value: ArrayLike,
    dtype: Dtype = jnp.float32,
    bias: ArrayLike | None = None,
    axis: Axes = None,
    broadcast_dropout: bool = True,
    dropout_rng: Key | None = None,
    dropout_rate: float = 0.0,
    deterministic: bool = False,
    precision: Precision = None,
) -> Array:
    """Mixes values by the similarity of queries and keys, along the attention axes.

    Args:
      scope: the scope that dropout draws its key from, of the stream "dropout".
      query: array of shape `(batch, *q_dims, heads, channels)`.
      key: array of shape `(batch, *kv_dims, heads, channels)`.
      value: array of shape `(batch, *kv_dims, heads, v_channels)`.
      dtype: type of the attention weights.
      bias: array to add to the weights before the softmax, that broadcasts to
        `(batch, *rest, heads, *attended_q, *attended_kv)`, where `rest` are the sizes
        of the dims that are not attended along.
      axis: axis or axes to attend along, by default all of the dims.
      broadcast_dropout: whether all batch indices and heads drop the same weights.
      dropout_rng: key for dropout, by default one from the scope.
      dropout_rate: probability of dropping an attention weight.
      deterministic: whether to skip dropout.
      precision: see `jax.lax.Precision`.

    Returns:
      Array of shape `(batch, *q_dims, heads, v_channels)`.

    Raises:
      ValueError: the shapes do not match, or an attention axis is not one of the dims.
      InvalidRngError: a dropout key is needed and there is none.

    Vaswani et al. 2017, arXiv:1706.03762.

    >>> from batiste.core import apply
    >>> x = jnp.ones((2, 5, 4, 8))
    >>> apply(dot_product_attention)({}, x, x, x).shape
    (2, 5, 4, 8)
    """
    query, key, value = jnp.asarray(query), jnp.asarray(key), jnp.asarray(value)
    ndim = query.ndim
    if not (ndim == key.ndim == value.ndim and key.shape[:-1] == value.shape[:-1]):
        raise InvalidArgumentError(
            f'Attention in "{scope.path_text}" needs a key and a value that agree in '
            "all but the last axis, and a query of the same number of axes, but the "
            f"shapes are {query.shape} (query), {key.shape} (key) and {value.shape} "
            "(value)."
        )
    axes = _attention_axes(axis, ndim, scope.path_text)
    batch = tuple(ax for ax in range(ndim - 1) if ax not in axes)
    n_batch, n_axes = len(batch), len(axes)

    # Batch axes go first, as in the weights; queries then keys, along the axes.
    order = (*batch, *axes, ndim - 1)
    weight_type = jnp.promote_types(query.dtype, dtype)
    scale = _scalar(_scalar(math.sqrt(query.shape[-1]), dtype), weight_type)
    query = lax.div(lax.transpose(query, order).astype(weight_type), scale)
    lead = tuple(range(n_batch))
    weights = lax.dot_general(
        query,
        key,
        (((ndim - 1,), (ndim - 1,)), (lead, batch)),
        precision=precision,
    )
    if bias is not None:
        weights = weights + bias
    kv = tuple(range(n_batch + n_axes, n_batch + 2 * n_axes))
    # The norm of half-precision weights would be rounded to a few percent of them.
    weights = cast(weights, jnp.promote_types(weights.dtype, jnp.float32))
    norm = jax.nn.logsumexp(weights, axis=kv, keepdims=True)
    weights = jnp.exp(weights - norm).astype(dtype)

    check_rate(scope, dropout_rate)
    if not deterministic and dropout_rate > 0.0:
        if dropout_rng is None:
            dropout_rng = scope.make_rng("dropout")
        shape = weights.shape
        if broadcast_dropout:
            shape = (1,) * n_batch + shape[n_batch:]
        keep_prob = 1.0 - dropout_rate
        keep = jax.random.bernoulli(dropout_rng, keep_prob, shape).astype(dtype)
        # At rate 1 nothing is kept, and there is nothing to scale up.
        weights = weights * (keep / keep_prob if keep_prob else keep)

    y = lax.dot_general(
        weights, value, ((kv, axes), (lead, batch)), precision=precision
    )
    return lax.transpose(y, tuple(np.argsort(order)))


class CacheEntry(struct.PyTreeNode):
    """Keys and values of the positions decoded so far.

    Attributes:
      key: array of shape `(batch, *dims, heads, channels)`.
      value: array of the same shape.
      i: number of positions decoded, an integer scalar.

    >>> CacheEntry(key=jnp.zeros(()), value=jnp.zeros(()), i=0).replace(i=1).i
    1
    """

    key: Array
    value: Array
    i: ArrayLike


@explains_arguments()
def multi_head_dot_product_attention(
    scope: Scope,
    inputs_q: Array,
    inputs_kv: Array | None,
    num_heads: int,
    dtype: Dtype = jnp.float32,
    qkv_features: int | None = None,
    out_features: int | None = None,
    attention_axis: Axes = None,
    causal_mask: bool = False,
    padding_mask: ArrayLike | None = None,
    key_padding_mask: ArrayLike | None = None,
    segmentation: ArrayLike | None = None,
    key_segmentation: ArrayLike | None = None,
    cache: bool = False,
    broadcast_dropout: bool = True,
    dropout_rng: Key | None = None,
    dropout_rate: float = 0.0,
    deterministic: bool = False,
    precision: Precision = None,
    kernel_init: Initializer = default_kernel_init,
    bias_init: Initializer = initializers.zeros,
    bias: bool = True,
    attention_fn: Function = dot_product_attention,
) -> Array:
    """Projects to several heads, attends in each, and projects back.

    The projections are children of the scope, `query`, `key`, `value` and `out`.

    With `cache`, the first call, which makes the variable `entry` in the collection
    "cache", takes the whole sequence, and every later call takes one position, of size
    1 along each attention axis, and attends to the positions so far, in row-major
    order.

    Args:
      scope: the scope that holds the parameters.
      inputs_q: array of shape `(batch, *q_dims, features)`.
      inputs_kv: array of shape `(batch, *kv_dims, features)`, or None for `inputs_q`.
      num_heads: number of heads; divides `qkv_features`.
      dtype: type of the computation and of the result.
      qkv_features: features of all heads together, by default those of `inputs_q`.
      out_features: features of the result, by default those of `inputs_q`.
      attention_axis: axis or axes to attend along, by default all of the dims.
      causal_mask: whether to hide from each position those after it, in row-major
        order of the attention axes.
      padding_mask: boolean array of shape `(batch, *q_dims, 1)`, False at padding.
      key_padding_mask: the same for `inputs_kv`, by default `padding_mask`.
      segmentation: array of shape `(batch, *q_dims, 1)`. Only positions of the same
        segment attend to each other.
      key_segmentation: the same for `inputs_kv`, by default `segmentation`.
      cache: whether to decode one position at a time.
      broadcast_dropout: whether all batch indices and heads drop the same weights.
      dropout_rng: key for dropout, by default one from the scope.
      dropout_rate: probability of dropping an attention weight.
      deterministic: whether to skip dropout.
      precision: see `jax.lax.Precision`.
      kernel_init: initializer of the kernels.
      bias_init: initializer of the biases.
      bias: whether the projections have biases.
      attention_fn: `dot_product_attention`, or a function with its parameters.

    Returns:
      Array of shape `(batch, *q_dims, out_features)`.

    Raises:
      ValueError: `num_heads` does not divide `qkv_features`, an attention axis is not
        one of the dims, `cache` is used without `causal_mask`, or a decoding step has
        not the shape of one position.

    Vaswani et al. 2017, arXiv:1706.03762.

    >>> import jax
    >>> from batiste.core import init
    >>> y, variables = init(multi_head_dot_product_attention)(
    ...     jax.random.key(0), jnp.ones((2, 5, 8)), None, num_heads=4)
    >>> y.shape, variables['params']['query']['kernel'].shape
    ((2, 5, 8), (8, 4, 2))
    """
    if inputs_kv is None:
        inputs_kv = inputs_q
    if causal_mask and inputs_q.shape[:-1] != inputs_kv.shape[:-1]:
        raise InvalidArgumentError(
            f'The causal mask in "{scope.path_text}" is for self-attention, but the '
            f"inputs are of different shapes, {inputs_q.shape} and {inputs_kv.shape}."
        )
    features = out_features or inputs_q.shape[-1]
    qkv = qkv_features or inputs_q.shape[-1]
    if qkv % num_heads:
        raise InvalidArgumentError(
            f'Attention in "{scope.path_text}" cannot divide {qkv} features '
            f"among {num_heads} heads. Choose qkv_features as a multiple of num_heads."
        )
    ndim = inputs_q.ndim + 1
    axes = _attention_axes(attention_axis, ndim, scope.path_text)

    def project(name: str, inputs: Array) -> Array:
        return scope.child(dense_general, name)(
            inputs,
            features=(num_heads, qkv // num_heads),
            bias=bias,
            dtype=dtype,
            kernel_init=kernel_init,
            bias_init=bias_init,
            precision=precision,
        )

    query = project("query", inputs_q)
    key = project("key", inputs_kv)
    value = project("value", inputs_kv)

    masks = []
    if cache:
        if not causal_mask:
            raise InvalidArgumentError(
                f'The cache of the attention in "{scope.path_text}" is only for causal '
                "attention. Pass causal_mask=True."
            )
        if scope.has_variable("cache", "entry"):
            key, value, mask = _decode_step(scope, key, value, axes)
            masks.append(mask)
            causal_mask = False
        else:
            scope.variable("cache", "entry", _empty_cache, key, value)
    if causal_mask:
        masks.append(_causal_mask(key.shape, axes))

    q_dims, kv_dims = (*inputs_q.shape[:-1], 1), (*inputs_kv.shape[:-1], 1)
    for q_mask, k_mask, pairwise in (
        (padding_mask, key_padding_mask, jnp.logical_and),
        (segmentation, key_segmentation, jnp.equal),
    ):
        if k_mask is None:
            k_mask = q_mask
        if k_mask is None:
            continue
        if q_mask is None:
            q_mask = jnp.ones(q_dims, bool)
        _check_mask(scope, q_mask, q_dims)
        _check_mask(scope, k_mask, (kv_dims[0], *key.shape[1:-2], 1))
        masks.append(_pairwise_mask(q_mask, k_mask, axes, pairwise))

    attention_bias = None
    if masks:
        mask = masks[0]
        for other in masks[1:]:
            mask = mask & other
        attention_bias = jnp.where(mask, _scalar(0.0, dtype), _scalar(_MASKED, dtype))

    y = scope.child(attention_fn)(
        query,
        key,
        value,
        dtype=dtype,
        axis=axes,
        bias=attention_bias,
        precision=precision,
        dropout_rng=dropout_rng,
        dropout_rate=dropout_rate,
        broadcast_dropout=broadcast_dropout,
        deterministic=deterministic,
    )
    return scope.child(dense_general, "out")(
        y,
        features=features,
        axis=(-2, -1),
        bias=bias,
        dtype=dtype,
        kernel_init=kernel_init,
        bias_init=bias_init,
        precision=precision,
    )


def _check_mask(scope: Scope, mask: ArrayLike, expected: tuple[int, ...]) -> None:
    shape = jnp.shape(mask)
    if len(shape) != len(expected) or any(
        n not in (1, wanted) for n, wanted in zip(shape, expected, strict=True)
    ):
        raise InvalidArgumentError(
            f'A padding or segmentation mask in "{scope.path_text}" has the shape '
            f"{shape}, but the inputs need one that broadcasts to {expected}."
        )


def _empty_cache(key: Array, value: Array) -> CacheEntry:
    return CacheEntry(
        key=jnp.zeros_like(key), value=jnp.zeros_like(value), i=jnp.zeros((), jnp.int32)
    )


def _decode_step(
    scope: Scope, key: Array, value: Array, axes: tuple[int, ...]
) -> tuple[Array, Array, Array]:
    """Puts one position into the cache.

    Returns:
      The cached keys and values, and the mask of the positions so far.
    """
    entry = scope.variable("cache", "entry")
    cached: CacheEntry = entry.value
    step = tuple(1 if ax in axes else n for ax, n in enumerate(cached.key.shape))
    if key.shape != step:
        raise InvalidArgumentError(
            f'A decoding step of the attention in "{scope.path_text}" takes one '
            f"position, with keys of shape {step}, but the shape is {key.shape}. The "
            f"cache was made for keys of shape {cached.key.shape}."
        )
    sizes = tuple(cached.key.shape[ax] for ax in axes)
    start: list[int | Array] = [0] * key.ndim
    for ax, index in zip(axes, jnp.unravel_index(cached.i, sizes), strict=True):
        start[ax] = index
    new = CacheEntry(
        key=lax.dynamic_update_slice(cached.key, key.astype(cached.key.dtype), start),
        value=lax.dynamic_update_slice(
            cached.value, value.astype(cached.value.dtype), start
        ),
        i=cached.i + 1,
    )
    entry.value = new
    so_far = lax.iota(jnp.int32, math.prod(sizes)) <= cached.i
    return new.key, new.value, so_far.reshape((1,) * (key.ndim - 1) + sizes)


def _causal_mask(shape: tuple[int, ...], axes: tuple[int, ...]) -> Array:
    """Makes the mask of keys that are not after a query, for both of one shape."""
    sizes = tuple(shape[ax] for ax in axes)
    n = math.prod(sizes)
    lead = (1,) * (len(shape) - 1 - len(axes))
    return jnp.tri(n, dtype=bool).reshape(lead + sizes + sizes)


def _pairwise_mask(
    q_mask: ArrayLike,
    k_mask: ArrayLike,
    axes: tuple[int, ...],
    pairwise: Callable[[Array, Array], Array],
) -> Array:
    """Returns `pairwise` of every query's and every key's mask value.

    Masks have the shape `(batch, *dims, 1)`; the last axis stands for the heads. The
    result is laid out as attention weights are.
    """
    q_mask, k_mask = jnp.asarray(q_mask), jnp.asarray(k_mask)
    batch = tuple(ax for ax in range(q_mask.ndim) if ax not in axes)
    q_mask = lax.transpose(q_mask, batch + axes)
    k_mask = lax.transpose(k_mask, batch + axes)
    ndim, n_batch = q_mask.ndim, len(batch)
    return pairwise(
        lax.expand_dims(q_mask, range(ndim, ndim + len(axes))),
        lax.expand_dims(k_mask, range(n_batch, n_batch + len(axes))),
    )


def make_padding_mask(
    padding_mask_query: ArrayLike,
    padding_mask_key: ArrayLike,
    query_shape: tuple[int, ...],
    key_shape: tuple[int, ...],
    attention_axis: Axes = None,
    segmentation_mask: bool = False,
) -> Array:
    """Combines masks of queries and of keys into a mask of attention weights.

    Args:
      padding_mask_query: array of shape `(batch, *q_dims, 1)`, or None for all ones.
      padding_mask_key: array of shape `(batch, *kv_dims, 1)`, or None for all ones.
      query_shape: shape of the queries, `(batch, *q_dims, heads, channels)`.
      key_shape: shape of the keys, `(batch, *kv_dims, heads, channels)`.
      attention_axis: axis or axes to attend along, by default all of the dims.
      segmentation_mask: whether the masks hold segment numbers, which must be equal,
        and not truth values, which must both be true.

    Returns:
      Array of zeros and ones, of type float32 and shape
      `(batch, *rest, 1, *attended_q, *attended_kv)`.

    Raises:
      ValueError: an attention axis is not one of the dims.

    >>> valid = jnp.array([[[True], [True], [False]]])
    >>> make_padding_mask(valid, valid, (1, 3, 4, 8), (1, 3, 4, 8))[0, 0].tolist()
    [[1.0, 1.0, 0.0], [1.0, 1.0, 0.0], [0.0, 0.0, 0.0]]
    """
    axes = _attention_axes(attention_axis, len(query_shape), "make_padding_mask")
    if padding_mask_query is None:
        padding_mask_query = jnp.ones((*query_shape[:-2], 1))
    if padding_mask_key is None:
        padding_mask_key = jnp.ones((*key_shape[:-2], 1))
    pairwise = jnp.equal if segmentation_mask else jnp.logical_and
    mask = _pairwise_mask(padding_mask_query, padding_mask_key, axes, pairwise)
    return mask.astype(jnp.float32)
