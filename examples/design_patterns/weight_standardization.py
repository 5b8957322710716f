"""Weight standardization of any layer: its parameters are changed before it sees them.

Kernels get mean 0 and variance 1 over all but their last axis (Qiao et al., 2019,
https://arxiv.org/abs/1903.10520). An optimizer changes the kernels as they are stored,
and the layer sees them standardized each time. Run `python weight_standardization.py`.
"""

from __future__ import annotations

from typing import Any

import jax
from jax import numpy as jnp

import batiste.linen as nn

__all__ = ["Block", "standardize", "standardized"]


def standardize(kernel: jax.Array, eps: float = 1e-5) -> jax.Array:
    """Returns a kernel (..., features) with mean 0 and variance 1 for each feature."""
    axes = tuple(range(kernel.ndim - 1))
    mean = kernel.mean(axes, keepdims=True)
    variance = kernel.var(axes, keepdims=True)
    return (kernel - mean) * jax.lax.rsqrt(variance + eps)


def standardized(layer: type[nn.Module]) -> Any:
    """Returns the class of a layer that sees its kernels standardized."""

    def change(params: Any) -> Any:
        return jax.tree_util.tree_map_with_path(
            lambda path, x: standardize(x) if path[-1].key == "kernel" else x, params
        )

    return nn.map_variables(layer, "params", change, init=True)


class Block(nn.Module):
    """A standardized convolution, its scale given back by normalization.

    Maps (batch, height, width, any) to (batch, height, width, features).

    Attributes:
      features: of the output.
      groups: that are normalized together.
    """

    features: int
    groups: int = 4

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Applies the block."""
        x = standardized(nn.Conv)(self.features, (3, 3), use_bias=False, name="conv")(x)
        return nn.relu(nn.GroupNorm(num_groups=self.groups)(x))


def main() -> None:
    """Shows that a kernel's scale and mean do not matter."""
    x = jax.random.normal(jax.random.key(0), (1, 8, 8, 3))
    model = Block(features=8)
    y, variables = model.init_with_output(jax.random.key(1), x)
    print(jax.tree.map(jnp.shape, variables))
    params = variables["params"]
    conv = {"kernel": 10 * params["conv"]["kernel"] + 3}
    other = model.apply({"params": {**params, "conv": conv}}, x)
    print("ten times the kernel, plus 3: the output differs by at most", end=" ")
    print(f"{jnp.abs(other - y).max():.4f}")


if __name__ == "__main__":
    main()
