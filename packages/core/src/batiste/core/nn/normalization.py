"""Batch, layer and group normalization over scopes."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.nn import initializers

from .linear import Initializer, _as_tuple, _cast, _normalize_axes

if TYPE_CHECKING:
    from ..scope.scope import Scope

__all__ = [
    "batch_norm",
    "group_norm",
    "layer_norm",
]


def batch_norm(
    scope: "Scope",
    x: Any,
    use_running_average: bool = False,
    axis: int | Iterable[int] = -1,
    momentum: float = 0.99,
    epsilon: float = 1e-5,
    dtype: Any = jnp.float32,
    bias: bool = True,
    scale: bool = True,
    bias_init: Initializer = initializers.zeros,
    scale_init: Initializer = initializers.ones,
    axis_name: str | None = None,
    axis_index_groups: Any = None,
    kind: str = "batch_stats",
) -> jax.Array:
    """Normalizes over all axes but `axis`, with statistics of the batch.

    The statistics, computed in float32, are kept as moving averages `mean` and `var`
    in the collection `kind`. The parameters are `scale` and `bias`. All four have the
    shape of the axes `axis`, in increasing order.

    Args:
      scope: the scope that holds the parameters and the statistics.
      x: array to normalize.
      use_running_average: whether to use the moving averages, and not change them.
      axis: axis or axes that are not averaged over, the features.
      momentum: decay of the moving averages, from 0 to 1.
      epsilon: number added to the variance.
      dtype: type of the result.
      bias: whether to add a bias.
      scale: whether to multiply by a scale.
      bias_init: initializer of the bias.
      scale_init: initializer of the scale.
      axis_name: name of a mapped axis (`jax.vmap`, `jax.pmap`, `jax.shard_map`) to
        average over as well.
      axis_index_groups: groups of indices along `axis_name` to average within.
      kind: collection of the moving averages.

    Returns:
      Array of the shape of `x`.

    Raises:
      ValueError: an axis is out of range or repeated.
      ModifyScopeVariableError: the moving averages have to change, but their
        collection is not mutable.

    Ioffe and Szegedy, 2015, https://arxiv.org/abs/1502.03167.

    >>> from batiste.core import init
    >>> y, variables = init(batch_norm)(jax.random.key(0), jnp.ones((8, 3)))
    >>> variables['batch_stats']['mean'].shape
    (3,)
    """
    x = _cast(x, jnp.float32)
    kept = sorted(set(_normalize_axes(_as_tuple(axis), x.ndim)))
    reduced = tuple(ax for ax in range(x.ndim) if ax not in kept)
    shape = tuple(x.shape[ax] for ax in kept)
    full_shape = tuple(n if ax in kept else 1 for ax, n in enumerate(x.shape))

    initializing = not scope.has_variable(kind, "mean")
    ra_mean = scope.variable(kind, "mean", jnp.zeros, shape, jnp.float32)
    ra_var = scope.variable(kind, "var", jnp.ones, shape, jnp.float32)
    if use_running_average:
        mean, var = ra_mean.value, ra_var.value
    else:
        mean = jnp.mean(x, reduced)
        mean2 = jnp.mean(lax.square(x), reduced)
        if axis_name is not None and not initializing:
            mean, mean2 = lax.pmean(
                (mean, mean2), axis_name, axis_index_groups=axis_index_groups
            )
        var = mean2 - lax.square(mean)
        if not initializing:
            rate = 1 - momentum
            ra_mean.value += rate * (mean - ra_mean.value)
            ra_var.value += rate * (var - ra_var.value)

    y = x - lax.broadcast_in_dim(mean, full_shape, kept)
    multiplier = lax.rsqrt(var + epsilon)
    if scale:
        multiplier *= scope.param("scale", scale_init, shape)
    y *= lax.broadcast_in_dim(multiplier, full_shape, kept)
    if bias:
        b = scope.param("bias", bias_init, shape)
        y += lax.broadcast_in_dim(b, full_shape, kept)
    return _cast(y, dtype)


def layer_norm(
    scope: "Scope",
    x: Any,
    epsilon: float = 1e-6,
    dtype: Any = jnp.float32,
    bias: bool = True,
    scale: bool = True,
    bias_init: Initializer = initializers.zeros,
    scale_init: Initializer = initializers.ones,
) -> jax.Array:
    """Normalizes each vector along the last axis.

    The parameters are `scale` and `bias`, of shape `(x.shape[-1],)`.

    Args:
      scope: the scope that holds the parameters.
      x: array of shape `(..., features)`.
      epsilon: number added to the variance.
      dtype: type that the parameters are cast to.
      bias: whether to add a bias.
      scale: whether to multiply by a scale.
      bias_init: initializer of the bias.
      scale_init: initializer of the scale.

    Returns:
      Array of the shape of `x`, of the type that `x` and `dtype` promote to.

    Ba, Kiros and Hinton, 2016, https://arxiv.org/abs/1607.06450.

    >>> from batiste.core import init
    >>> y, _ = init(layer_norm)(jax.random.key(0), jnp.array([[1., 3.]]))
    >>> y.round(3).tolist()
    [[-1.0, 1.0]]
    """
    x = jnp.asarray(x)
    features = x.shape[-1:]
    mean = jnp.mean(x, axis=-1, keepdims=True)
    mean2 = jnp.mean(lax.square(x), axis=-1, keepdims=True)
    var = mean2 - lax.square(mean)
    multiplier = lax.rsqrt(var + epsilon)
    if scale:
        multiplier = multiplier * _cast(
            scope.param("scale", scale_init, features), dtype
        )
    y = (x - mean) * multiplier
    if bias:
        y = y + _cast(scope.param("bias", bias_init, features), dtype)
    return y


def group_norm(
    scope: "Scope",
    x: Any,
    num_groups: int | None = 32,
    group_size: int | None = None,
    epsilon: float = 1e-6,
    dtype: Any = jnp.float32,
    bias: bool = True,
    scale: bool = True,
    bias_init: Initializer = initializers.zeros,
    scale_init: Initializer = initializers.ones,
) -> jax.Array:
    """Normalizes each example over groups of channels and all spatial axes.

    The parameters are `scale` and `bias`, of shape `(1, ..., 1, channels)`.

    Args:
      scope: the scope that holds the parameters.
      x: array of shape `(batch, ..., channels)`.
      num_groups: number of groups, or None.
      group_size: number of channels in a group, or None.
      epsilon: number added to the variance.
      dtype: type of the result.
      bias: whether to add a bias.
      scale: whether to multiply by a scale.
      bias_init: initializer of the bias.
      scale_init: initializer of the scale.

    Returns:
      Array of the shape of `x`.

    Raises:
      ValueError: not exactly one of `num_groups` and `group_size` is given, or it does
        not divide the channels.

    Wu and He, 2018, https://arxiv.org/abs/1803.08494.

    >>> from batiste.core import init
    >>> y, _ = init(group_norm)(jax.random.key(0), jnp.ones((2, 5, 6)), num_groups=3)
    >>> y.shape
    (2, 5, 6)
    """
    x = _cast(x, jnp.float32)
    channels = x.shape[-1]
    if num_groups is not None and group_size is None:
        divisor, what = num_groups, "the number of groups"
    elif group_size is not None and num_groups is None:
        divisor, what = group_size, "the group size"
    else:
        raise ValueError(
            "Either `num_groups` or `group_size` should be specified, but not both of "
            f'them. In "{scope.path_text}" num_groups is {num_groups} and group_size '
            f"is {group_size}; set the one that you do not want to None."
        )
    if divisor < 1 or channels % divisor:
        raise ValueError(
            f"Number of channels ({channels}) is not multiple of {what} ({divisor}), "
            f'in "{scope.path_text}".'
        )
    groups = divisor if group_size is None else channels // divisor

    grouped = lax.reshape(x, (*x.shape[:-1], groups, channels // groups))
    reduced = (*range(1, x.ndim - 1), x.ndim)
    mean = jnp.mean(grouped, reduced, keepdims=True)
    mean2 = jnp.mean(lax.square(grouped), reduced, keepdims=True)
    var = mean2 - lax.square(mean)
    y = lax.reshape((grouped - mean) * lax.rsqrt(var + epsilon), x.shape)

    shape = (1,) * (x.ndim - 1) + (channels,)
    if scale:
        y = y * scope.param("scale", scale_init, shape)
    if bias:
        y = y + scope.param("bias", bias_init, shape)
    return _cast(y, dtype)
