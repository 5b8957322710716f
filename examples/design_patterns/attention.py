"""Attention of many heads, written as one head and a `vmap` over it.

Run `python attention.py`.
"""

from __future__ import annotations

import jax
from jax import numpy as jnp

import batiste.linen as nn

__all__ = ["Head", "MultiHeadAttention", "attend"]


def attend(
    query: jax.Array, key: jax.Array, value: jax.Array, mask: jax.Array | None = None
) -> jax.Array:
    """Each query's mean of the values, weighted by how its keys fit.

    Args:
      query: (..., queries, depth).
      key: (..., keys, depth).
      value: (..., keys, features).
      mask: (..., queries, keys); False where a key is not to be seen.

    Returns:
      (..., queries, features).
    """
    scores = query @ key.swapaxes(-1, -2) / jnp.sqrt(query.shape[-1])
    if mask is not None:
        scores = jnp.where(mask, scores, -jnp.inf)
    return jax.nn.softmax(scores) @ value


class Head(nn.Module):
    """One head of attention: its own view of the inputs, and what it finds there.

    Attributes:
      depth: features of queries, keys and values.
      features: of the output.
    """

    depth: int
    features: int

    @nn.compact
    def __call__(
        self, x: jax.Array, memory: jax.Array, mask: jax.Array | None = None
    ) -> jax.Array:
        """Looks from `x` (..., queries, any) into `memory` (..., keys, any)."""
        query = nn.Dense(self.depth, use_bias=False, name="query")(x)
        key = nn.Dense(self.depth, use_bias=False, name="key")(memory)
        value = nn.Dense(self.depth, use_bias=False, name="value")(memory)
        found = attend(query, key, value, mask)
        return nn.Dense(self.features, use_bias=False, name="out")(found)


class MultiHeadAttention(nn.Module):
    """Several heads, whose outputs are added.

    That is the same as one output layer on all that they find, side by side.

    Attributes:
      heads: how many there are.
      depth: features of the queries, keys and values of a head.
      features: of the output.
    """

    heads: int
    depth: int
    features: int

    @nn.compact
    def __call__(
        self, x: jax.Array, memory: jax.Array, mask: jax.Array | None = None
    ) -> jax.Array:
        """As of one head; the parameters have a first axis more, of the heads."""
        all_heads = nn.vmap(
            Head,
            variable_axes={"params": 0},
            split_rngs={"params": True},
            in_axes=None,
            axis_size=self.heads,
        )
        return all_heads(self.depth, self.features, name="heads")(x, memory, mask).sum(
            0
        )


def main() -> None:
    """Shows the parameters, and that nobody sees the future behind a mask."""
    x = jax.random.normal(jax.random.key(0), (1, 5, 8))
    model = MultiHeadAttention(heads=2, depth=4, features=8)
    causal = jnp.tril(jnp.ones((5, 5), bool))
    y, variables = model.init_with_output(jax.random.key(1), x, x, causal)
    print(jax.tree.map(jnp.shape, variables))
    changed = x.at[0, 3].add(1.0)
    difference = jnp.abs(model.apply(variables, changed, changed, causal) - y)
    seen = (difference.max(-1) > 0)[0]
    print("a change at position 3 is seen at", [k for k in range(5) if seen[k]])


if __name__ == "__main__":
    main()
