"""Dynamic loss scaling for training in half precision."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from batiste.core import struct

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
    finite: jax.Array
    aux: Any
    grad: Any


class DynamicScale(struct.PyTreeNode):
    """A loss scale that grows while gradients are finite and shrinks when not.

    Gradients of a float16 loss underflow. The loss is therefore multiplied by `scale`
    before differentiation, and the gradients divided by it in float32. See Micikevicius
    et al., "Mixed Precision Training" (https://arxiv.org/abs/1710.03740).

    Attributes:
        growth_factor: static; factor after `growth_interval` steps with finite
            gradients.
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
    fin_steps: int | jax.Array = 0
    scale: float | jax.Array = 65536.0
    minimum_scale: float | None = struct.field(pytree_node=False, default=_FLOAT32.tiny)

    def value_and_grad(
        self,
        fun: Callable[..., Any],
        argnums: int | Sequence[int] = 0,
        has_aux: bool = False,
        axis_name: str | None = None,
    ) -> Callable[..., DynamicScaleResult]:
        """Wrap `jax.value_and_grad` with scaling.

        Args:
            fun: function that returns a scalar, or `(scalar, aux)` if `has_aux`.
            argnums: positions of the arguments to differentiate by.
            has_aux: whether `fun` returns auxiliary data too.
            axis_name: mapped axis over which gradients are averaged, before they are
                checked; None for none.

        Returns:
            A function with the arguments of `fun` that returns a
            `DynamicScaleResult`.

        Raises:
            TypeError: by JAX, when called, if `fun` does not return a real scalar.

        >>> import jax.numpy as jnp
        >>> result = DynamicScale(scale=4.0).value_and_grad(jnp.log)(0.0)
        >>> bool(result.finite), float(result.dynamic_scale.scale)
        (False, 2.0)
        """

        @functools.wraps(fun)
        def loss_wrapper(*args: Any, **kwargs: Any) -> Any:
            value = fun(*args, **kwargs)
            if has_aux:
                return self.scale * value[0], value
            return self.scale * value, value

        scaled_grad = jax.grad(loss_wrapper, argnums, has_aux=True)

        def grad_fn_wrapper(*args: Any, **kwargs: Any) -> DynamicScaleResult:
            grad, value = scaled_grad(*args, **kwargs)
            grad = jax.tree.map(self._unscale, grad)
            if axis_name is not None:
                grad = lax.pmean(grad, axis_name)
            finite = jnp.array(True)
            for g in jax.tree.leaves(grad):
                finite &= jnp.all(lax.is_finite(g))
            return DynamicScaleResult(self._after(finite), finite, value, grad)

        return grad_fn_wrapper

    def _unscale(self, g: Any) -> jax.Array:
        wide = jnp.asarray(g, jnp.promote_types(jnp.result_type(g), jnp.float32))
        return wide / self.scale

    def _after(self, finite: jax.Array) -> DynamicScale:
        """The scale for the next step."""
        grows = jnp.asarray(self.fin_steps) >= self.growth_interval
        grown = jnp.where(
            grows,
            jnp.minimum(self.scale * self.growth_factor, _FLOAT32.max),
            self.scale,
        )
        shrunk = self.scale * self.backoff_factor
        if self.minimum_scale is not None:
            shrunk = jnp.maximum(shrunk, self.minimum_scale)
        scale = jnp.where(finite, grown, shrunk)
        fin_steps = jnp.where(grows | ~finite, 0, self.fin_steps + 1)
        return self.replace(fin_steps=fin_steps, scale=scale)
