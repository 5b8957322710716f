"""A perceptron of several layers, the lazy way: what it needs is made where it is used.

The input tells the shapes, and a loop may make layers. Run `python mlp_lazy.py`;
`mlp_explicit.py` is the other way.
"""

from __future__ import annotations

from collections.abc import Sequence

import jax
from jax import numpy as jnp

import batiste.linen as nn

__all__ = ["MLP"]


class MLP(nn.Module):
    """Maps (..., any) to (..., last of the sizes).

    Attributes:
      sizes: features of each layer.
    """

    sizes: Sequence[int]

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Applies the layers, with a relu between two."""
        for size in self.sizes[:-1]:
            x = nn.relu(nn.Dense(size)(x))
        return nn.Dense(self.sizes[-1])(x)


def main() -> None:
    """Makes the model for two sizes of input, once without computing anything."""
    model = MLP(sizes=(4, 3))
    for features in (2, 7):
        variables = model.init(jax.random.key(0), jnp.ones((1, features)))
        print(f"{features} features in:", jax.tree.map(jnp.shape, variables))
    shape = jax.ShapeDtypeStruct((1, 7), jnp.float32)
    same = model.lazy_init(jax.random.key(0), shape)
    equal = jax.tree.map(lambda a, b: bool((a == b).all()), variables, same)
    print("from a shape alone, the same parameters:", jax.tree.all(equal))


if __name__ == "__main__":
    main()
