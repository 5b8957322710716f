"""The network: two convolutions and two dense layers."""

from __future__ import annotations

from collections.abc import Sequence

import jax

import batiste.linen as nn

__all__ = ["CNN"]


class CNN(nn.Module):
    """Classifies images of digits.

    Maps images (batch, height, width, 1) to logits (batch, 10).

    Attributes:
      features: the features of each convolution; each halves height and width.
      hidden: the features of the dense layer between.
      dropout_rate: of the hidden features, while training.
    """

    features: Sequence[int] = (32, 64)
    hidden: int = 256
    dropout_rate: float = 0.5

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        """Returns the logits; with `train`, needs an rng for "dropout"."""
        for features in self.features:
            x = nn.relu(nn.Conv(features, kernel_size=(3, 3))(x))
            x = nn.avg_pool(x, window_shape=(2, 2), strides=(2, 2))
        x = x.reshape((x.shape[0], -1))
        x = nn.relu(nn.Dense(self.hidden)(x))
        x = nn.Dropout(self.dropout_rate, deterministic=not train)(x)
        return nn.Dense(10)(x)
