"""A bidirectional LSTM layer that reads a sentence and judges it."""

from __future__ import annotations

import jax
from input_pipeline import PAD, UNKNOWN
from jax import numpy as jnp

import batiste.linen as nn

__all__ = ["SentimentLSTM", "WordDropout"]


class WordDropout(nn.Module):
    """Makes some words unknown, so that no sentence is recognized by a single one.

    Attributes:
      rate: the share of words.
    """

    rate: float

    @nn.compact
    def __call__(self, words: jax.Array, *, train: bool) -> jax.Array:
        """Returns the words (batch, length), in training some of them as `UNKNOWN`."""
        if not train or self.rate == 0.0:
            return words
        lost = jax.random.bernoulli(self.make_rng("dropout"), self.rate, words.shape)
        return jnp.where(lost & (words != PAD), UNKNOWN, words)


class SentimentLSTM(nn.Module):
    """Maps words (batch, length) to logits (batch,): positive for a good review.

    Attributes:
      vocab_size: how many words have a number.
      embed_size: features of a word.
      hidden_size: features of the LSTM in each direction.
      word_dropout: share of words that are made unknown in training.
      dropout: share of features that are dropped in training.
    """

    vocab_size: int
    embed_size: int
    hidden_size: int
    word_dropout: float = 0.0
    dropout: float = 0.0

    @nn.compact
    def __call__(self, words: jax.Array, *, train: bool = False) -> jax.Array:
        """Returns the logits; with `train`, dropout needs an rng `dropout`."""
        mask = words != PAD
        drop = nn.Dropout(self.dropout, deterministic=not train)
        x = WordDropout(self.word_dropout)(words, train=train)
        x = drop(nn.Embed(self.vocab_size, self.embed_size, name="embed")(x))
        layer = nn.Bidirectional(
            nn.RNN(nn.OptimizedLSTMCell(self.hidden_size)),
            nn.RNN(nn.OptimizedLSTMCell(self.hidden_size)),
        )
        x = layer(x, seq_lengths=mask.sum(-1))
        # Of each feature, what it is at its highest, anywhere in the sentence.
        x = jnp.where(mask[..., None], x, -jnp.inf).max(axis=1)
        return nn.Dense(1)(drop(x))[..., 0]
