"""A table of vectors that is looked up by integer ids."""

from __future__ import annotations

from jax import numpy as jnp

from batiste.core.errors import InvalidArgumentError

from .. import ops
from ..dtypes import promote_dtype
from ..initializers import default_embed_init
from ..module.module import Module
from ..module.text import located
from ..types import Array, ArrayLike, Dtype, Initializer, PromoteDtypeFn

__all__ = ["Embed"]


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
        """Declares the table, which lookup and `attend` share."""
        self.embedding = self.param(
            "embedding",
            self.embedding_init,
            (self.num_embeddings, self.features),
            self.param_dtype,
        )

    def __call__(self, inputs: ArrayLike) -> Array:
        """Looks up the rows of the table with the numbers `inputs`.

        Args:
          inputs: integers of any shape. Those below zero count from the end.

        Returns:
          An array of shape (*inputs.shape, features). The row of an id that is out of
          range is filled with NaN. (With a single embedding every id means that one.)

        Raises:
          ValueError: the ids are not integers.
        """
        ids = ops.as_array(inputs)
        if not jnp.issubdtype(ids.dtype, jnp.integer):
            raise InvalidArgumentError(
                f"{located(self)}: ids of dtype {ids.dtype} are no numbers of rows; "
                "cast them to an integer dtype, for instance with `ids.astype('int32')`"
            )
        (table,) = self.promote_dtype(self.embedding, dtype=self.dtype, inexact=False)
        if self.num_embeddings == 1:
            return jnp.broadcast_to(table, (*ids.shape, self.features))
        return ops.take(table, ids)

    def attend(self, query: ArrayLike) -> Array:
        """Multiplies `query` with every row of the table.

        With the table shared between the two ends of a model, these are the logits
        over the ids (Press and Wolf 2016, arXiv:1608.05859).

        Args:
          query: an array of shape (..., features).

        Returns:
          An array of shape (..., num_embeddings).
        """
        x, table = self.promote_dtype(query, self.embedding, dtype=self.dtype)
        last_with_first = (((x.ndim - 1,), (0,)), ((), ()))
        return ops.dot_general(x, ops.transpose(table, (1, 0)), last_with_first)
