"""A language model: the decoder of a transformer, without anything to translate."""

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

__all__ = ["Config", "LanguageModel", "make_config"]


def make_config(config: Any, vocab_size: int) -> Config:
    """The sizes that the config of a run gives.

    The vocabulary is rounded up, so that it can be split over devices.
    """
    rounded = -(-vocab_size // config.vocab_multiple) * config.vocab_multiple
    return Config(vocab_size=rounded, **{**config.model, "dtype": config.dtype})


class LanguageModel(nn.Module):
    """Predicts each next token of texts, given those before.

    A batch is what `input_pipeline.Batch.arrays` makes, arrays (batch, length); the
    logits are (batch, length, vocab) in float32.
    """

    config: Config

    def __call__(self, batch: dict[str, jax.Array], train: bool = False) -> jax.Array:
        """Returns the logits of each token of the batch."""
        seen = shift_right(batch["tokens"], batch["positions"])
        segments = batch["segments"]
        mask = segment_mask(segments, segments) & causal_mask(seen.shape[1])
        return self.following(seen, batch["positions"], mask, train)

    @nn.compact
    def following(
        self,
        tokens: jax.Array,
        positions: jax.Array | None = None,
        mask: jax.Array | None = None,
        train: bool = False,
    ) -> jax.Array:
        """Returns the logits of what follows each of `tokens`.

        With `config.decode`, `tokens` is (batch, 1), the next one: what came before is
        in the collection "cache", and so is its position.
        """
        c = self.config
        if positions is None:
            positions = jnp.broadcast_to(jnp.arange(tokens.shape[1]), tokens.shape)
        if c.decode:
            running = self.has_variable("cache", "position")
            position = self.variable("cache", "position", jnp.zeros, (), jnp.int32)
            if running:
                positions = jnp.full(tokens.shape, position.value)
                position.value += 1
        table = embedding(c, name="embedding")
        x = table(tokens) * c.embed**0.5
        x = x + sinusoids(positions, c.embed).astype(c.dtype)
        x = nn.Dropout(c.dropout, deterministic=not train)(x)
        x = constrain(x, "batch", "length", "embed")
        for layer in range(c.layers):
            x = Block(c, decode=c.decode, name=f"block_{layer}")(x, mask, train=train)
        logits = table.attend(norm(c, "norm")(x)).astype(jnp.float32)
        return constrain(logits, "batch", "length", "vocab")
