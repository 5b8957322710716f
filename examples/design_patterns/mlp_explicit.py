"""A perceptron of several layers, the explicit way: `setup` says all that there is.

Layers are attributes, with the names that their parameters get, and any method may use
them. The sizes of inputs are told, and checked. Run `python mlp_explicit.py`;
`mlp_lazy.py` is the other way.
"""

from __future__ import annotations

from collections.abc import Sequence

import jax
from jax import numpy as jnp

import batiste.linen as nn

__all__ = ["MLP", "Dense"]


class Dense(nn.Module):
    """A dense layer that is told the size of its input, too.

    Attributes:
      in_features: of the input.
      features: of the output.
    """

    in_features: int
    features: int

    def setup(self) -> None:
        """Makes the parameters, before there is an input."""
        shape = (self.in_features, self.features)
        self.kernel = self.param("kernel", nn.initializers.lecun_normal(), shape)
        self.bias = self.param("bias", nn.initializers.zeros_init(), shape[1:])

    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps (..., in_features) to (..., features)."""
        return x @ self.kernel + self.bias


class MLP(nn.Module):
    """Maps (..., first of the sizes) to (..., last of the sizes).

    Attributes:
      sizes: of the input, and of each layer's output.
    """

    sizes: Sequence[int]

    def setup(self) -> None:
        """Makes the layers: a list, whose parameters are `layers_0`, `layers_1`, ..."""
        pairs = zip(self.sizes[:-1], self.sizes[1:], strict=True)
        self.layers = [Dense(a, b) for a, b in pairs]

    def features(self, x: jax.Array) -> jax.Array:
        """What the layer before the last gives, after its relu."""
        for layer in self.layers[:-1]:
            x = nn.relu(layer(x))
        return x

    def __call__(self, x: jax.Array) -> jax.Array:
        """Applies all layers."""
        return self.layers[-1](self.features(x))


def main() -> None:
    """Makes the model, uses it whole and in part."""
    model = MLP(sizes=(7, 4, 3))
    x = jnp.ones((1, 7))
    variables = model.init(jax.random.key(0), x)
    print(jax.tree.map(jnp.shape, variables))
    print("output:  ", model.apply(variables, x).round(3))
    print("features:", model.apply(variables, x, method="features").round(3))


if __name__ == "__main__":
    main()
