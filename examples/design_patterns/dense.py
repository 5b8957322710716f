"""A dense layer by hand: parameters with initializers, and their shapes from the input.

Run `python dense.py`.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
from jax import numpy as jnp

import batiste.linen as nn

__all__ = ["Dense"]


class Dense(nn.Module):
    """Maps (..., any) to (..., features), as `nn.Dense` does.

    Attributes:
      features: of the output.
      kernel_init: of the kernel (any, features).
      bias_init: of the bias (features,); None leaves it out.
    """

    features: int
    kernel_init: Callable = nn.initializers.lecun_normal()
    bias_init: Callable | None = nn.initializers.zeros_init()

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Applies the layer; the first call makes the parameters."""
        kernel = self.param("kernel", self.kernel_init, (x.shape[-1], self.features))
        y = jnp.dot(x, kernel)
        if self.bias_init is not None:
            y += self.param("bias", self.bias_init, (self.features,))
        return y


def main() -> None:
    """Makes the layer, and changes a parameter: they are the caller's."""
    x = jnp.ones((2, 3))
    layer = Dense(features=4)
    variables = layer.init(jax.random.key(0), x)
    print(jax.tree.map(jnp.shape, variables))
    params = variables["params"]
    shifted = {"params": {**params, "bias": params["bias"] + 1}}
    difference = layer.apply(shifted, x) - layer.apply(variables, x)
    print("with another bias, the output differs by", jnp.unique(difference.round(5)))


if __name__ == "__main__":
    main()
