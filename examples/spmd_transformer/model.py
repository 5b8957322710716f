"""A decoder-only transformer whose axes have names; which mesh, it does not know."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
from jax import numpy as jnp

import batiste.linen as nn

__all__ = ["LLAMA_70B", "Config", "Transformer"]


@dataclasses.dataclass(frozen=True)
class Config:
    """The sizes of a model.

    Attributes:
      vocab: tokens that there are.
      layers: blocks of attention and feed-forward.
      embed: features of a token between the blocks.
      heads: attention heads of `head_dim` features each.
      kv_heads: heads of keys and values, each for `heads / kv_heads` heads of queries.
      head_dim: features of a head.
      mlp: hidden features of the feed-forward.
      experts: feed-forwards to choose from for each token; 0 is one for all.
      experts_per_token: how many of them a token goes through.
      dtype: of the computation; parameters are float32.
      remat: compute a block again for the gradient, instead of keeping what it
        computed.
    """

    vocab: int = 256
    layers: int = 2
    embed: int = 64
    heads: int = 8
    kv_heads: int = 4
    head_dim: int = 8
    mlp: int = 256
    experts: int = 0
    experts_per_token: int = 2
    dtype: Any = jnp.float32
    remat: bool = False


# The sizes of the 70-billion-parameter model of Touvron et al., 2023,
# https://arxiv.org/abs/2307.09288.
LLAMA_70B = Config(
    vocab=32_000,
    layers=80,
    embed=8192,
    heads=64,
    kv_heads=8,
    head_dim=128,
    mlp=28_672,
    dtype=jnp.bfloat16,
    remat=True,
)


def init(*names: str | None, batch_axis: tuple[int, ...] = ()) -> Any:
    """An initializer of kernels that names their axes."""
    scaled = nn.initializers.variance_scaling(
        1.0, "fan_in", "truncated_normal", batch_axis=batch_axis
    )
    return nn.with_logical_partitioning(scaled, names)


def constrain(x: jax.Array, *names: str | None) -> jax.Array:
    """The same values, laid out as the rules say for axes of these names."""
    return nn.with_logical_constraint(x, names)


def rotate(x: jax.Array) -> jax.Array:
    """Turns pairs of features by angles that tell the position of a token.

    That is the rotary embedding of Su et al., 2021, https://arxiv.org/abs/2104.09864.
    `x` is (batch, length, heads, head_dim).
    """
    half = x.shape[-1] // 2
    frequencies = 1e4 ** (-jnp.arange(half, dtype=jnp.float32) / half)
    angles = jnp.arange(x.shape[1])[:, None, None] * frequencies
    sin, cos = jnp.sin(angles), jnp.cos(angles)
    left, right = jnp.split(x.astype(jnp.float32), 2, axis=-1)
    turned = [left * cos - right * sin, left * sin + right * cos]
    return jnp.concatenate(turned, axis=-1).astype(x.dtype)


class Attention(nn.Module):
    """Each token looks at itself and those before; (batch, length, embed) to same."""

    config: Config

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        c = self.config

        def project(name: str, heads: int, axis: str) -> jax.Array:
            return nn.DenseGeneral(
                (heads, c.head_dim),
                use_bias=False,
                dtype=c.dtype,
                kernel_init=init("embed", axis, "head_dim"),
                name=name,
            )(x)

        query = rotate(project("query", c.heads, "heads"))
        key = rotate(project("key", c.kv_heads, "kv_heads"))
        value = project("value", c.kv_heads, "kv_heads")
        query = constrain(query, "batch", "length", "heads", "head_dim")
        key = constrain(key, "batch", "kv_length", "kv_heads", "head_dim")
        value = constrain(value, "batch", "kv_length", "kv_heads", "head_dim")

        # Heads of queries that share keys and values: (batch, length, kv_heads, group,
        # head_dim).
        query = query.reshape(*query.shape[:2], c.kv_heads, -1, c.head_dim)
        scores = jnp.einsum("bqkgh,bskh->bkgqs", query, key) / c.head_dim**0.5
        length = x.shape[1]
        seen = jnp.tril(jnp.ones((length, length), bool))
        scores = jnp.where(seen, scores.astype(jnp.float32), -jnp.inf)
        weights = jax.nn.softmax(scores).astype(c.dtype)
        y = jnp.einsum("bkgqs,bskh->bqkgh", weights, value)
        y = y.reshape(*y.shape[:2], c.heads, c.head_dim)
        y = constrain(y, "batch", "length", "heads", "head_dim")
        return nn.DenseGeneral(
            c.embed,
            axis=(-2, -1),
            use_bias=False,
            dtype=c.dtype,
            kernel_init=init("heads", "head_dim", "embed"),
            name="out",
        )(y)


class FeedForward(nn.Module):
    """A gated hidden layer, as in Shazeer, 2020, https://arxiv.org/abs/2002.05202."""

    config: Config

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        c = self.config

        def dense(name: str, features: int, *names: str) -> nn.Dense:
            kernel_init = init(*names)
            return nn.Dense(
                features, False, c.dtype, kernel_init=kernel_init, name=name
            )

        gate = dense("gate", c.mlp, "embed", "mlp")(x)
        up = dense("up", c.mlp, "embed", "mlp")(x)
        hidden = constrain(nn.silu(gate) * up, "batch", "length", "mlp")
        return dense("down", c.embed, "mlp", "embed")(hidden)


