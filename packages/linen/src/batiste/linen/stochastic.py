"""Layers that draw random numbers: Dropout."""

from __future__ import annotations

from collections.abc import Sequence

import jax
import numpy as np
from jax import numpy as jnp

from batiste.core.errors import InvalidArgumentError

from . import ops
from .module.methods import compact
from .module.module import Module
from .module.text import located
from .module.variables import merge_param
from .types import Array, Key

__all__ = ["Dropout"]


class Dropout(Module):
    """Sets a random part of its input to zero, and scales up the rest.

    Each element is zero with probability `rate`, and otherwise divided by
    `1 - rate`, so that its expectation stays (Srivastava et al. 2014). At evaluation,
    with `deterministic`, the input is returned as it is, and no key is needed.

    Attributes:
      rate: the probability to drop an element, from 0 to 1.
      broadcast_dims: axes along which all elements are dropped or kept together.
      deterministic: whether not to drop; here or at call time.
      rng_collection: the name of the stream that keys are drawn from.

    >>> import jax
    >>> import jax.numpy as jnp
    >>> layer = Dropout(rate=0.5, deterministic=False)
    >>> y = layer.apply({}, jnp.ones((4, 100)), rngs={"dropout": jax.random.key(0)})
    >>> sorted(set(y.ravel().tolist()))
    [0.0, 2.0]
    """

    rate: float
    broadcast_dims: Sequence[int] = ()
    deterministic: bool | None = None
    rng_collection: str = "dropout"

    @compact
    def __call__(
        self,
        inputs: Array,
        deterministic: bool | None = None,
        rng: Key | None = None,
    ) -> Array:
        """Drops elements of `inputs`, of any shape.

        Args:
          inputs: the array.
          deterministic: whether to return `inputs` as it is, if the field of this
            name is None.
          rng: a key to use in place of one from the stream `rng_collection`.

        Returns:
          An array of the shape of `inputs`, of its dtype if that is inexact.

        Raises:
          ValueError: `deterministic` is given nowhere or twice, the rate is no
            probability, or an axis in `broadcast_dims` does not exist.
          InvalidRngError: no key was passed for the stream.
        """
        deterministic = merge_param("deterministic", self.deterministic, deterministic)
        rate = self.rate
        if not 0.0 <= rate <= 1.0:
            raise InvalidArgumentError(
                f"{located(self)}: the dropout rate is the probability to drop an "
                f"element, and must lie between 0 and 1, got {rate}",
                argument="rate",
            )
        if rate == 0.0 or deterministic:
            return inputs
        x = ops.as_array(inputs)
        # With nothing kept, scaling by 1 / 0 would make NaN of it.
        if rate == 1.0:
            return jnp.zeros_like(x)
        keep = 1.0 - rate
        if rng is None:
            rng = self.make_rng(self.rng_collection)
        mask = jax.random.bernoulli(rng, p=keep, shape=_mask_shape(self, x.shape))
        if not jnp.issubdtype(x.dtype, jnp.inexact):
            x = x.astype(jnp.promote_types(x.dtype, jnp.float32))
        return ops.where(mask, ops.div(x, np.asarray(keep, x.dtype)), 0)


def _mask_shape(layer: Dropout, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Returns `shape` with 1 for the axes whose elements share their lot."""
    mask_shape = list(shape)
    for dim in layer.broadcast_dims:
        if not -len(shape) <= dim < len(shape):
            raise InvalidArgumentError(
                f"{located(layer)}: broadcast_dims={tuple(layer.broadcast_dims)} names "
                f"axis {dim}, which an input of shape {shape} does not have; give axes "
                f"between {-len(shape)} and {len(shape) - 1}"
            )
        mask_shape[dim] = 1
    return tuple(mask_shape)
