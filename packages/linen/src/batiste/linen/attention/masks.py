"""Masks of attention weights: what each query may look at."""

from __future__ import annotations

from collections.abc import Callable

import jax.numpy as jnp
import numpy as np
from jax import lax

from batiste.core.errors import InvalidArgumentError

from ..types import Array, ArrayLike, Dtype

__all__ = ["as_bool", "combine_masks", "make_attention_mask", "make_causal_mask"]


def as_bool(mask: ArrayLike) -> Array:
    """Returns a mask as booleans: itself if it is so, or else where it is not 0.

    >>> as_bool(jnp.array([0.0, 2.0])).tolist()
    [False, True]
    """
    mask = jnp.asarray(mask)
    if mask.dtype == np.bool_:
        return mask
    return lax.ne(mask, np.zeros((), mask.dtype)[()])


def make_attention_mask(
    query_input: ArrayLike,
    key_input: ArrayLike,
    pairwise_fn: Callable[[Array, Array], Array] = jnp.multiply,
    extra_batch_dims: int = 0,
    dtype: Dtype = jnp.float32,
) -> Array:
    """Compares every query position with every key position.

    Args:
      query_input: array of shape (*batch, q_length), such as 1 for a token and 0 for
        padding, or the number of a segment, or of a position.
      key_input: array of shape (*batch, kv_length).
      pairwise_fn: a function of the two that broadcasts, such as `jnp.multiply` (both
        are tokens), `jnp.equal` (the same segment) or `jnp.greater_equal` (not after).
      extra_batch_dims: the number of axes of size 1 to put in front.
      dtype: the dtype of the mask.

    Returns:
      A mask of shape (*extra, *batch, 1, q_length, kv_length); the 1 is for the heads.

    >>> make_attention_mask(jnp.array([1, 1, 0]), jnp.array([1, 0])).tolist()
    [[[1.0, 0.0], [1.0, 0.0], [0.0, 0.0]]]
    """
    query, key = jnp.asarray(query_input), jnp.asarray(key_input)
    # [batch..., q_length, 1] and [batch..., 1, kv_length]
    mask = pairwise_fn(
        lax.expand_dims(query, (query.ndim,)), lax.expand_dims(key, (key.ndim - 1,))
    )
    heads = jnp.ndim(mask) - 2 + extra_batch_dims
    mask = lax.expand_dims(mask, (*range(extra_batch_dims), heads))
    return mask if mask.dtype == dtype else lax.convert_element_type(mask, dtype)


def make_causal_mask(
    x: Array, extra_batch_dims: int = 0, dtype: Dtype = jnp.float32
) -> Array:
    """Lets each position see itself and the positions before it.

    Args:
      x: array of shape (*batch, length), of which only the shape matters.
      extra_batch_dims: the number of axes of size 1 to put in front.
      dtype: the dtype of the mask.

    Returns:
      A mask of shape (*extra, *batch, 1, length, length); the 1 is for the heads.

    >>> make_causal_mask(jnp.ones((1, 3)))[0, 0].tolist()
    [[1.0, 0.0, 0.0], [1.0, 1.0, 0.0], [1.0, 1.0, 1.0]]
    """
    *batch, length = np.shape(x)
    square = (length, length)
    query = lax.broadcasted_iota(jnp.int32, square, 0)
    key = lax.broadcasted_iota(jnp.int32, square, 1)
    mask = lax.ge(query, key)
    if dtype != np.bool_:
        mask = lax.convert_element_type(mask, dtype)
    shape = (*[1] * extra_batch_dims, *batch, 1, length, length)
    return lax.broadcast_in_dim(mask, shape, (len(shape) - 2, len(shape) - 1))


def combine_masks(*masks: ArrayLike | None, dtype: Dtype = jnp.float32) -> Array | None:
    """Lets a query see a key where every mask lets it.

    Args:
      *masks: masks of one rank that broadcast to each other; `None` is left out.
      dtype: the dtype of the result.

    Returns:
      The combined mask, or None if there is no mask.

    Raises:
      ValueError: the masks have not the same number of axes.

    >>> causal = make_causal_mask(jnp.ones((1, 2)))
    >>> padding = make_attention_mask(jnp.array([[1, 1]]), jnp.array([[0, 1]]))
    >>> combine_masks(causal, None, padding)[0, 0].tolist()
    [[0.0, 0.0], [0.0, 1.0]]
    """
    present = [jnp.asarray(mask) for mask in masks if mask is not None]
    if not present:
        return None
    ranks = tuple(mask.ndim for mask in present)
    if len(set(ranks)) > 1:
        raise InvalidArgumentError(
            f"masks of {ranks} axes cannot be combined; a mask broadcasts to (*batch, "
            "heads, q_length, kv_length), so give each all of these axes, with size 1 "
            "where it does not vary"
        )
    combined = present[0]
    if len(present) > 1:
        combined = as_bool(combined)
        for mask in present[1:]:
            combined = jnp.logical_and(combined, as_bool(mask))
    return combined if combined.dtype == dtype else combined.astype(dtype)
