"""The auto-encoder, and the bounds of the likelihood that it is trained and told by."""

from __future__ import annotations

import math
from collections.abc import Sequence

import jax
from jax import numpy as jnp

import batiste.linen as nn

__all__ = [
    "VAE",
    "bernoulli_log_prob",
    "bounds",
    "kl_divergence",
    "normal_log_prob",
]


def bernoulli_log_prob(logits: jax.Array, x: jax.Array) -> jax.Array:
    """The log probability of binary pixels (..., pixels), as (...)."""
    return (x * logits - jax.nn.softplus(logits)).sum(-1)


def normal_log_prob(z: jax.Array, mean: jax.Array, log_var: jax.Array) -> jax.Array:
    """The log density of latents (..., latents), which are independent, as (...)."""
    squared = (z - mean) ** 2 * jnp.exp(-log_var)
    return -0.5 * (squared + log_var + math.log(2 * math.pi)).sum(-1)


def kl_divergence(mean: jax.Array, log_var: jax.Array) -> jax.Array:
    """From the standard normal distribution: of (..., latents), as (...)."""
    return 0.5 * (jnp.exp(log_var) + mean**2 - 1.0 - log_var).sum(-1)


class MLP(nn.Module):
    """Dense layers, all but the last with a tanh.

    Maps (..., features) to (..., last of the features).

    Attributes:
      features: of each layer.
    """

    features: Sequence[int]

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Applies the layers."""
        for features in self.features[:-1]:
            x = nn.tanh(nn.Dense(features)(x))
        return nn.Dense(self.features[-1])(x)


class VAE(nn.Module):
    """A variational auto-encoder of binary images.

    Attributes:
      pixels: how many there are in an image.
      hidden: the hidden features of the encoder; the decoder has them in reverse.
      latents: how many numbers stand for an image.
    """

    pixels: int
    hidden: Sequence[int] = (200, 200)
    latents: int = 50

    def setup(self) -> None:
        """Makes both halves."""
        self.encoder = MLP((*self.hidden, 2 * self.latents))
        self.decoder = MLP((*reversed(self.hidden), self.pixels))

    def encode(self, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Means and log variances (batch, latents) of images (batch, pixels)."""
        mean, log_var = jnp.split(self.encoder(x - 0.5), 2, axis=-1)
        return mean, log_var

    def decode(self, z: jax.Array) -> jax.Array:
        """The logits of the pixels, (..., pixels), at latents (..., latents)."""
        return self.decoder(z)

    def __call__(
        self, x: jax.Array, samples: int = 1
    ) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array]:
        """Encodes images, and decodes so many samples of each.

        Needs an rng for "latent".

        Args:
          x: images (batch, pixels), of 0 and 1.
          samples: how many latents are drawn for each image.

        Returns:
          Means and log variances (batch, latents), the latents drawn (samples, batch,
          latents), and the logits there (samples, batch, pixels).
        """
        mean, log_var = self.encode(x)

        def draw(vae: VAE, mean: jax.Array, log_var: jax.Array):
            noise = jax.random.normal(vae.make_rng("latent"), mean.shape)
            z = mean + jnp.exp(0.5 * log_var) * noise
            return z, vae.decode(z)

        # The program of one sample, for all of them: the same parameters, and noise
        # of their own.
        draw_all = nn.vmap(
            draw,
            variable_axes={"params": None},
            split_rngs={"params": False, "latent": True},
            in_axes=None,
            axis_size=samples,
        )
        return mean, log_var, *draw_all(self, mean, log_var)


def bounds(
    x: jax.Array, mean: jax.Array, log_var: jax.Array, z: jax.Array, logits: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Two lower bounds of the log likelihood of each image, from the same samples.

    Args:
      x: images (batch, pixels).
      mean: the encoder's, (batch, latents).
      log_var: likewise.
      z: samples (samples, batch, latents).
      logits: of the pixels (samples, batch, pixels).

    Returns:
      The evidence lower bound (batch,), the mean of the log weights; and the
      importance-weighted bound (batch,) of Burda et al., the log of the mean weight,
      which is never lower and comes closer with more samples.
    """
    prior = normal_log_prob(z, jnp.zeros(()), jnp.zeros(()))
    weights = bernoulli_log_prob(logits, x) + prior - normal_log_prob(z, mean, log_var)
    best = jax.nn.logsumexp(weights, axis=0) - math.log(len(weights))
    return weights.mean(0), best
