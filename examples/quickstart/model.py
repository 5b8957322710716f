"""The network: two convolutions and two dense layers."""

from __future__ import annotations

import jax

import batiste.linen as nn

__all__ = ["CNN"]


class CNN(nn.Module):
    """Classifies images of digits.

    Maps images (batch, height, width, channels) to logits (batch, 10).
    """

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Returns the logits of the images."""
        x = nn.Conv(features=32, kernel_size=(3, 3))(x)
        x = nn.relu(x)
        x = nn.avg_pool(x, window_shape=(2, 2), strides=(2, 2))
        x = nn.Conv(features=64, kernel_size=(3, 3))(x)
        x = nn.relu(x)
        x = nn.avg_pool(x, window_shape=(2, 2), strides=(2, 2))
        x = x.reshape((x.shape[0], -1))  # flatten
        x = nn.Dense(features=256)(x)
        x = nn.relu(x)
        return nn.Dense(features=10)(x)
