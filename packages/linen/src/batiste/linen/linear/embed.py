"""A table of vectors that is looked up by integer ids."""

from __future__ import annotations

import jax
import numpy as np
from jax import lax
from jax import numpy as jnp

from ..dtypes import promote_dtype
from ..initializers import default_embed_init
from ..module.located import located
from ..module.module import Module
from ..ops import eager_jit
from ..types import Array, Dtype, Initializer, PromoteDtypeFn

__all__ = ["Embed"]

_NOT_INTEGER = (
    "{module}: Input type must be an integer or unsigned integer, got {dtype}; ids "
    "index the table of embeddings, so cast them, for instance with "
    "`ids.astype('int32')`"
)


def _lookup(table: Array, ids: Array) -> Array:
    """The rows `table[ids]`; ids below zero count from the end."""
    if jnp.issubdtype(ids.dtype, jnp.signedinteger):
        if table.shape[0] > np.iinfo(ids.dtype).max:
            ids = lax.convert_element_type(ids, np.int32)
        negative = lax.lt(ids, np.zeros((), ids.dtype))
        from_end = lax.add(ids, np.asarray(table.shape[0], ids.dtype))
        ids = lax.select(negative, from_end, ids)
    return lax.gather(
        table,
        lax.expand_dims(ids, (ids.ndim,)),
        lax.GatherDimensionNumbers(
            offset_dims=(ids.ndim,), collapsed_slice_dims=(0,), start_index_map=(0,)
        ),
        slice_sizes=(1, table.shape[1]),
        mode=lax.GatherScatterMode.FILL_OR_DROP,
    )


def _contract_last(query: Array, columns: Array) -> Array:
    return lax.dot_general(query, columns, (((query.ndim - 1,), (0,)), ((), ())))


_take_rows = eager_jit(_lookup)
_transpose = eager_jit(lax.transpose, static_argnums=(1,))
_dot = eager_jit(_contract_last)


class Embed(Module):
    """A table with one learned vector for each of `num_embeddings` ids.

    Its parameter is `embedding`, of shape (num_embeddings, features).

    Attributes:
      num_embeddings: the number of ids.
      features: the size of each vector.
      dtype: the dtype of the result; that of the table if None.
      param_dtype: the dtype in which the table is initialized.
      embedding_init: initializer of the table.
      promote_dtype: brings the arrays to one dtype.

    >>> import jax
    >>> import jax.numpy as jnp
    >>> layer = Embed(num_embeddings=5, features=3)
    >>> ids = jnp.array([[0, 1, 4], [2, 2, 2]])
    >>> variables = layer.init(jax.random.key(0), ids)
    >>> layer.apply(variables, ids).shape
    (2, 3, 3)
    >>> logits = layer.apply(variables, jnp.ones((2, 3)), method="attend")
    >>> logits.shape
    (2, 5)
    """

    num_embeddings: int
    features: int
    dtype: Dtype | None = None
    param_dtype: Dtype = jnp.float32
    embedding_init: Initializer = default_embed_init
    promote_dtype: PromoteDtypeFn = promote_dtype

    def setup(self) -> None:
        self.embedding = self.param(
            "embedding",
            self.embedding_init,
            (self.num_embeddings, self.features),
            self.param_dtype,
        )

    def __call__(self, inputs: Array) -> Array:
        """Looks up `inputs`, integers of any shape.

        Returns:
          An array of shape (*inputs.shape, features). Ids count from the end if they
          are negative; the row of an id that is out of range is filled with NaN.
          (With a single embedding every id means that one.)

        Raises:
          ValueError: the ids are not integers.
        """
        if not isinstance(inputs, jax.Array):
            inputs = jnp.asarray(inputs)
        if not jnp.issubdtype(inputs.dtype, jnp.integer):
            raise ValueError(
                _NOT_INTEGER.format(module=located(self), dtype=inputs.dtype)
            )
        (embedding,) = self.promote_dtype(
            self.embedding, dtype=self.dtype, inexact=False
        )
        if self.num_embeddings == 1:
            return jnp.broadcast_to(embedding, (*inputs.shape, self.features))
        return _take_rows(embedding, inputs)

    def attend(self, query: Array) -> Array:
        """The dot products of `query` with every embedding.

        With the table shared between the two ends of a model, these are the logits
        over the ids (Press and Wolf 2016, arXiv:1608.05859).

        Args:
          query: an array of shape (..., features).

        Returns:
          An array of shape (..., num_embeddings).
        """
        query, embedding = self.promote_dtype(query, self.embedding, dtype=self.dtype)
        return _dot(query, _transpose(embedding, (1, 0)))
