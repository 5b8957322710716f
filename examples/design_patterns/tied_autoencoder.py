"""An auto-encoder whose decoder has the encoder's kernel, transposed.

`setup` names the encoder, so that several methods can use it and its parameters. Run
`python tied_autoencoder.py`.
"""

from __future__ import annotations

import jax
import optax
from jax import numpy as jnp

import batiste.linen as nn

__all__ = ["TiedAutoEncoder", "train"]


class TiedAutoEncoder(nn.Module):
    """Maps (..., features) to as many features, through fewer latents.

    Attributes:
      features: of the input, and of the output.
      latents: between.
    """

    features: int
    latents: int

    def setup(self) -> None:
        """Makes the encoder, and what the decoder has for itself."""
        self.encoder = nn.Dense(self.latents)
        self.bias = self.param("bias", nn.initializers.zeros_init(), (self.features,))

    def encode(self, x: jax.Array) -> jax.Array:
        """The latents (..., latents) of `x`."""
        return self.encoder(x)

    def decode(self, z: jax.Array) -> jax.Array:
        """The features (..., features) that latents stand for."""
        kernel = self.encoder.variables["params"]["kernel"]
        return z @ kernel.T + self.bias

    def __call__(self, x: jax.Array) -> jax.Array:
        """Encodes and decodes."""
        return self.decode(self.encode(x))


def train(
    model: TiedAutoEncoder, x: jax.Array, steps: int = 500
) -> tuple[dict, list[float]]:
    """Fits the model to `x` (number, features); returns variables and the losses."""
    variables = model.init(jax.random.key(0), x)
    tx = optax.adam(1e-2)

    @jax.jit
    def step(variables, opt_state):
        def loss_fn(variables):
            return ((model.apply(variables, x) - x) ** 2).mean()

        loss, grads = jax.value_and_grad(loss_fn)(variables)
        updates, opt_state = tx.update(grads, opt_state)
        return optax.apply_updates(variables, updates), opt_state, loss

    opt_state, losses = tx.init(variables), []
    for _ in range(steps):
        variables, opt_state, loss = step(variables, opt_state)
        losses.append(float(loss))
    return variables, losses


def main() -> None:
    """Fits points on a plane in eight dimensions, for which two latents are enough."""
    plane = jax.random.normal(jax.random.key(1), (2, 8))
    x = jax.random.normal(jax.random.key(2), (100, 2)) @ plane + 1.0
    model = TiedAutoEncoder(features=8, latents=2)
    variables, losses = train(model, x)
    print(jax.tree.map(jnp.shape, variables))
    print(f"mean squared error: {losses[0]:.4f} at first, {losses[-1]:.6f} at last")
    z = model.apply(variables, x[:1], method="encode")
    print("the first point", x[0].round(2))
    print("is two numbers ", z[0].round(2))
    print("and from them  ", model.apply(variables, z, method="decode")[0].round(2))


if __name__ == "__main__":
    main()
