"""Initializers of parameters: those of `jax.nn.initializers`, under one name.

An initializer is called as `init(key, shape, dtype)` and returns an array.

>>> import jax
>>> import jax.numpy as jnp
>>> init = lecun_normal()
>>> init(jax.random.key(0), (3, 2), jnp.float32).shape
(3, 2)
"""

from __future__ import annotations

from jax.nn.initializers import (
    Initializer,
    constant,
    delta_orthogonal,
    glorot_normal,
    glorot_uniform,
    he_normal,
    he_uniform,
    kaiming_normal,
    kaiming_uniform,
    lecun_normal,
    lecun_uniform,
    normal,
    ones,
    orthogonal,
    truncated_normal,
    uniform,
    variance_scaling,
    xavier_normal,
    xavier_uniform,
    zeros,
)

__all__ = [
    "Initializer",
    "constant",
    "default_embed_init",
    "default_kernel_init",
    "delta_orthogonal",
    "glorot_normal",
    "glorot_uniform",
    "he_normal",
    "he_uniform",
    "kaiming_normal",
    "kaiming_uniform",
    "lecun_normal",
    "lecun_uniform",
    "normal",
    "ones",
    "ones_init",
    "orthogonal",
    "truncated_normal",
    "uniform",
    "variance_scaling",
    "xavier_normal",
    "xavier_uniform",
    "zeros",
    "zeros_init",
]


def zeros_init() -> Initializer:
    """Returns the initializer that fills any shape with zeros.

    >>> import jax
    >>> import jax.numpy as jnp
    >>> zeros_init()(jax.random.key(0), (2, 3), jnp.float32)
    Array([[0., 0., 0.],
           [0., 0., 0.]], dtype=float32)
    """
    return zeros


def ones_init() -> Initializer:
    """Returns the initializer that fills any shape with ones.

    >>> import jax
    >>> import jax.numpy as jnp
    >>> ones_init()(jax.random.key(0), (3, 2), jnp.float32)
    Array([[1., 1.],
           [1., 1.],
           [1., 1.]], dtype=float32)
    """
    return ones


# The layers share these two objects, so that what is memoised for an initializer is
# memoised once.
default_kernel_init = lecun_normal()
default_embed_init = variance_scaling(1.0, "fan_in", "normal", out_axis=0)
