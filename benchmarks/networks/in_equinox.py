"""The networks in Equinox, which has no batch dimension: `jax.vmap` adds it."""

from __future__ import annotations

import equinox as eqx
import jax
from jax import numpy as jnp

__all__ = ["MLP", "ResNet50", "Transformer"]


class MLP(eqx.Module):
    layers: list

    def __init__(self, depth: int, width: int, key: jax.Array):
        keys = jax.random.split(key, depth)
        self.layers = [eqx.nn.Linear(width, width, key=k) for k in keys]

    def __call__(self, x):
        for layer in self.layers:
            x = jax.nn.relu(jax.vmap(layer)(x))
        return x


class Block(eqx.Module):
    norm_1: eqx.nn.LayerNorm
    norm_2: eqx.nn.LayerNorm
    attention: eqx.nn.MultiheadAttention
    dense_1: eqx.nn.Linear
    dense_2: eqx.nn.Linear

    def __init__(self, width: int, num_heads: int, key: jax.Array):
        keys = jax.random.split(key, 3)
        self.norm_1 = eqx.nn.LayerNorm(width)
        self.norm_2 = eqx.nn.LayerNorm(width)
        bias = {f"use_{part}_bias": True for part in ("query", "key", "value")}
        self.attention = eqx.nn.MultiheadAttention(
            num_heads, width, use_output_bias=True, key=keys[0], **bias
        )
        self.dense_1 = eqx.nn.Linear(width, 4 * width, key=keys[1])
        self.dense_2 = eqx.nn.Linear(4 * width, width, key=keys[2])

    def __call__(self, x):
        y = jax.vmap(self.norm_1)(x)
        x = x + self.attention(y, y, y)
        y = jax.vmap(self.norm_2)(x)
        y = jax.nn.gelu(jax.vmap(self.dense_1)(y))
        return x + jax.vmap(self.dense_2)(y)


class Transformer(eqx.Module):
    blocks: list

    def __init__(self, depth: int, width: int, num_heads: int, key: jax.Array):
        keys = jax.random.split(key, depth)
        self.blocks = [Block(width, num_heads, k) for k in keys]

    def __call__(self, x):
        def run(x):
            for block in self.blocks:
                x = block(x)
            return x

        return jax.vmap(run)(x)


class Scaling(eqx.Module):
    """Batch normalization with stored statistics; Equinox's own carries state."""

    mean: jax.Array
    var: jax.Array
    scale: jax.Array
    bias: jax.Array

    def __init__(self, channels: int):
        self.mean, self.bias = jnp.zeros(channels), jnp.zeros(channels)
        self.var, self.scale = jnp.ones(channels), jnp.ones(channels)

    def __call__(self, x):
        scale = jax.lax.rsqrt(self.var + 1e-5) * self.scale
        shape = (-1, 1, 1)
        return (x - self.mean.reshape(shape)) * scale.reshape(
            shape
        ) + self.bias.reshape(shape)


class Bottleneck(eqx.Module):
    convs: list
    norms: list
    shortcut: list

    def __init__(self, channels: int, filters: int, stride: int, key: jax.Array):
        keys = jax.random.split(key, 4)
        out = 4 * filters

        def conv(i, inputs, outputs, size, stride=1):
            return eqx.nn.Conv2d(
                inputs, outputs, size, stride, "SAME", use_bias=False, key=keys[i]
            )

        self.convs = [
            conv(0, channels, filters, 1),
            conv(1, filters, filters, 3, stride),
            conv(2, filters, out, 1),
        ]
        self.norms = [Scaling(filters), Scaling(filters), Scaling(out)]
        self.shortcut = []
        if channels != out or stride != 1:
            self.shortcut = [conv(3, channels, out, 1, stride), Scaling(out)]

    def __call__(self, x):
        y = jax.nn.relu(self.norms[0](self.convs[0](x)))
        y = jax.nn.relu(self.norms[1](self.convs[1](y)))
        y = self.norms[2](self.convs[2](y))
        for layer in self.shortcut:
            x = layer(x)
        return jax.nn.relu(x + y)


class ResNet50(eqx.Module):
    stem: eqx.nn.Conv2d
    norm: Scaling
    pool: eqx.nn.MaxPool2d
    blocks: list
    dense: eqx.nn.Linear

    def __init__(self, key: jax.Array, num_classes: int = 10):
        keys = iter(jax.random.split(key, 18))
        self.stem = eqx.nn.Conv2d(3, 64, 7, 2, "SAME", use_bias=False, key=next(keys))
        self.norm = Scaling(64)
        self.pool = eqx.nn.MaxPool2d(3, 2, padding=1)
        self.blocks = []
        channels = 64
        for stage, blocks in enumerate((3, 4, 6, 3)):
            filters = 64 * 2**stage
            for block in range(blocks):
                stride = 2 if stage > 0 and block == 0 else 1
                self.blocks.append(Bottleneck(channels, filters, stride, next(keys)))
                channels = 4 * filters
        self.dense = eqx.nn.Linear(channels, num_classes, key=next(keys))

    def __call__(self, x):
        def run(x):
            x = self.pool(jax.nn.relu(self.norm(self.stem(x))))
            for block in self.blocks:
                x = block(x)
            return self.dense(jnp.mean(x, (1, 2)))

        return jax.vmap(run)(x)
