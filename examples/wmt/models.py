"""A transformer that translates: encoder, decoder, and the embedding they share."""

from __future__ import annotations

from typing import Any

import jax
from blocks import (
    Block,
    Config,
    causal_mask,
    constrain,
    embedding,
    norm,
    segment_mask,
    shift_right,
    sinusoids,
)
from jax import numpy as jnp

import batiste.linen as nn

__all__ = ["Config", "Translator", "make_config"]


def make_config(config: Any, vocab_size: int) -> Config:
    """The sizes that the config of a run gives."""
    return Config(vocab_size=vocab_size, **{**config.model, "dtype": config.dtype})


class Encoder(nn.Module):
    """Reads embedded sources; (batch, length, embed) to same."""

    config: Config

    @nn.compact
    def __call__(
        self, x: jax.Array, positions: jax.Array, mask: jax.Array, train: bool
    ) -> jax.Array:
        """Returns the features of each token."""
        c = self.config
        x = x + sinusoids(positions, c.embed).astype(c.dtype)
        x = nn.Dropout(c.dropout, deterministic=not train)(x)
        x = constrain(x, "batch", "length", "embed")
        for layer in range(c.layers):
            x = Block(c, name=f"block_{layer}")(x, mask, train=train)
        return norm(c, "norm")(x)


class Decoder(nn.Module):
    """Predicts each next token of a target; (batch, length, embed) to same."""

    config: Config

    @nn.compact
    def __call__(
        self,
        x: jax.Array,
        positions: jax.Array,
        mask: jax.Array | None,
        encoded: jax.Array,
        encoded_mask: jax.Array,
        train: bool,
    ) -> jax.Array:
        """Returns the features of each token, of which `attend` makes logits."""
        c = self.config
        if c.decode:
            running = self.has_variable("cache", "position")
            position = self.variable("cache", "position", jnp.zeros, (), jnp.int32)
            if running:
                positions = jnp.full(x.shape[:2], position.value)
                position.value += 1
        x = x + sinusoids(positions, c.embed).astype(c.dtype)
        x = nn.Dropout(c.dropout, deterministic=not train)(x)
        x = constrain(x, "batch", "length", "embed")
        for layer in range(c.layers):
            block = Block(c, decode=c.decode, name=f"block_{layer}")
            x = block(x, mask, encoded, encoded_mask, train=train)
        return norm(c, "norm")(x)


class Translator(nn.Module):
    """Predicts each next token of targets, given sources and what came before.

    A batch is what `input_pipeline.Batch.arrays` makes, arrays (batch, length); the
    logits are (batch, length, vocab) in float32.
    """

    config: Config

    def setup(self):
        """One embedding serves sources, targets and logits."""
        self.embedding = embedding(self.config)
        self.encoder = Encoder(self.config)
        self.decoder = Decoder(self.config)

    def __call__(self, batch: dict[str, jax.Array], train: bool = False) -> jax.Array:
        """Returns the logits of each target token."""
        encoded = self.encode(batch, train)
        positions = batch["targets_positions"]
        seen = shift_right(batch["targets"], positions)
        segments = batch["targets_segments"]
        mask = segment_mask(segments, segments) & causal_mask(seen.shape[1])
        encoded_mask = segment_mask(segments, batch["inputs_segments"])
        return self.decode(encoded, encoded_mask, seen, positions, mask, train)

    def encode(self, batch: dict[str, jax.Array], train: bool = False) -> jax.Array:
        """Returns the features of the sources (batch, length, embed)."""
        segments = batch["inputs_segments"]
        mask = segment_mask(segments, segments)
        x = self._embed(batch["inputs"])
        return self.encoder(x, batch["inputs_positions"], mask, train)

    def decode(
        self,
        encoded: jax.Array,
        encoded_mask: jax.Array,
        tokens: jax.Array,
        positions: jax.Array | None = None,
        mask: jax.Array | None = None,
        train: bool = False,
    ) -> jax.Array:
        """Returns the logits of what follows each of `tokens`.

        With `config.decode`, `tokens` is (batch, 1), the next one: what came before is
        in the collection "cache", and so is its position.
        """
        if positions is None:
            positions = jnp.broadcast_to(jnp.arange(tokens.shape[1]), tokens.shape)
        x = self._embed(tokens)
        x = self.decoder(x, positions, mask, encoded, encoded_mask, train)
        logits = self.embedding.attend(x).astype(jnp.float32)
        return constrain(logits, "batch", "length", "vocab")

    def _embed(self, tokens: jax.Array) -> jax.Array:
        return self.embedding(tokens) * self.config.embed**0.5
