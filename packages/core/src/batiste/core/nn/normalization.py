"""Batch, layer and group normalization over scopes.

Each reads as `(x - mean) / sqrt(var + epsilon) * scale + bias`; they differ in the
elements that a mean is taken of, and in what the parameters vary along.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import jax.numpy as jnp
from jax import lax
from jax.nn import initializers

from ..arguments import explains_arguments
from ..errors import InvalidArgumentError
from ..scope.scope import Scope
from ..types import Array, ArrayLike, Dtype, Initializer
from .arrays import as_tuple, cast, normalize_axes

__all__ = [
    "batch_norm",
    "group_norm",
    "layer_norm",
]


def _moments(
    x: Array,
    axes: tuple[int, ...],
    *,
    keepdims: bool = False,
    axis_name: str | None = None,
    axis_index_groups: Sequence[Sequence[int]] | None = None,
) -> tuple[Array, Array]:
    """Returns E[x] and E[x²] - E[x]² over `axes` and over the mapped `axis_name`.

    They are computed in float32 or wider.
    """
    x = cast(x, jnp.promote_types(x.dtype, jnp.float32))
    mean = jnp.mean(x, axes, keepdims=keepdims)
    mean_square = jnp.mean(lax.square(x), axes, keepdims=keepdims)
    if axis_name is not None:
        # Both at once, so that devices talk to each other once.
        mean, mean_square = lax.pmean(
            jnp.stack([mean, mean_square]),
            axis_name,
            axis_index_groups=axis_index_groups,
        )
    return mean, mean_square - lax.square(mean)


@explains_arguments()
def batch_norm(
    scope: Scope,
    x: ArrayLike,
    use_running_average: bool = False,
    axis: int | Iterable[int] = -1,
    momentum: float = 0.99,
    epsilon: float = 1e-5,
    dtype: Dtype = jnp.float32,
    bias: bool = True,
    scale: bool = True,
    bias_init: Initializer = initializers.zeros,
    scale_init: Initializer = initializers.ones,
    axis_name: str | None = None,
    axis_index_groups: Sequence[Sequence[int]] | None = None,
    kind: str = "batch_stats",
) -> Array:
    """Normalizes each feature over a batch, and keeps averages for later.

    The moments of the batch, in float32, move the running averages `mean` and `var`
    in the collection `kind`; the first call only creates these. The parameters are
    `scale` and `bias`. All four have the sizes of the feature axes, in the order of
    the axes. (Ioffe and Szegedy 2015, arXiv:1502.03167.)

    Args:
      scope: the scope of the parameters and averages.
      x: array of any shape with the feature axes.
      use_running_average: whether to normalize with the averages, which then stay as
        they are, in place of the batch.
      axis: the feature axis or axes; moments are taken over all others.
      momentum: the part of the averages that stays at each step, from 0 to 1.
      epsilon: added to the variance.
      dtype: dtype of the result.
      bias: whether to add `bias`.
      scale: whether to multiply by `scale`.
      bias_init: initializer of `bias`.
      scale_init: initializer of `scale`.
      axis_name: a mapped axis (of `jax.vmap`, `jax.pmap` or `jax.shard_map`) to take
        the moments over as well.
      axis_index_groups: groups of indices along it that share moments.
      kind: the collection of the averages.

    Returns:
      Array of the shape of `x`.

    Raises:
      ValueError: an axis does not exist or is given twice.
      ModifyScopeVariableError: the averages are to move in a collection that is not
        mutable.

    >>> import jax
    >>> from batiste.core import init
    >>> y, variables = init(batch_norm)(jax.random.key(0), jnp.ones((8, 3)))
    >>> variables['batch_stats']['mean'].shape
    (3,)
    """
    x = cast(x, jnp.float32)
    feature_axes = sorted(normalize_axes(as_tuple(axis), x.ndim))
    batch_axes = tuple(i for i in range(x.ndim) if i not in feature_axes)
    features = tuple(x.shape[i] for i in feature_axes)
    # The shape in which what has the shape of the features lies along x.
    along = tuple(n if i in feature_axes else 1 for i, n in enumerate(x.shape))

    first_call = not scope.has_variable(kind, "mean")
    running_mean = scope.variable(kind, "mean", jnp.zeros, features, jnp.float32)
    running_var = scope.variable(kind, "var", jnp.ones, features, jnp.float32)
    # mean, var: features
    if use_running_average:
        mean, var = running_mean.value, running_var.value
    else:
        mean, var = _moments(
            x,
            batch_axes,
            # While a model is initialized, the mapped axis need not exist.
            axis_name=None if first_call else axis_name,
            axis_index_groups=axis_index_groups,
        )
        if not math.prod(x.shape[i] for i in batch_axes):
            # An empty batch has no moments.
            mean, var = running_mean.value, running_var.value
        elif not first_call:
            for running, new in (running_mean, mean), (running_var, var):
                running.value += (1 - momentum) * (new - running.value)

    y = x - lax.broadcast_in_dim(mean, along, feature_axes)
    factor = lax.rsqrt(var + epsilon)
    if scale:
        factor *= scope.param("scale", scale_init, features)
    y *= lax.broadcast_in_dim(factor, along, feature_axes)
    if bias:
        offset = scope.param("bias", bias_init, features)
        y += lax.broadcast_in_dim(offset, along, feature_axes)
    return cast(y, dtype)


@explains_arguments()
def layer_norm(
    scope: Scope,
    x: ArrayLike,
    epsilon: float = 1e-6,
    dtype: Dtype = jnp.float32,
    bias: bool = True,
    scale: bool = True,
    bias_init: Initializer = initializers.zeros,
    scale_init: Initializer = initializers.ones,
) -> Array:
    """Normalizes each vector on the last axis by its own moments.

    The parameters are `scale` and `bias`, of shape (features,). (Ba, Kiros and Hinton
    2016, arXiv:1607.06450.)

    Args:
      scope: the scope of the parameters.
      x: array of shape (..., features).
      epsilon: added to the variance.
      dtype: dtype that the parameters are cast to.
      bias: whether to add `bias`.
      scale: whether to multiply by `scale`.
      bias_init: initializer of `bias`.
      scale_init: initializer of `scale`.

    Returns:
      Array of the shape of `x`, of the dtype that `x` and `dtype` promote to.

    >>> import jax
    >>> from batiste.core import init
    >>> y, _ = init(layer_norm)(jax.random.key(0), jnp.array([[1., 3.]]))
    >>> y.round(3).tolist()
    [[-1.0, 1.0]]
    """
    x = jnp.asarray(x)
    features = x.shape[-1:]
    # mean, var: (..., 1)
    mean, var = _moments(x, (-1,), keepdims=True)
    result_dtype = jnp.result_type(x, *[dtype] * (scale or bias))
    factor = lax.rsqrt(var + epsilon)
    if scale:
        factor = factor * cast(scope.param("scale", scale_init, features), dtype)
    y = (x - mean) * factor
    if bias:
        y = y + cast(scope.param("bias", bias_init, features), dtype)
    return y if y.dtype == result_dtype else y.astype(result_dtype)


@explains_arguments()
def group_norm(
    scope: Scope,
    x: ArrayLike,
    num_groups: int | None = 32,
    group_size: int | None = None,
    epsilon: float = 1e-6,
    dtype: Dtype = jnp.float32,
    bias: bool = True,
    scale: bool = True,
    bias_init: Initializer = initializers.zeros,
    scale_init: Initializer = initializers.ones,
) -> Array:
    """Normalizes each example over its positions and over groups of its channels.

    The channels are divided into groups of neighbours, of equal size, in one of two
    ways: by their number or by their size. The moments, in float32, are those of an
    example and a group. The parameters are `scale` and `bias`, of shape
    (1, ..., 1, channels). (Wu and He 2018, arXiv:1803.08494.)

    Args:
      scope: the scope of the parameters.
      x: array of shape (batch, ..., channels).
      num_groups: the number of groups, or None where `group_size` says it.
      group_size: the number of channels in a group, or None.
      epsilon: added to the variance.
      dtype: dtype of the result.
      bias: whether to add `bias`.
      scale: whether to multiply by `scale`.
      bias_init: initializer of `bias`.
      scale_init: initializer of `scale`.

    Returns:
      Array of the shape of `x`.

    Raises:
      ValueError: groups are described in both ways or in none, or the channels cannot
        be divided so.

    >>> import jax
    >>> from batiste.core import init
    >>> y, _ = init(group_norm)(jax.random.key(0), jnp.ones((2, 5, 6)), num_groups=3)
    >>> y.shape
    (2, 5, 6)
    """
    x = cast(x, jnp.float32)
    channels = x.shape[-1]
    groups = _count_groups(scope, channels, num_groups, group_size)

    # (batch, ..., groups, channels of a group), reduced to (batch, 1..., groups, 1)
    grouped = lax.reshape(x, (*x.shape[:-1], groups, channels // groups))
    group_axes = (*range(1, x.ndim - 1), x.ndim)
    mean, var = _moments(grouped, group_axes, keepdims=True)
    y = lax.reshape((grouped - mean) * lax.rsqrt(var + epsilon), x.shape)

    param_shape = (*(1 for _ in x.shape[:-1]), channels)
    if scale:
        y = y * scope.param("scale", scale_init, param_shape)
    if bias:
        y = y + scope.param("bias", bias_init, param_shape)
    return cast(y, dtype)


def _count_groups(
    scope: Scope, channels: int, num_groups: int | None, group_size: int | None
) -> int:
    options = {"num_groups": num_groups, "group_size": group_size}
    given = [(name, n) for name, n in options.items() if n is not None]
    if len(given) != 1:
        raise InvalidArgumentError(
            f'group_norm in "{scope.path_text}" has num_groups={num_groups} and '
            f"group_size={group_size}. Give one of the two, and None for the other."
        )
    ((name, n),) = given
    if n < 1 or channels % n:
        raise InvalidArgumentError(
            f'group_norm in "{scope.path_text}" cannot divide the {channels} channels '
            f"of its input with {name}={n}. Choose a divisor of the channels."
        )
    return n if name == "num_groups" else channels // n
