"""`softmax` and `log_softmax` with the arguments that are documented of them."""

from __future__ import annotations

from collections.abc import Sequence

import jax

from .types import Array, ArrayLike

__all__ = ["log_softmax", "softmax"]


def softmax(
    x: ArrayLike,
    axis: int | Sequence[int] | None = -1,
    where: ArrayLike | None = None,
    initial: ArrayLike | None = None,
) -> Array:
    """Exponentials of `x`, divided by their sum: `jax.nn.softmax`.

    Args:
      x: an array.
      axis: the axis, or axes, along which the result sums to 1.
      where: booleans that broadcast to `x`: which elements count. The result is 0
        elsewhere.
      initial: at least what the largest element is taken for, in case that none
        counts. The result does not depend on it, and JAX needs it no longer.

    Returns:
      An array of the shape of `x`.

    >>> import jax.numpy as jnp
    >>> x = jnp.array([1.0, 1.0, 5.0])
    >>> softmax(x, where=jnp.array([True, True, False]), initial=0.0).tolist()
    [0.5, 0.5, 0.0]
    """
    del initial
    return jax.nn.softmax(x, axis, where=where)


def log_softmax(
    x: ArrayLike,
    axis: int | Sequence[int] | None = -1,
    where: ArrayLike | None = None,
    initial: ArrayLike | None = None,
) -> Array:
    """The logarithm of `softmax`, computed without it: `jax.nn.log_softmax`.

    Args:
      x: an array.
      axis: as for `softmax`.
      where: as for `softmax`; the result is minus infinity elsewhere.
      initial: as for `softmax`.

    Returns:
      An array of the shape of `x`.

    >>> import jax.numpy as jnp
    >>> x = jnp.array([1.0, 5.0])
    >>> log_softmax(x, where=jnp.array([True, False]), initial=0.0).tolist()
    [0.0, -inf]
    """
    del initial
    return jax.nn.log_softmax(x, axis, where=where)
