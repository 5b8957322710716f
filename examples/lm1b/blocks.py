"""The blocks of a transformer, whose axes have names; which mesh, they do not know.

Vaswani et al., 2017, https://arxiv.org/abs/1706.03762, with the normalization before
each layer, as in Xiong et al., 2020, https://arxiv.org/abs/2002.04745.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
from jax import numpy as jnp

import batiste.linen as nn

__all__ = [
    "Attention",
    "Block",
    "Config",
    "FeedForward",
    "causal_mask",
    "constrain",
    "embedding",
    "norm",
    "segment_mask",
    "shift_right",
    "sinusoids",
]


@dataclasses.dataclass(frozen=True)
class Config:
    """The sizes of a model.

    Attributes:
      vocab_size: tokens that there are.
      embed: features of a token between the blocks.
      heads: attention heads, which divide `embed`.
      layers: blocks of the encoder, and of the decoder.
      mlp: hidden features of the feed-forward.
      dropout: share of features left out in training, after each layer.
      attention_dropout: share of attention weights left out in training.
      dtype: of the computation; parameters are float32.
      decode: whether the decoder sees one token at a time, and keeps keys and values.
    """

    vocab_size: int
    embed: int = 512
    heads: int = 8
    layers: int = 6
    mlp: int = 2048
    dropout: float = 0.1
    attention_dropout: float = 0.1
    dtype: Any = jnp.float32
    decode: bool = False


def init(*names: str | None) -> Callable[..., Any]:
    """An initializer of kernels that names their axes."""
    return nn.with_logical_partitioning(nn.initializers.xavier_uniform(), names)


def constrain(x: jax.Array, *names: str | None) -> jax.Array:
    """The same values, laid out as the rules say for axes of these names."""
    return nn.with_logical_constraint(x, names)


def norm(c: Config, name: str) -> nn.LayerNorm:
    """Normalization of the features of each token."""
    scale = nn.with_logical_partitioning(nn.initializers.ones, ("norm",))
    bias = nn.with_logical_partitioning(nn.initializers.zeros, ("norm",))
    return nn.LayerNorm(dtype=c.dtype, scale_init=scale, bias_init=bias, name=name)


def embedding(c: Config, name: str | None = None) -> nn.Embed:
    """The embedding of tokens, which also makes logits of features (`attend`)."""
    start = nn.with_logical_partitioning(
        nn.initializers.normal(c.embed**-0.5), ("vocab", "embed")
    )
    return nn.Embed(c.vocab_size, c.embed, c.dtype, embedding_init=start, name=name)


def sinusoids(positions: jax.Array, features: int) -> jax.Array:
    """What tells positions (...) apart: sines and cosines (..., features)."""
    half = features // 2
    frequencies = 1e4 ** (-jnp.arange(half, dtype=jnp.float32) / max(half - 1, 1))
    angles = positions[..., None] * frequencies
    return jnp.concatenate([jnp.sin(angles), jnp.cos(angles)], axis=-1)


def segment_mask(queries: jax.Array, keys: jax.Array) -> jax.Array:
    """Who may look at whom: tokens of one segment (batch, 1, queries, keys).

    Segment 0 is padding, which nobody looks at.
    """
    same = queries[:, None, :, None] == keys[:, None, None, :]
    return same & (keys > 0)[:, None, None, :]


def causal_mask(length: int) -> jax.Array:
    """Lets each token look at itself and those before (1, 1, length, length)."""
    return jnp.tril(jnp.ones((1, 1, length, length), bool))


def shift_right(tokens: jax.Array, positions: jax.Array) -> jax.Array:
    """What a decoder sees when it is to predict `tokens`: those before, at first 0."""
    before = jnp.pad(tokens, ((0, 0), (1, 0)))[:, :-1]
    return jnp.where(positions == 0, 0, before)


class Attention(nn.Module):
    """Attention with several heads; (batch, length, embed) to same."""

    config: Config
    decode: bool = False

    @nn.compact
    def __call__(
        self, x: jax.Array, source: jax.Array, mask: jax.Array | None, train: bool
    ) -> jax.Array:
        """Attends from `x` to `source`, where the mask allows."""
        c = self.config
        return nn.MultiHeadDotProductAttention(
            num_heads=c.heads,
            qkv_features=c.embed,
            dtype=c.dtype,
            use_bias=False,
            kernel_init=init("embed", "heads", "head_dim"),
            out_kernel_init=init("heads", "head_dim", "embed"),
            dropout_rate=c.attention_dropout,
            broadcast_dropout=False,
            deterministic=not train,
            force_fp32_for_softmax=True,
            decode=self.decode,
            name="heads",
        )(x, source, mask=mask)


class FeedForward(nn.Module):
    """A hidden layer for each token; (batch, length, embed) to same."""

    config: Config

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """Maps each token by itself."""
        c = self.config

        def dense(features: int, name: str, *axes: str) -> nn.Dense:
            return nn.Dense(
                features, False, c.dtype, kernel_init=init(*axes), name=name
            )

        hidden = nn.relu(dense(c.mlp, "up", "embed", "mlp")(x))
        hidden = constrain(hidden, "batch", "length", "mlp")
        hidden = nn.Dropout(c.dropout, deterministic=not train)(hidden)
        return dense(c.embed, "down", "mlp", "embed")(hidden)


class Block(nn.Module):
    """Attention to itself, attention to an encoded source, feed-forward.

    Each is added to what it is given. Without `encoded`, attention to it is left out:
    that is a block of an encoder, or of a language model.
    """

    config: Config
    decode: bool = False

    @nn.compact
    def __call__(
        self,
        x: jax.Array,
        mask: jax.Array | None,
        encoded: jax.Array | None = None,
        encoded_mask: jax.Array | None = None,
        train: bool = False,
    ) -> jax.Array:
        """Maps (batch, length, embed) to the same."""
        c = self.config

        def added(y: jax.Array) -> jax.Array:
            y = nn.Dropout(c.dropout, deterministic=not train)(y)
            return constrain(x + y, "batch", "length", "embed")

        y = norm(c, "self_norm")(x)
        x = added(Attention(c, self.decode, name="self_attention")(y, y, mask, train))
        if encoded is not None:
            y = norm(c, "cross_norm")(x)
            attention = Attention(c, name="cross_attention")
            x = added(attention(y, encoded, encoded_mask, train))
        y = norm(c, "mlp_norm")(x)
        return added(FeedForward(c, name="mlp")(y, train))
