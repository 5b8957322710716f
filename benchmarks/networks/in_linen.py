"""The networks in Linen, for Batiste and for the released flax: `nn` is either."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from jax import numpy as jnp

__all__ = ["networks"]


def networks(nn: Any) -> SimpleNamespace:
    """The classes MLP, Transformer, ResNet50 and LSTM, made of the layers of `nn`."""

    class MLP(nn.Module):
        depth: int
        width: int

        @nn.compact
        def __call__(self, x):
            for _ in range(self.depth):
                x = nn.relu(nn.Dense(self.width)(x))
            return x

    class Block(nn.Module):
        num_heads: int

        @nn.compact
        def __call__(self, x):
            y = nn.LayerNorm()(x)
            x = x + nn.MultiHeadDotProductAttention(self.num_heads)(y, y)
            y = nn.LayerNorm()(x)
            y = nn.gelu(nn.Dense(4 * x.shape[-1])(y))
            return x + nn.Dense(x.shape[-1])(y)

    class Transformer(nn.Module):
        depth: int
        num_heads: int

        @nn.compact
        def __call__(self, x):
            for _ in range(self.depth):
                x = Block(self.num_heads)(x)
            return x

    class Bottleneck(nn.Module):
        filters: int
        stride: int

        @nn.compact
        def __call__(self, x):
            strides = (self.stride, self.stride)
            y = nn.Conv(self.filters, (1, 1), use_bias=False)(x)
            y = nn.relu(nn.BatchNorm(use_running_average=True)(y))
            y = nn.Conv(self.filters, (3, 3), strides, use_bias=False)(y)
            y = nn.relu(nn.BatchNorm(use_running_average=True)(y))
            y = nn.Conv(4 * self.filters, (1, 1), use_bias=False)(y)
            y = nn.BatchNorm(use_running_average=True)(y)
            if x.shape != y.shape:
                x = nn.Conv(4 * self.filters, (1, 1), strides, use_bias=False)(x)
                x = nn.BatchNorm(use_running_average=True)(x)
            return nn.relu(x + y)

    class ResNet50(nn.Module):
        num_classes: int = 10

        @nn.compact
        def __call__(self, x):
            x = nn.Conv(64, (7, 7), (2, 2), use_bias=False)(x)
            x = nn.relu(nn.BatchNorm(use_running_average=True)(x))
            x = nn.max_pool(x, (3, 3), (2, 2), padding="SAME")
            for stage, blocks in enumerate((3, 4, 6, 3)):
                for block in range(blocks):
                    stride = 2 if stage > 0 and block == 0 else 1
                    x = Bottleneck(64 * 2**stage, stride)(x)
            return nn.Dense(self.num_classes)(jnp.mean(x, (1, 2)))

    class LSTM(nn.Module):
        features: int

        @nn.compact
        def __call__(self, x):
            scan = nn.scan(
                nn.LSTMCell,
                variable_broadcast="params",
                split_rngs={"params": False},
                in_axes=1,
                out_axes=1,
            )
            zeros = jnp.zeros((x.shape[0], self.features))
            return scan(self.features, name="cell")((zeros, zeros), x)[1]

    return SimpleNamespace(
        MLP=MLP, Transformer=Transformer, ResNet50=ResNet50, LSTM=LSTM
    )
