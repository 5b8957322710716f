"""Initializers of parameters: those of `jax.nn.initializers`, under one name.

An initializer is called as `init(key, shape, dtype)` and returns an array.

>>> import jax
>>> import jax.numpy as jnp
>>> init = lecun_normal()
>>> init(jax.random.key(0), (3, 2), jnp.float32).shape
(3, 2)
"""

from __future__ import annotations

import functools
from typing import Any

import jax
from jax import numpy as jnp
from jax.nn.initializers import (
    Initializer,
    constant,
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


def orthogonal(
    scale: float = 1.0, column_axis: int = -1, dtype: Any = jnp.float32
) -> Initializer:
    """Returns an initializer that makes matrices with orthogonal columns or rows.

    As `jax.nn.initializers.orthogonal`; in half precision, in which JAX decomposes no
    matrix, the numbers are those of float32, rounded.

    Args:
      scale: the factor of all numbers.
      column_axis: the axis of the columns; all others together are the rows.
      dtype: the default dtype of the initializer.

    >>> import jax
    >>> w = orthogonal()(jax.random.key(0), (2, 2), jnp.bfloat16)
    >>> w.dtype, (w @ w.T).round(1).tolist()
    (dtype(bfloat16), [[1.0, 0.0], [0.0, 1.0]])
    """
    init = jax.nn.initializers.orthogonal(scale, column_axis, dtype)
    return _decomposed_widely(init, dtype)


def delta_orthogonal(
    scale: float = 1.0, column_axis: int = -1, dtype: Any = jnp.float32
) -> Initializer:
    """Returns an initializer of convolutions that keep norms: orthogonal in the middle.

    As `jax.nn.initializers.delta_orthogonal`; in half precision the numbers are those
    of float32, rounded.

    Args:
      scale: the factor of all numbers.
      column_axis: the axis of the columns.
      dtype: the default dtype of the initializer.

    >>> import jax
    >>> w = delta_orthogonal()(jax.random.key(0), (3, 2, 2), jnp.float16)
    >>> w.dtype, w[0].tolist()
    (dtype('float16'), [[0.0, 0.0], [0.0, 0.0]])
    """
    init = jax.nn.initializers.delta_orthogonal(scale, column_axis, dtype)
    return _decomposed_widely(init, dtype)


def _decomposed_widely(init: Initializer, default: Any) -> Initializer:
    @functools.wraps(init)
    def init_widely(
        key: Any, shape: Any, dtype: Any = default, *args: Any, **kwargs: Any
    ) -> jax.Array:
        if jnp.dtype(dtype).itemsize >= 4 or not jnp.issubdtype(dtype, jnp.floating):
            return init(key, shape, dtype, *args, **kwargs)
        return init(key, shape, jnp.float32, *args, **kwargs).astype(dtype)

    return init_widely


# The layers share these two objects, so that what is memoised for an initializer is
# memoised once.
default_kernel_init = lecun_normal()
default_embed_init = variance_scaling(1.0, "fan_in", "normal", out_axis=0)
