"""Attention layers, which project their inputs to several heads."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from batiste.core.errors import InvalidArgumentError
from batiste.core.types import Function

from .. import initializers
from ..array_type import as_type
from ..initializers import default_kernel_init
from ..linear.dense import DenseGeneral
from ..module.defaults import documented_functions, documented_order
from ..module.methods import compact
from ..module.module import Module
from ..module.positions import Orders
from ..module.text import located
from ..module.variables import merge_param
from ..normalization.layers import LayerNorm
from ..types import (
    Array,
    ArrayLike,
    DotGeneral,
    Dtype,
    Einsum,
    Initializer,
    Key,
    PrecisionLike,
)
from .masks import as_bool
from .weights import check_rate, dot_product_attention

__all__ = [
    "MultiHeadAttention",
    "MultiHeadDotProductAttention",
    "SelfAttention",
]


def _is_older(values: Sequence[Any]) -> bool | None:
    """Whether `bias_init, use_bias` are meant, not `out_kernel_init, bias_init`."""
    if values[0] is None:
        return False
    return isinstance(values[1], bool) if len(values) > 1 else None


class MultiHeadDotProductAttention(Module):
    """Attention with several heads.

    Queries, keys and values are linear maps of the inputs (the submodules `query`,
    `key` and `value`, each a `DenseGeneral`). Each head attends by itself, and `out`
    maps all heads together to the result.

    Attributes:
      num_heads: the number of heads; divides `qkv_features`.
      dtype: the dtype of the computation; inferred from inputs and parameters if None.
      param_dtype: the dtype in which the parameters are initialized.
      qkv_features: features of all heads together; by default those of the queries.
      out_features: features of the result; by default those of the queries.
      broadcast_dropout: whether all batch indices and heads drop the same weights.
      dropout_rate: probability of dropping an attention weight.
      deterministic: whether to skip dropout; may be given at call time instead.
      precision: as in `jax.lax.dot_general`.
      kernel_init: initializer of the kernels.
      out_kernel_init: initializer of the kernel of `out`; `kernel_init` if None.
      bias_init: initializer of the biases.
      out_bias_init: initializer of the bias of `out`; `bias_init` if None.
      use_bias: whether the projections have biases.
      attention_fn: `dot_product_attention`, or a function of query, key and value
        with the same result. It is passed those of that function's keyword arguments
        that it has.
      decode: whether to decode one position at a time, with a cache. The variables
        `cached_key`, `cached_value` and `cache_index` are made in the collection
        "cache" by `init`, which takes inputs of the full length.
      normalize_qk: whether to normalize queries and keys (submodules `query_ln` and
        `key_ln`), as in Dehghani et al. 2023, arXiv:2302.05442.
      force_fp32_for_softmax: whether to compute the softmax in float32.
      qkv_dot_general: what the projections to queries, keys and values call in place
        of `jax.lax.dot_general`, which is the default, as None (see config
        `documented_functions`).
      out_dot_general: the same for `out`.
      qkv_dot_general_cls: a class, or other callable without arguments, that makes
        such a function.
      out_dot_general_cls: the same for `out`.
      qk_attn_weights_einsum_cls: makes what is called in place of `jnp.einsum` of
        queries and keys.
      attn_weights_value_einsum_cls: the same for weights and values.

    Vaswani et al. 2017, arXiv:1706.03762.

    >>> import jax
    >>> import jax.numpy as jnp
    >>> from batiste.linen import make_causal_mask
    >>> layer = MultiHeadDotProductAttention(num_heads=4, qkv_features=16)
    >>> x = jnp.ones((2, 5, 3))
    >>> variables = layer.init(jax.random.key(0), x)
    >>> variables["params"]["query"]["kernel"].shape
    (3, 4, 4)
    >>> layer.apply(variables, x, mask=make_causal_mask(x[..., 0])).shape
    (2, 5, 3)
    """

    num_heads: int
    dtype: Dtype | None = None
    param_dtype: Dtype = jnp.float32
    qkv_features: int | None = None
    out_features: int | None = None
    broadcast_dropout: bool = True
    dropout_rate: float = 0.0
    deterministic: bool | None = None
    precision: PrecisionLike = None
    kernel_init: Initializer = default_kernel_init
    out_kernel_init: Initializer | None = None
    bias_init: Initializer = initializers.zeros_init()
    out_bias_init: Initializer | None = None
    use_bias: bool = True
    attention_fn: Callable[..., Array] = dot_product_attention
    decode: bool = False
    normalize_qk: bool = False
    force_fp32_for_softmax: bool = False
    qkv_dot_general: DotGeneral | None = None
    out_dot_general: DotGeneral | None = None
    qkv_dot_general_cls: Callable[[], DotGeneral] | None = None
    out_dot_general_cls: Callable[[], DotGeneral] | None = None
    qk_attn_weights_einsum_cls: Callable[[], Einsum] | None = None
    attn_weights_value_einsum_cls: Callable[[], Einsum] | None = None

    _field_orders = Orders(
        other=(
            *("num_heads", "dtype", "param_dtype", "qkv_features", "out_features"),
            *("broadcast_dropout", "dropout_rate", "deterministic", "precision"),
            *("kernel_init", "bias_init", "use_bias", "attention_fn", "decode"),
            *("qkv_dot_general", "out_dot_general"),
        ),
        absent=(
            *("out_kernel_init", "out_bias_init", "normalize_qk"),
            *("force_fp32_for_softmax", "qkv_dot_general_cls", "out_dot_general_cls"),
            *("qk_attn_weights_einsum_cls", "attn_weights_value_einsum_cls"),
        ),
        is_other=_is_older,
    )

    @compact
    def __call__(
        self,
        inputs_q: ArrayLike,
        inputs_k: ArrayLike | None = None,
        inputs_v: ArrayLike | None = None,
        deterministic: bool | None = None,
        *,
        inputs_kv: ArrayLike | None = None,
        mask: ArrayLike | None = None,
        dropout_rng: Key | None = None,
        sow_weights: bool = False,
    ) -> Array:
        """Attends from `inputs_q` to the keys and values.

        Both `(inputs_q, inputs_kv, mask, deterministic)` and
        `(inputs_q, inputs_k, inputs_v)` may be passed by position. The third is taken
        for values if it is not boolean and has the shape of the keys, apart from the
        features, and if with other features than theirs it could not be a mask as
        well. Use keywords to be explicit.

        Args:
          inputs_q: array of shape (*batch, q_length, features).
          inputs_k: array of shape (*batch, kv_length, k_features); `inputs_q` if None.
          inputs_v: array of shape (*batch, kv_length, v_features); `inputs_k` if None.
          deterministic: whether to skip dropout; not needed at a dropout rate of 0.
          inputs_kv: keys and values at once, in place of `inputs_k` and `inputs_v`.
          mask: array that broadcasts to (*batch, heads, q_length, kv_length); what is
            False, or 0, is not attended to.
          dropout_rng: key for dropout, by default one of the stream "dropout".
          sow_weights: whether to sow the attention weights, as `attention_weights` in
            the collection "intermediates".

        Returns:
          Array of shape (*batch, q_length, out_features).

        Raises:
          ValueError: `num_heads` does not divide the features, the inputs are
            ambiguous or do not match, `deterministic` is given neither here nor to
            the layer, or a decoding step is not of one position.
          InvalidRngError: there is no key to drop weights with.
        """
        keys, values, mask = _sources(
            self, inputs_q, inputs_k, inputs_v, inputs_kv, mask
        )
        return _attend(
            self,
            inputs_q,
            keys,
            values,
            mask,
            deterministic,
            dropout_rng,
            sow_weights,
        )


documented_functions(
    MultiHeadDotProductAttention,
    qkv_dot_general=lax.dot_general,
    out_dot_general=lax.dot_general,
)
documented_order(MultiHeadDotProductAttention)


class MultiHeadAttention(MultiHeadDotProductAttention):
    """`MultiHeadDotProductAttention` under a shorter name.

    >>> import jax
    >>> import jax.numpy as jnp
    >>> layer = MultiHeadAttention(num_heads=2)
    >>> y, _ = layer.init_with_output(jax.random.key(0), jnp.ones((2, 5, 6)))
    >>> y.shape
    (2, 5, 6)
    """


class SelfAttention(MultiHeadDotProductAttention):
    """Multi-head attention of a sequence to itself.

    Attributes are those of `MultiHeadDotProductAttention`.

    >>> import jax
    >>> import jax.numpy as jnp
    >>> layer = SelfAttention(num_heads=2)
    >>> y, _ = layer.init_with_output(jax.random.key(0), jnp.ones((2, 5, 6)))
    >>> y.shape
    (2, 5, 6)
    """

    @compact
    def __call__(  # pyright: ignore[reportIncompatibleMethodOverride]
        self,
        inputs_q: ArrayLike,
        mask: ArrayLike | None = None,
        deterministic: bool | None = None,
        dropout_rng: Key | None = None,
        sow_weights: bool = False,
    ) -> Array:
        """Attends from each position of `inputs_q` to all of its positions.

        Args:
          inputs_q: array of shape (*batch, length, features).
          mask: array that broadcasts to (*batch, heads, length, length); what is
            False, or 0, is not attended to.
          deterministic: whether to skip dropout; not needed at a dropout rate of 0.
          dropout_rng: key for dropout, by default one of the stream "dropout".
          sow_weights: whether to sow the attention weights, as `attention_weights` in
            the collection "intermediates".

        Returns:
          Array of shape (*batch, length, out_features).

        Raises:
          ValueError: as `MultiHeadDotProductAttention` does.
          InvalidRngError: there is no key to drop weights with.
        """
        # Through the method, for those who intercept it or override it between.
        return super().__call__(
            inputs_q,
            mask=mask,
            deterministic=deterministic,
            dropout_rng=dropout_rng,
            sow_weights=sow_weights,
        )


def _sources(
    layer: MultiHeadDotProductAttention,
    inputs_q: ArrayLike,
    inputs_k: ArrayLike | None,
    inputs_v: ArrayLike | None,
    inputs_kv: ArrayLike | None,
    mask: ArrayLike | None,
) -> tuple[ArrayLike, ArrayLike, ArrayLike | None]:
    """Tells apart what was passed: the inputs of keys and of values, and the mask."""
    keys = inputs_q
    if inputs_kv is not None:
        if inputs_k is not None:
            raise InvalidArgumentError(_two_sources(layer))
        keys = inputs_kv
    elif inputs_k is not None:
        keys = inputs_k
    elif inputs_v is not None:
        raise InvalidArgumentError(
            f"{located(layer)}: inputs_v was given without inputs_k; pass both, or "
            "only inputs_k for keys and values alike"
        )
    if inputs_v is None:
        return keys, keys, mask
    q_shape, k_shape = np.shape(inputs_q), np.shape(keys)
    mask_shape = (*q_shape[:-2], layer.num_heads, q_shape[-2], k_shape[-2])
    if _is_values(inputs_v, k_shape, mask_shape):
        if inputs_kv is not None:
            raise InvalidArgumentError(_two_sources(layer))
        return keys, inputs_v, mask
    if mask is not None:
        raise InvalidArgumentError(
            f"{located(layer)}: the third argument, of shape {np.shape(inputs_v)}, was "
            "taken for a mask, since it is not shaped as values for keys of shape "
            f"{k_shape}, but there is a keyword mask as well; pass values as inputs_v, "
            "and one mask"
        )
    return keys, keys, inputs_v


def _two_sources(layer: MultiHeadDotProductAttention) -> str:
    return (
        f"{located(layer)}: inputs_kv was given together with inputs_k or inputs_v; "
        "pass either inputs_kv, for keys and values alike, or inputs_k and inputs_v"
    )


def _is_values(
    x: ArrayLike, keys_shape: tuple[int, ...], mask_shape: tuple[int, ...]
) -> bool:
    """Whether a third positional argument holds values, and not a mask."""
    shape, dtype = np.shape(x), getattr(x, "dtype", None)
    if dtype == np.bool_ or shape[:-1] != keys_shape[:-1]:
        return False
    if shape[-1:] == keys_shape[-1:]:
        return True
    try:
        return np.broadcast_shapes(shape, mask_shape) != mask_shape
    except ValueError:
        return True


def _attend(
    layer: MultiHeadDotProductAttention,
    inputs_q: ArrayLike,
    inputs_k: ArrayLike,
    inputs_v: ArrayLike,
    mask: ArrayLike | None,
    deterministic: bool | None,
    dropout_rng: Key | None,
    sow_weights: bool,
) -> Array:
    in_features = np.shape(inputs_q)[-1]
    qkv_features = layer.qkv_features or in_features
    if qkv_features % layer.num_heads:
        raise InvalidArgumentError(
            f"{located(layer)}: {qkv_features} features cannot be shared out among "
            f"{layer.num_heads} heads; choose qkv_features as a multiple of num_heads"
        )
    # From [batch..., length, features] to [batch..., length, heads, depth].
    query = _project(layer, "query", inputs_q, qkv_features)
    key = _project(layer, "key", inputs_k, qkv_features)
    value = _project(layer, "value", inputs_v, qkv_features)
    if layer.normalize_qk:
        query = _normalize(layer, "query_ln", query)
        key = _normalize(layer, "key_ln", key)
    if layer.decode:
        key, value, mask = _decode_step(layer, query, key, value, mask)

    if not 0.0 <= layer.dropout_rate <= 1.0:
        check_rate(f"{located(layer)}: dropout_rate", layer.dropout_rate)
    if layer.dropout_rate > 0.0:
        deterministic = merge_param("deterministic", layer.deterministic, deterministic)
        if not deterministic and dropout_rng is None:
            dropout_rng = layer.make_rng("dropout")
    else:
        deterministic = True
    options = _options(layer, mask, deterministic, dropout_rng, sow_weights)
    attended = layer.attention_fn(query, key, value, **options)

    # From [batch..., q_length, heads, depth] to [batch..., q_length, out_features].
    return DenseGeneral(
        features=layer.out_features or in_features,
        axis=(-2, -1),
        kernel_init=layer.out_kernel_init or layer.kernel_init,
        bias_init=layer.out_bias_init or layer.bias_init,
        use_bias=layer.use_bias,
        dtype=layer.dtype,
        param_dtype=layer.param_dtype,
        precision=layer.precision,
        dot_general=layer.out_dot_general,
        dot_general_cls=layer.out_dot_general_cls,
        name="out",
    )(attended)


def _project(
    layer: MultiHeadDotProductAttention, name: str, x: ArrayLike, qkv_features: int
) -> Array:
    return DenseGeneral(
        features=(layer.num_heads, qkv_features // layer.num_heads),
        kernel_init=layer.kernel_init,
        bias_init=layer.bias_init,
        use_bias=layer.use_bias,
        dtype=layer.dtype,
        param_dtype=layer.param_dtype,
        precision=layer.precision,
        dot_general=layer.qkv_dot_general,
        dot_general_cls=layer.qkv_dot_general_cls,
        name=name,
    )(x)


def _normalize(layer: MultiHeadDotProductAttention, name: str, x: Array) -> Array:
    return LayerNorm(
        name=name, use_bias=False, dtype=layer.dtype, param_dtype=layer.param_dtype
    )(x)


def _decode_step(
    layer: MultiHeadDotProductAttention,
    query: Array,
    key: Array,
    value: Array,
    mask: ArrayLike | None,
) -> tuple[Array, Array, ArrayLike | None]:
    """Puts one position, [batch..., 1, heads, depth], into the cache.

    Returns:
      All keys and values that are cached, and a mask of those so far. When the cache
      is made, with the whole sequence, these are what was passed.
    """
    initialized = layer.has_variable("cache", "cached_key")
    cached_key = layer.variable("cache", "cached_key", jnp.zeros_like, key)
    cached_value = layer.variable("cache", "cached_value", jnp.zeros_like, value)
    cache_index = layer.variable(
        "cache", "cache_index", lambda: jnp.array(0, jnp.int32)
    )
    if not initialized:
        return key, value, mask

    *batch, length, heads, depth = cached_key.value.shape
    expected = (*batch, 1, heads, depth)
    if query.shape != expected:
        raise InvalidArgumentError(
            f"{located(layer)}: a decoding step takes one position, with a query of "
            f"shape {expected} by its cache, but the query has shape {query.shape}; "
            "only initialization takes whole sequences"
        )
    index = cache_index.value
    for cached, new in ((cached_key, key), (cached_value, value)):
        start: list[np.int32 | Array] = [np.int32(0)] * new.ndim
        start[-3] = index
        cached.value = lax.dynamic_update_slice(
            cached.value,
            as_type(new, jax.typeof(cached.value)),
            start,
            allow_negative_indices=False,
        )
    cache_index.value = index + 1
    so_far = lax.le(lax.iota(jnp.int32, length), index)
    so_far = lax.broadcast_in_dim(
        so_far, (*[1] * len(batch), 1, 1, length), (len(batch) + 2,)
    )
    if mask is not None:
        so_far = jnp.logical_and(as_bool(mask), so_far)
    return cached_key.value, cached_value.value, so_far


def _options(
    layer: MultiHeadDotProductAttention,
    mask: ArrayLike | None,
    deterministic: bool,
    dropout_rng: Key | None,
    sow_weights: bool,
) -> dict[str, Any]:
    """Returns the keyword arguments for `attention_fn`, as far as it has them.

    The newer ones are passed only when used, so that a function with the older ones,
    and any others besides, is called as it always was.
    """
    options = {
        "mask": mask,
        "dropout_rng": dropout_rng,
        "dropout_rate": layer.dropout_rate,
        "broadcast_dropout": layer.broadcast_dropout,
        "deterministic": deterministic,
        "dtype": layer.dtype,
        "precision": layer.precision,
    }
    if layer.force_fp32_for_softmax:
        options["force_fp32_for_softmax"] = True
    if sow_weights:
        options["module"] = layer
    if layer.qk_attn_weights_einsum_cls is not None:
        options["qk_attn_weights_einsum"] = layer.qk_attn_weights_einsum_cls()
    if layer.attn_weights_value_einsum_cls is not None:
        options["attn_weights_value_einsum"] = layer.attn_weights_value_einsum_cls()
    names = _parameter_names(layer.attention_fn)
    if names is None:
        return options
    return {name: options[name] for name in options if name in names}


@functools.lru_cache(maxsize=256)
def _parameter_names_cached(fn: Function) -> frozenset[str] | None:
    parameters = inspect.signature(fn).parameters.values()
    if any(p.kind is p.VAR_KEYWORD for p in parameters):
        return None
    return frozenset(p.name for p in parameters if p.kind is not p.POSITIONAL_ONLY)


def _parameter_names(fn: Function) -> frozenset[str] | None:
    """Returns the keywords that `fn` takes, or None if it takes any."""
    try:
        return _parameter_names_cached(fn)
    except TypeError:  # cannot be hashed
        return _parameter_names_cached.__wrapped__(fn)
    except ValueError:  # has no signature
        return frozenset()