class Mixture(nn.Module):
    """A feed-forward for each token, of its choice among several.

    After Lepikhin et al., 2020, https://arxiv.org/abs/2006.16668: each expert takes
    at most `capacity` tokens of each text; those beyond it pass by. The second result
    is small where the experts are used alike; it is to be added to the loss.
    """

    config: Config

    @nn.compact
    def __call__(self, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        c, length = self.config, x.shape[1]
        capacity = -(-2 * length * c.experts_per_token // c.experts)

        def kernel(name: str, *shape: int, axes: tuple[str, str]) -> jax.Array:
            init_fn = init("expert", *axes, batch_axis=(0,))
            value: Any = self.param(name, init_fn, (c.experts, *shape))
            return value.astype(c.dtype)

        logits = nn.Dense(
            c.experts,
            use_bias=False,
            dtype=jnp.float32,
            kernel_init=init("embed", None),
            name="router",
        )(x)
        shares = jax.nn.softmax(logits)  # (batch, length, experts)
        top_shares, chosen = jax.lax.top_k(shares, c.experts_per_token)
        top_shares /= top_shares.sum(-1, keepdims=True)
        choice = jax.nn.one_hot(chosen, c.experts)  # (batch, length, choices, experts)

        # The place of each token in the queue of its expert: first choices come first.
        first = choice.swapaxes(1, 2)
        queue = jnp.cumsum(first.reshape(x.shape[0], -1, c.experts), axis=1)
        place = queue.reshape(first.shape).swapaxes(1, 2) * choice - 1
        slot = jax.nn.one_hot(place.astype(jnp.int32), capacity)
        # Where each token goes, with its share: (batch, length, experts, capacity).
        combine = jnp.einsum("blk,blkec->blec", top_shares, slot).astype(c.dtype)
        dispatch = (combine > 0).astype(c.dtype)

        inside = ("expert", "batch", "capacity")
        tokens = jnp.einsum("blec,bld->ebcd", dispatch, x)
        tokens = constrain(tokens, *inside, "embed")
        gate = kernel("gate", c.embed, c.mlp, axes=("embed", "mlp"))
        up = kernel("up", c.embed, c.mlp, axes=("embed", "mlp"))
        down = kernel("down", c.mlp, c.embed, axes=("mlp", "embed"))
        hidden = nn.silu(jnp.einsum("ebcd,edf->ebcf", tokens, gate))
        hidden *= jnp.einsum("ebcd,edf->ebcf", tokens, up)
        hidden = constrain(hidden, *inside, "mlp")
        y = jnp.einsum("ebcf,efd->ebcd", hidden, down)
        y = jnp.einsum("blec,ebcd->bld", combine, constrain(y, *inside, "embed"))

        used = choice[:, :, 0].mean((0, 1))
        return y, c.experts * (used * shares.mean((0, 1))).sum()


class Block(nn.Module):
    """Attention and feed-forward, each added to what it is given."""

    config: Config

    @nn.compact
    def __call__(self, x: jax.Array, _: None) -> tuple[jax.Array, jax.Array]:
        c = self.config
        x = x + Attention(c, name="attention")(norm(c, "attention_norm")(x))
        x = constrain(x, "batch", "length", "embed")
        y = norm(c, "mlp_norm")(x)
        if c.experts:
            y, unbalance = Mixture(c, name="experts")(y)
        else:
            y, unbalance = FeedForward(c, name="mlp")(y), jnp.float32(0)
        return constrain(x + y, "batch", "length", "embed"), unbalance


def norm(c: Config, name: str) -> nn.RMSNorm:
    scale_init = nn.with_logical_partitioning(nn.initializers.ones, ("embed",))
    return nn.RMSNorm(dtype=c.dtype, scale_init=scale_init, name=name)


class Transformer(nn.Module):
    """Predicts each next token.

    Maps tokens (batch, length) to logits (batch, length, vocab) in float32, and a
    number that is small where the experts, if any, are used alike.
    """

    config: Config

    @nn.compact
    def __call__(self, tokens: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Returns the logits and what the experts' load costs."""
        c = self.config
        x = nn.Embed(
            c.vocab,
            c.embed,
            dtype=c.dtype,
            embedding_init=nn.with_logical_partitioning(
                nn.initializers.normal(1.0), ("vocab", "embed")
            ),
            name="embed",
        )(tokens)
        x = constrain(x, "batch", "length", "embed")
        # One block, compiled once: its parameters are stacked along an axis "layers".
        block = nn.remat(Block, prevent_cse=False) if c.remat else Block
        x, unbalance = nn.scan(
            block,
            variable_axes={"params": 0},
            split_rngs={"params": True},
            length=c.layers,
            metadata_params={nn.PARTITION_NAME: "layers"},
        )(c, name="blocks")(x, None)
        x = norm(c, "norm")(x)
        logits = nn.Dense(
            c.vocab,
            use_bias=False,
            dtype=c.dtype,
            kernel_init=init("embed", "vocab"),
            name="logits",
        )(x)
        logits = constrain(logits.astype(jnp.float32), "batch", "length", "vocab")
        return logits, unbalance.mean()
