"""Adding a bias to the result of a layer."""

from __future__ import annotations

from jax import lax
from jax import numpy as jnp

from ..ops import eager_jit
from ..types import Array

__all__ = ["add_bias"]


def _add_bias(y: Array, bias: Array, shape: tuple[int, ...]) -> Array:
    # A custom dot_general or a preferred element type may leave the two different.
    if y.dtype != bias.dtype:
        dtype = jnp.result_type(y, bias)
        y = lax.convert_element_type(y, dtype)
        bias = lax.convert_element_type(bias, dtype)
    if bias.shape != shape:
        bias = lax.reshape(bias, shape)
    return lax.add(y, bias)


_add = eager_jit(_add_bias, static_argnums=(2,))


def add_bias(y: Array, bias: Array, shape: tuple[int, ...] | None = None) -> Array:
    """Adds `bias` to `y`.

    Args:
      y: an array with as many axes as `shape` has.
      bias: an array of as many elements as `shape` says.
      shape: what `bias` is reshaped to first; by default it is put on the last axes.

    >>> import jax.numpy as jnp
    >>> add_bias(jnp.zeros((2, 3)), jnp.arange(3.0)).tolist()
    [[0.0, 1.0, 2.0], [0.0, 1.0, 2.0]]
    """
    if shape is None:
        shape = (1,) * (y.ndim - bias.ndim) + bias.shape
    return _add(y, bias, shape)
