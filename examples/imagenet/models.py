"""Residual networks: ResNet-18, 34, 50, 101, 152 and 200.

The networks of "Deep Residual Learning for Image Recognition" (He et al.,
https://arxiv.org/abs/1512.03385), with two changes that are usual today: a bottleneck
strides in its 3x3 convolution, and the last normalization of a block starts with the
scale zero, so that a block starts as the identity
(https://arxiv.org/abs/1706.02677, section 5.1).
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
from jax import numpy as jnp

import batiste.linen as nn

__all__ = ["NAMES", "BasicBlock", "Bottleneck", "ResNet", "create_model"]

Layer = Callable[..., Any]


class BasicBlock(nn.Module):
    """Two 3x3 convolutions beside a shortcut."""

    features: int
    strides: int
    conv: Layer
    norm: Layer

    expansion = 1

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps (batch, height, width, channels) to `features` channels."""
        strides = (self.strides, self.strides)
        y = self.conv(self.features, (3, 3), strides)(x)
        y = nn.relu(self.norm()(y))
        y = self.conv(self.features, (3, 3))(y)
        y = self.norm(scale_init=nn.initializers.zeros)(y)
        if x.shape != y.shape:
            x = self.conv(self.features, (1, 1), strides, name="shortcut")(x)
            x = self.norm(name="shortcut_norm")(x)
        return nn.relu(x + y)


class Bottleneck(nn.Module):
    """A 1x1, a 3x3 and a 1x1 convolution beside a shortcut."""

    features: int
    strides: int
    conv: Layer
    norm: Layer

    expansion = 4

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps (batch, height, width, channels) to 4 `features` channels."""
        strides = (self.strides, self.strides)
        y = nn.relu(self.norm()(self.conv(self.features, (1, 1))(x)))
        y = nn.relu(self.norm()(self.conv(self.features, (3, 3), strides)(y)))
        y = self.conv(4 * self.features, (1, 1))(y)
        y = self.norm(scale_init=nn.initializers.zeros)(y)
        if x.shape != y.shape:
            x = self.conv(4 * self.features, (1, 1), strides, name="shortcut")(x)
            x = self.norm(name="shortcut_norm")(x)
        return nn.relu(x + y)


class ResNet(nn.Module):
    """Classifies images.

    Parameters and the running statistics are float32. Where the whole batch of all
    devices is one argument of a jitted function, so are the statistics of a batch: they
    are those of all devices, and of all processes.

    Attributes:
      stage_sizes: how many blocks each stage has. From the second one on, the first
        block of a stage halves height and width, and the stage doubles the features.
      block: what the stages are made of.
      num_classes: how many logits to return.
      num_filters: the features of the first stage.
      small_images: begin with a 3x3 convolution instead of one of 7x7 with stride 2 and
        a pooling with stride 2, for images of some 32x32 pixels.
      momentum: of the running statistics.
      dtype: of the computation; the logits are float32.
    """

    stage_sizes: Sequence[int]
    block: Any
    num_classes: int
    num_filters: int = 64
    small_images: bool = False
    momentum: float = 0.9
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = True) -> jax.Array:
        """Maps images (batch, height, width, channels) to logits (batch, classes)."""
        conv = functools.partial(
            nn.Conv,
            use_bias=False,
            padding="SAME",
            dtype=self.dtype,
            kernel_init=nn.initializers.variance_scaling(2.0, "fan_out", "normal"),
        )
        norm = functools.partial(
            nn.BatchNorm,
            use_running_average=not train,
            momentum=self.momentum,
            epsilon=1e-5,
            dtype=self.dtype,
        )
        x = x.astype(self.dtype)
        if self.small_images:
            x = conv(self.num_filters, (3, 3), name="stem")(x)
        else:
            x = conv(self.num_filters, (7, 7), (2, 2), name="stem")(x)
        x = nn.relu(norm(name="stem_norm")(x))
        if not self.small_images:
            x = nn.max_pool(x, (3, 3), strides=(2, 2), padding="SAME")
        for stage, size in enumerate(self.stage_sizes):
            for index in range(size):
                strides = 2 if stage > 0 and index == 0 else 1
                features = self.num_filters * 2**stage
                x = self.block(features, strides, conv=conv, norm=norm)(x)
        x = x.mean(axis=(1, 2))
        x = nn.Dense(self.num_classes, dtype=self.dtype, name="head")(x)
        return x.astype(jnp.float32)


NAMES = {
    "resnet18": (BasicBlock, (2, 2, 2, 2)),
    "resnet34": (BasicBlock, (3, 4, 6, 3)),
    "resnet50": (Bottleneck, (3, 4, 6, 3)),
    "resnet101": (Bottleneck, (3, 4, 23, 3)),
    "resnet152": (Bottleneck, (3, 8, 36, 3)),
    "resnet200": (Bottleneck, (3, 24, 36, 3)),
}


def create_model(config: Any) -> ResNet:
    """The network that a config names.

    Args:
      config: has `model` (a key of `NAMES`), `num_classes`, `num_filters`,
        `small_images`, `batch_norm_momentum` and `dtype`.

    Raises:
      ValueError: the name or the dtype is none of those there are.
    """
    if config.model not in NAMES:
        raise ValueError(
            f"config.model is {config.model!r}. Choose one of {', '.join(NAMES)}."
        )
    if config.dtype not in ("float32", "bfloat16", "float16"):
        raise ValueError(
            f"config.dtype is {config.dtype!r}. Choose float32, bfloat16 or float16."
        )
    block, stage_sizes = NAMES[config.model]
    return ResNet(
        stage_sizes=stage_sizes,
        block=block,
        num_classes=config.num_classes,
        num_filters=config.num_filters,
        small_images=config.small_images,
        momentum=config.batch_norm_momentum,
        dtype=jnp.dtype(config.dtype),
    )
