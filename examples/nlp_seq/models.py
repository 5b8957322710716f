"""A transformer encoder that gives each word of a sentence a tag."""

from __future__ import annotations

import jax
from input_pipeline import PAD, UNKNOWN
from jax import numpy as jnp

import batiste.linen as nn

__all__ = ["Block", "Tagger", "WordFeatures", "positions"]


def positions(length: int, features: int) -> jax.Array:
    """Sines and cosines of places in a sentence, (length, features)."""
    place = jnp.arange(length, dtype=jnp.float32)[:, None]
    rates = 10_000.0 ** (-jnp.arange(0, features, 2) / features)
    angles = place * rates
    return jnp.concatenate([jnp.sin(angles), jnp.cos(angles)], axis=-1)


class WordFeatures(nn.Module):
    """Maps words (batch, length) and affixes (batch, length, affixes) to features.

    The feature of a word is that of its number and those of its affixes, added up, so
    something is known of a word that training has not seen.

    Attributes:
      num_words: how many words have a number.
      num_affixes: how many numbers affixes have.
      features: features of a word.
      word_dropout: share of words that are made unknown in training.
    """

    num_words: int
    num_affixes: int
    features: int
    word_dropout: float

    @nn.compact
    def __call__(
        self, words: jax.Array, affixes: jax.Array, *, train: bool
    ) -> jax.Array:
        """Returns the features (batch, length, features)."""
        if train and self.word_dropout:
            key = self.make_rng("dropout")
            lost = jax.random.bernoulli(key, self.word_dropout, words.shape)
            words = jnp.where(lost & (words != PAD), UNKNOWN, words)
        init = nn.initializers.normal(0.3)
        x = nn.Embed(self.num_words, self.features, embedding_init=init)(words)
        parts = nn.Embed(self.num_affixes, self.features, embedding_init=init)(affixes)
        return x + parts.sum(axis=-2)


class Block(nn.Module):
    """Attention, and then a layer for each word: each normalized before, added after.

    Attributes:
      num_heads: heads of attention.
      mlp_size: features in the middle of the layer for each word.
      dropout: share of features that are dropped in training.
    """

    num_heads: int
    mlp_size: int
    dropout: float

    @nn.compact
    def __call__(self, x: jax.Array, mask: jax.Array, *, train: bool) -> jax.Array:
        """Maps features (batch, length, features) to such ones.

        Args:
          x: the features.
          mask: which words (batch, 1, length, length) each word sees.
          train: whether to drop features.
        """
        drop = nn.Dropout(self.dropout, deterministic=not train)
        y = nn.LayerNorm()(x)
        y = nn.MultiHeadDotProductAttention(self.num_heads)(y, mask=mask)
        x = x + drop(y)
        y = nn.LayerNorm()(x)
        y = nn.gelu(nn.Dense(self.mlp_size)(y))
        y = nn.Dense(x.shape[-1])(drop(y))
        return x + drop(y)


class Tagger(nn.Module):
    """Maps words and their affixes to logits of tags.

    The features of each word, and a convolution over the words beside it, go through
    blocks of attention.

    Attributes:
      num_words: how many words have a number.
      num_affixes: how many numbers affixes have.
      num_tags: how many tags there are, padding included.
      features: features of a word.
      num_layers: how many blocks.
      num_heads: heads of attention.
      mlp_size: features in the middle of a block.
      word_dropout: share of words that are made unknown in training.
      dropout: share of features that are dropped in training.
    """

    num_words: int
    num_affixes: int
    num_tags: int
    features: int
    num_layers: int
    num_heads: int
    mlp_size: int
    word_dropout: float = 0.0
    dropout: float = 0.0

    @nn.compact
    def __call__(
        self, words: jax.Array, affixes: jax.Array, *, train: bool = False
    ) -> jax.Array:
        """Returns the logits (batch, length, tags).

        Args:
          words: numbers (batch, length).
          affixes: numbers (batch, length, affixes).
          train: whether to drop; then an rng `dropout` is needed.
        """
        x = WordFeatures(
            self.num_words, self.num_affixes, self.features, self.word_dropout
        )(words, affixes, train=train)
        x = x + 0.3 * positions(*x.shape[-2:])
        x = nn.Dropout(self.dropout, deterministic=not train)(x)
        is_word = words != PAD
        # The words on both sides count most; with few sentences, attention alone is
        # slow to find them. Padding is as what is beyond the sentence: zero.
        x = jnp.where(is_word[..., None], x, 0.0)
        x = x + nn.gelu(nn.Conv(self.features, kernel_size=(3,))(x))
        mask = nn.make_attention_mask(is_word, is_word)
        for _ in range(self.num_layers):
            x = Block(self.num_heads, self.mlp_size, self.dropout)(x, mask, train=train)
        return nn.Dense(self.num_tags)(nn.LayerNorm()(x))
