"""Linear regression: a dense layer, and gradient descent written out.

Run `python linear_regression.py`.
"""

from __future__ import annotations

import jax
from jax import numpy as jnp

import batiste.linen as nn

__all__ = ["fit", "make_data"]


def make_data(
    key: jax.Array, number: int, noise: float = 0.1
) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array]:
    """Draws a linear map and points near it.

    Returns:
      The weights (10, 5), the bias (5,), the inputs (number, 10), and what is measured
      there (number, 5).
    """
    w_key, b_key, x_key, noise_key = jax.random.split(key, 4)
    w = jax.random.normal(w_key, (10, 5))
    b = jax.random.normal(b_key, (5,))
    x = jax.random.normal(x_key, (number, 10))
    return w, b, x, x @ w + b + noise * jax.random.normal(noise_key, (number, 5))


def fit(
    x: jax.Array, y: jax.Array, steps: int = 200, learning_rate: float = 0.3
) -> tuple[dict, list[float]]:
    """Fits a dense layer to points by gradient descent; returns parameters and losses.

    The loss is half of the mean squared distance.
    """
    model = nn.Dense(features=y.shape[-1])
    params = model.init(jax.random.key(0), x)["params"]

    @jax.jit
    def step(params):
        def loss_fn(params):
            residual = y - model.apply({"params": params}, x)
            return 0.5 * (residual**2).sum(-1).mean()

        loss, grads = jax.value_and_grad(loss_fn)(params)
        return jax.tree.map(lambda p, g: p - learning_rate * g, params, grads), loss

    losses = []
    for _ in range(steps):
        params, loss = step(params)
        losses.append(float(loss))
    return params, losses


def main() -> None:
    """Finds the map that the data were made with."""
    w, b, x, y = make_data(jax.random.key(0), number=100)
    params, losses = fit(x, y)
    for step in (0, 10, 50, 199):
        print(f"step {step:>3}  loss {losses[step]:.5f}")
    print(f"largest error of a weight: {jnp.abs(params['kernel'] - w).max():.3f}")
    print(f"largest error of the bias: {jnp.abs(params['bias'] - b).max():.3f}")


if __name__ == "__main__":
    main()
