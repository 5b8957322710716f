"""Dropout over scopes."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import lax

from ..arguments import explains_arguments
from ..errors import InvalidArgumentError
from ..scope.scope import Scope
from ..types import Array, Key

__all__ = [
    "check_rate",
    "dropout",
]


def check_rate(scope: Scope, rate: float) -> None:
    """Raises unless a dropout rate is a probability.

    Args:
      scope: where it is used, for the message.
      rate: the rate.

    Raises:
      InvalidArgumentError: it is not between 0 and 1.

    >>> from batiste.core import Scope
    >>> check_rate(Scope({}), 0.5)
    """
    if not 0.0 <= rate <= 1.0:  # false for NaN, too
        raise InvalidArgumentError(
            f'The dropout rate in "{scope.path_text}" is {rate}. It is a probability, '
            "and must be from 0 to 1."
        )


@explains_arguments()
def dropout(
    scope: Scope,
    inputs: Array,
    rate: float,
    deterministic: bool = False,
    rng: Key | None = None,
) -> Array:
    """Sets each element to zero with probability `rate`, and scales up the others.

    Args:
      scope: the scope that keys are drawn from, of the stream "dropout".
      inputs: array of any shape.
      rate: probability, from 0 to 1, of dropping an element.
      deterministic: whether to return the input as it is.
      rng: key to use instead of one from the scope.

    Returns:
      Array of the input's shape and type, with the same expected value.

    Raises:
      ValueError: the rate is not between 0 and 1.
      InvalidRngError: a key is needed, and there is neither `rng` nor a stream.

    Srivastava et al. 2014, "Dropout: A Simple Way to Prevent Neural Networks from
    Overfitting", JMLR 15.

    >>> import jax
    >>> from batiste.core import apply
    >>> y = apply(dropout)({}, jnp.ones(1000), 0.5, rngs={'dropout': jax.random.key(0)})
    >>> sorted(set(y.tolist()))
    [0.0, 2.0]
    """
    check_rate(scope, rate)
    if deterministic or rate == 0.0:
        return inputs
    x = jnp.asarray(inputs)
    if rng is None:
        rng = scope.make_rng("dropout")
    if rate == 1.0:
        # Not by the formula below: its gradient would be 0 / 0.
        return jnp.zeros_like(x)
    keep_prob = 1.0 - rate
    mask = jax.random.bernoulli(rng, p=keep_prob, shape=x.shape)
    return lax.select(mask, x / keep_prob, jnp.zeros_like(x))
