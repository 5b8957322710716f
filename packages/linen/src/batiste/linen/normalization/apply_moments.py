"""Applying a mean and a variance, and then the scale and bias of a layer."""

from __future__ import annotations

from typing import Any

import numpy as np
from jax import lax
from jax import numpy as jnp

from ..dtypes import canonicalize_dtype
from ..linear.bias import add_bias
from ..ops import eager_jit
from ..types import Array

__all__ = ["alike", "apply_moments"]


def alike(a: Array, b: Array) -> tuple[Array, Array]:
    if a.dtype == b.dtype:
        return a, b
    dtype = jnp.result_type(a, b)
    return lax.convert_element_type(a, dtype), lax.convert_element_type(b, dtype)


def _plus_epsilon(var: Array, axes: tuple[int, ...], epsilon: float) -> Array:
    return lax.add(lax.expand_dims(var, axes), np.asarray(epsilon, var.dtype))


def _times_scale(factor: Array, scale: Array, shape: tuple[int, ...]) -> Array:
    if scale.shape != shape:
        scale = lax.reshape(scale, shape)
    return lax.mul(*alike(factor, scale))


def _minus_mean(x: Array, mean: Array, axes: tuple[int, ...]) -> Array:
    return lax.sub(*alike(x, lax.expand_dims(mean, axes)))


def _times(x: Array, factor: Array) -> Array:
    return lax.mul(*alike(x, factor))


_regularize = eager_jit(_plus_epsilon, static_argnums=(1, 2))
_rsqrt = eager_jit(lax.rsqrt)
_with_scale = eager_jit(_times_scale, static_argnums=(2,))
_center = eager_jit(_minus_mean, static_argnums=(2,))
_multiply = eager_jit(_times)


def apply_moments(
    module: Any,
    x: Array,
    mean: Array | None,
    var: Array,
    reduction_axes: tuple[int, ...],
    feature_axes: tuple[int, ...],
    use_bias: bool,
) -> Array:
    """Subtracts the mean, divides by the deviation, and applies scale and bias.

    The two parameters, declared in the module here, have the sizes of the feature
    axes. `mean` and `var` have the shape of `x` without the reduction axes.
    """
    shape = x.shape
    param_shape = tuple(shape[axis] for axis in feature_axes)
    broadcast_shape = tuple(
        size if axis in feature_axes else 1 for axis, size in enumerate(shape)
    )
    factor = _rsqrt(_regularize(var, reduction_axes, module.epsilon))
    dtype = module.dtype
    params = []
    if module.use_scale:
        scale = module.param(
            "scale", module.scale_init, param_shape, module.param_dtype
        )
        params.append(scale)
        factor = _with_scale(factor, scale, broadcast_shape)
    y = x if mean is None else _center(x, mean, reduction_axes)
    y = _multiply(y, factor)
    if use_bias:
        bias = module.param("bias", module.bias_init, param_shape, module.param_dtype)
        params.append(bias)
        y = add_bias(y, bias, broadcast_shape)
    # Mostly everything is of one dtype, and the result with it.
    if dtype is None and all(p.dtype == x.dtype for p in params) and y.dtype == x.dtype:
        return y
    dtype = canonicalize_dtype(x, *params, dtype=dtype)
    return y if y.dtype == dtype else jnp.asarray(y, dtype)
