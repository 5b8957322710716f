"""The steps of `flax.linen.normalization`'s layers, for layers that copy them.

>>> import jax.numpy as jnp
>>> mean, var = _compute_stats(jnp.array([[1.0, 3.0]]), (1,), None)
>>> mean.tolist(), var.tolist()
([2.0], [1.0])
"""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import jax
from jax import lax
from jax import numpy as jnp

from batiste.core.types import Array, Dtype, Initializer
from batiste.linen import Module
from batiste.linen.normalization import moments

__all__ = [
    "_abs_sq",
    "_canonicalize_axes",
    "_compute_stats",
    "_l2_normalize",
    "_normalize",
]


def _canonicalize_axes(rank: int, axes: int | Sequence[int]) -> tuple[int, ...]:
    """Counts axes from the front; each once, in increasing order.

    >>> _canonicalize_axes(3, (-1, 0))
    (0, 2)
    """
    several = axes if isinstance(axes, Sequence) else (axes,)
    return tuple(sorted({axis + rank if axis < 0 else axis for axis in several}))


def _abs_sq(x: Array) -> Array:
    """Squares the modulus of each element; real.

    >>> _abs_sq(jnp.array([3 + 4j])).tolist()
    [25.0]
    """
    if jnp.iscomplexobj(x):
        return lax.square(lax.real(x)) + lax.square(lax.imag(x))
    return lax.square(x)


def _compute_stats(
    x: Array,
    axes: int | Sequence[int],
    dtype: Dtype | None,
    axis_name: str | None = None,
    axis_index_groups: Any = None,
    use_mean: bool = True,
    use_fast_variance: bool = True,
    mask: Array | None = None,
    force_float32_reductions: bool = True,
) -> tuple[Array, Array]:
    """Takes mean and variance over some axes; without `use_mean`, 0 and E|x|²."""
    layer: Any = SimpleNamespace(
        dtype=dtype,
        axis_index_groups=axis_index_groups,
        use_fast_variance=use_fast_variance,
        force_float32_reductions=force_float32_reductions,
    )
    x = jnp.asarray(x)
    axes = _canonicalize_axes(x.ndim, axes)
    if mask is not None:
        mask = jnp.asarray(mask, bool)
        mask = lax.expand_dims(mask, range(x.ndim - mask.ndim))
    if use_mean:
        return moments.moments(layer, x, axes, axis_name, mask)
    square = moments.mean_square(layer, x, axes, axis_name, mask)
    return jnp.zeros(square.shape, square.dtype), square


def _normalize(
    mdl: Module,
    x: Array,
    mean: Array,
    var: Array,
    reduction_axes: int | Sequence[int],
    feature_axes: int | Sequence[int],
    dtype: Dtype | None,
    param_dtype: Dtype,
    epsilon: float,
    use_bias: bool,
    use_scale: bool,
    bias_init: Initializer,
    scale_init: Initializer,
    force_float32_reductions: bool = True,
) -> Array:
    """Computes `(x - mean) / sqrt(var + epsilon) * scale + bias`.

    `scale` and `bias` become parameters of the module.
    """
    layer: Any = SimpleNamespace(
        epsilon=epsilon,
        dtype=dtype,
        param_dtype=param_dtype,
        use_scale=use_scale,
        scale_init=scale_init,
        force_float32_reductions=force_float32_reductions,
        param=mdl.param,
    )
    x = jnp.asarray(x)
    return moments.normalize(
        layer,
        x,
        mean,
        var,
        _canonicalize_axes(x.ndim, reduction_axes),
        _canonicalize_axes(x.ndim, feature_axes),
        bias_init if use_bias else None,
    )


def _l2_normalize(
    x: Array, axis: int | Sequence[int] | None = None, eps: float = 1e-12
) -> Array:
    """Divides by the Euclidean norm over some axes.

    >>> _l2_normalize(jnp.array([3.0, 4.0])).round(3).tolist()
    [0.6000000238418579, 0.800000011920929]
    """
    return x * jax.lax.rsqrt((x * x).sum(axis=axis, keepdims=True) + eps)
