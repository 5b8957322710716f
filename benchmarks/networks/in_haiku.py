"""The networks in dm-haiku."""

from __future__ import annotations

import haiku as hk
import jax
from jax import numpy as jnp

__all__ = ["mlp", "resnet50", "transformer"]


def mlp(depth: int, width: int):
    def run(x):
        for _ in range(depth):
            x = jax.nn.relu(hk.Linear(width)(x))
        return x

    return hk.without_apply_rng(hk.transform(run))


def transformer(depth: int, num_heads: int):
    def block(x):
        width = x.shape[-1]
        init = hk.initializers.VarianceScaling()
        y = hk.LayerNorm(-1, True, True)(x)
        attention = hk.MultiHeadAttention(num_heads, width // num_heads, w_init=init)
        x = x + attention(y, y, y)
        y = hk.LayerNorm(-1, True, True)(x)
        return x + hk.Linear(width)(jax.nn.gelu(hk.Linear(4 * width)(y)))

    def run(x):
        for _ in range(depth):
            x = block(x)
        return x

    return hk.without_apply_rng(hk.transform(run))


def resnet50(num_classes: int = 10):
    def norm(x):
        return hk.BatchNorm(True, True, 0.99)(x, is_training=hk.running_init())

    def bottleneck(x, filters, stride):
        y = jax.nn.relu(norm(hk.Conv2D(filters, 1, with_bias=False)(x)))
        y = jax.nn.relu(norm(hk.Conv2D(filters, 3, stride, with_bias=False)(y)))
        y = norm(hk.Conv2D(4 * filters, 1, with_bias=False)(y))
        if x.shape != y.shape:
            x = norm(hk.Conv2D(4 * filters, 1, stride, with_bias=False)(x))
        return jax.nn.relu(x + y)

    def run(x):
        x = jax.nn.relu(norm(hk.Conv2D(64, 7, 2, with_bias=False)(x)))
        x = hk.max_pool(x, (1, 3, 3, 1), (1, 2, 2, 1), "SAME")
        for stage, blocks in enumerate((3, 4, 6, 3)):
            for block in range(blocks):
                stride = 2 if stage > 0 and block == 0 else 1
                x = bottleneck(x, 64 * 2**stage, stride)
        return hk.Linear(num_classes)(jnp.mean(x, (1, 2)))

    return hk.without_apply_rng(hk.transform_with_state(run))
