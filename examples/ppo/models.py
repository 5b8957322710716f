"""The actor and the critic: what to do, and what is to be expected."""

from __future__ import annotations

from typing import Any

import jax
from jax import numpy as jnp

import batiste.linen as nn

__all__ = ["ActorCritic", "create_model"]


def _dense(features: int, scale: float, name: str) -> nn.Dense:
    return nn.Dense(features, kernel_init=nn.initializers.orthogonal(scale), name=name)


class ActorCritic(nn.Module):
    """Returns the logits of actions, and the value of what is seen.

    Images go through the convolutions of the agent of
    https://doi.org/10.1038/nature14236, which the actor and the critic share; numbers
    through two dense layers of each.

    Attributes:
      num_actions: how many there are.
      width: of the dense layers.
      channels: of the three convolutions.
    """

    num_actions: int
    width: int
    channels: tuple[int, int, int] = (32, 64, 64)

    @nn.compact
    def __call__(self, seen: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Maps observations (batch, ...) to (batch, actions) and (batch,).

        Images are (batch, height, width, channels) of uint8.
        """
        if seen.ndim == 4:
            x = seen.astype(jnp.float32) / 255.0
            for features, size, stride in zip(self.channels, (8, 4, 3), (4, 2, 1)):
                x = nn.Conv(
                    features,
                    (size, size),
                    strides=(stride, stride),
                    padding="VALID",
                    kernel_init=nn.initializers.orthogonal(2**0.5),
                )(x)
                x = nn.relu(x)
            x = x.reshape((x.shape[0], -1))
            actor = critic = nn.relu(_dense(self.width, 2**0.5, "shared")(x))
        else:
            actor = critic = seen.astype(jnp.float32)
            for layer in range(2):
                actor = nn.tanh(_dense(self.width, 2**0.5, f"actor_{layer}")(actor))
                critic = nn.tanh(_dense(self.width, 2**0.5, f"critic_{layer}")(critic))
        logits = _dense(self.num_actions, 0.01, "actor_head")(actor)
        return logits, _dense(1, 1.0, "critic_head")(critic)[..., 0]


def create_model(config: Any, num_actions: int) -> ActorCritic:
    """The network of a config: `width` and `channels`."""
    return ActorCritic(num_actions, config.width, tuple(config.channels))
