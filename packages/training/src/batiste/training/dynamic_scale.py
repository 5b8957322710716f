"""Dynamic loss scaling for training in half precision."""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jax import lax
from jax import numpy as jnp

from batiste.core import struct
from batiste.core.types import Array, Function, Tree

__all__ = [
    "DynamicScale",
    "DynamicScaleResult",
]

_FLOAT32 = np.finfo(np.float32)


class DynamicScaleResult(NamedTuple):
    """What the function made by `DynamicScale.value_and_grad` returns.

    Attributes:
      dynamic_scale: the scale for the next step.
      finite: scalar boolean, whether every gradient is finite. If not, keep the old
        parameters and optimizer state.
      aux: the value of the function (with its auxiliary data, if `has_aux`).
      grad: the gradients, unscaled, in float32 or wider.

    >>> DynamicScaleResult._fields
    ('dynamic_scale', 'finite', 'aux', 'grad')
    """

    dynamic_scale: DynamicScale
    finite: Array
    aux: Any
    grad: Tree


class DynamicScale(struct.PyTreeNode):
    """A loss scale that grows while gradients are finite and shrinks when not.

    Small gradients of a float16 loss underflow to 0. Differentiating a multiple of the
    loss moves them into the range of float16; dividing them by the same factor in
    float32 gives what the loss itself has. The largest factor without an overflow is
    found by trying: see Micikevicius et al., "Mixed Precision Training", section 3.2
    (https://arxiv.org/abs/1710.03740).

    Attributes:
      growth_factor: static; factor after `growth_interval` steps with finite gradients.
      backoff_factor: static; factor after a step with one that is not.
      growth_interval: static; number of steps.
      fin_steps: steps with finite gradients since the scale last changed.
      scale: the current scale.
      minimum_scale: static; the scale never falls below it. None means no limit.

    >>> import jax.numpy as jnp
    >>> from batiste.training.dynamic_scale import DynamicScale
    >>> grad_fn = DynamicScale().value_and_grad(lambda x: jnp.sum(x ** 2))
    >>> dynamic_scale, is_finite, value, grads = grad_fn(jnp.array([1.0, 2.0]))
    >>> bool(is_finite), float(value), grads.tolist()
    (True, 5.0, [2.0, 4.0])
    """

    growth_factor: float = struct.field(pytree_node=False, default=2.0)
    backoff_factor: float = struct.field(pytree_node=False, default=0.5)
    growth_interval: int = struct.field(pytree_node=False, default=2000)
    fin_steps: int | Array = 0
    scale: float | Array = 65536.0
    minimum_scale: float | None = struct.field(pytree_node=False, default=_FLOAT32.tiny)

    def value_and_grad(
        self,
        fun: Function,
        argnums: int | Sequence[int] = 0,
        has_aux: bool = False,
        axis_name: str | None = None,
    ) -> Callable[..., DynamicScaleResult]:
        """Wraps `jax.value_and_grad` with scaling.

        Args:
          fun: function that returns a scalar, or `(scalar, aux)` if `has_aux`.
          argnums: positions of the arguments to differentiate by.
          has_aux: whether `fun` returns auxiliary data too.
          axis_name: mapped axis over which gradients are averaged, before they are
            checked; None for none.

        Returns:
          A function with the arguments of `fun` that returns a `DynamicScaleResult`.

        Raises:
          TypeError: by JAX, when called, if `fun` does not return a real scalar.

        >>> import jax.numpy as jnp
        >>> result = DynamicScale(scale=4.0).value_and_grad(jnp.log)(0.0)
        >>> bool(result.finite), float(result.dynamic_scale.scale)
        (False, 2.0)
        """

        @functools.wraps(fun)
        def scaled_loss(*args: Any, **kwargs: Any) -> tuple[Array, Any]:
            value = fun(*args, **kwargs)
            loss = value[0] if has_aux else value
            return self.scale * loss, value

        differentiate = jax.grad(scaled_loss, argnums, has_aux=True)

        def unscaled_grad(*args: Any, **kwargs: Any) -> DynamicScaleResult:
            scaled, value = differentiate(*args, **kwargs)
            grads = jax.tree.map(self._unscale, scaled)
            if axis_name is not None:
                grads = lax.pmean(grads, axis_name)
            finite = _all_finite(grads)
            return DynamicScaleResult(self._after_step(finite), finite, value, grads)

        return unscaled_grad

    def _unscale(self, gradient: Array) -> Array:
        """The gradient of the loss itself, in a dtype that can hold it."""
        at_least_float32 = jnp.promote_types(gradient.dtype, jnp.float32)
        return gradient.astype(at_least_float32) / self.scale

    def _after_step(self, finite: Array) -> DynamicScale:
        """The scale after a step whose gradients were all finite, or were not."""
        grown = jnp.minimum(self.scale * self.growth_factor, _FLOAT32.max)
        shrunk = self.scale * self.backoff_factor
        if self.minimum_scale is not None:
            shrunk = jnp.maximum(shrunk, self.minimum_scale)
        interval_is_over = jnp.asarray(self.fin_steps) >= self.growth_interval
        kept_or_grown = jnp.where(interval_is_over, grown, self.scale)
        return self.replace(
            scale=jnp.where(finite, kept_or_grown, shrunk),
            fin_steps=jnp.where(finite & ~interval_is_over, self.fin_steps + 1, 0),
        )


def _all_finite(tree: Tree) -> Array:
    """Whether there is neither a NaN nor an infinity in any array."""
    each = [jnp.isfinite(array).all() for array in jax.tree.leaves(tree)]
    return functools.reduce(operator.and_, each, jnp.array(True))
