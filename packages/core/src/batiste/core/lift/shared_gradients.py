"""Sums of gradients over mapped axes along which a value is shared: `reduce_axes`."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.core import Tracer

from ..types import Array, ArrayLike, Tree

__all__ = ["sum_shared"]


def sum_shared(gradients: Tree, values: Tree, axes: Sequence[str]) -> Tree:
    """Sums the gradients of values that are the same at all indices of a mapped axis.

    A function that is mapped over a named axis broadcasts such a value over it; at each
    index the gradient is that of one example. JAX has done this itself, for
    `reduce_axes`.

    Under `jax.vmap` a value is shared if it is not batched, under `jax.pmap` (and
    `jax.shard_map` without its checks) if it comes from outside of the mapped function.
    `jax.shard_map` with checks has summed by itself. Axes that are not mapped, as while
    initializing, count for nothing.

    Args:
      gradients: the gradients.
      values: the values that they are the gradients of, a tree of the same structure.
      axes: names of axes.

    Returns:
      The gradients, summed where their value is shared.

    >>> def mean_slope(w, x):
    ...     return sum_shared(x, w, ("batch",))
    >>> mapped = jax.vmap(mean_slope, (None, 0), axis_name="batch")
    >>> mapped(2.0, jnp.arange(3.0)).tolist()
    [3.0, 3.0, 3.0]
    """
    for axis in axes:
        try:
            index = lax.axis_index(axis)
        except NameError:  # as JAX says that there is no such axis
            continue
        automatic = axis in getattr(jax.typeof(index), "vma", ())
        one = functools.partial(_sum_one, axis, index, automatic)
        gradients = jax.tree.map(one, gradients, values)
    return gradients


def _sum_one(
    axis: str, index: Array, automatic: bool, gradient: Any, value: ArrayLike
) -> Any:
    if getattr(gradient, "dtype", None) == jax.dtypes.float0:
        return gradient
    is_constant = not isinstance(value, Tracer)
    reduce = _reducer(axis, is_constant and not automatic)
    return reduce(gradient, _probe(value), index)


def _probe(value: ArrayLike) -> Array:
    """Nothing of a value but that it is mapped where the value is."""
    if jnp.issubdtype(getattr(value, "dtype", np.float32), jax.dtypes.extended):
        value = jax.random.key_data(value)  # type: ignore[arg-type]
    return lax.stop_gradient(jnp.ravel(value)[:0])


@functools.cache
def _reducer(axis: str, sums: bool) -> Callable[..., Array]:
    """Sums over an axis, if it is one of `vmap`, where the probe is not mapped over it.

    Args:
      axis: its name. The third argument is mapped over this axis and no other.
      sums: whether to sum in any case where the axis is no axis of `vmap`.
    """

    @jax.custom_batching.custom_vmap
    def reduce(gradient: Array, probe: Array, index: Array) -> Array:
        del probe, index
        return lax.psum(gradient, axis) if sums else gradient

    @reduce.def_vmap
    def of_mapped(
        axis_size: int,
        in_batched: list[bool],
        gradient: Array,
        probe: Array,
        index: Array,
    ) -> tuple[Array, bool]:
        gradient_batched, probe_batched, index_batched = in_batched
        if not index_batched:  # another axis: here an axis like those of the array
            return reduce(gradient, probe, index), gradient_batched
        if probe_batched:
            return gradient, gradient_batched
        # One that is not mapped is the same for each example, as of a bias.
        return jnp.sum(gradient, 0) if gradient_batched else gradient * axis_size, False

    return reduce
