"""Normalization layers: by batch, layer, root mean square, group and instance.

Each takes moments over some axes of its input, and computes
`(x - mean) / sqrt(var + epsilon) * scale + bias`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from jax import numpy as jnp

from batiste.core.errors import InvalidArgumentError
from batiste.core.types import Array, ArrayLike, Dtype, Initializer

from .. import initializers, ops
from ..module.defaults import documented_order
from ..module.methods import compact
from ..module.module import Module
from ..module.positions import Orders
from ..module.text import located
from ..module.variables import merge_param
from ..types import Axes
from .moments import (
    as_mask,
    canonical_axes,
    counts_any,
    mean_square,
    moments,
    normalize,
    other_axes,
)

__all__ = [
    "BatchNorm",
    "GroupNorm",
    "InstanceNorm",
    "LayerNorm",
    "RMSNorm",
]


class BatchNorm(Module):
    """Normalizes each feature over the batch, and keeps running averages for later.

    In training, the mean and variance of the batch are used, and the running averages
    in the collection `batch_stats` move towards them; the collection must be mutable.
    (They are `mean` and `var`, of the shape of the feature axis, in float32, or in
    `param_dtype` without `force_float32_reductions`.) With `use_running_average` they
    are used in place of the batch. (Ioffe and Szegedy 2015, arXiv:1502.03167.)
    Parameters: `scale` and `bias`.

    While initializing, the averages are only created, and nothing is averaged over
    `axis_name`, which need not exist then. Where a mask hides all of a feature, its
    averages stay as they are, and are used.

    Attributes:
      use_running_average: whether to use the averages; here or at call time.
      axis: the feature axis (or axes); all other axes are reduced.
      momentum: how much of the averages stays at each step.
      epsilon: added to the variance.
      dtype: the dtype of the result; inferred from input and parameters if None.
      param_dtype: the dtype in which the parameters are initialized.
      use_bias: whether to add `bias` at the end.
      use_scale: whether to multiply by `scale` at the end.
      bias_init: initializer of the bias.
      scale_init: initializer of the scale.
      axis_name: the mapped axis over which to average as well.
      axis_index_groups: groups of devices along it, as in `jax.lax.pmean`.
      use_fast_variance: whether to compute the variance in one pass, less exactly.
      force_float32_reductions: whether to compute statistics in float32 or wider.

    >>> import jax
    >>> import jax.numpy as jnp
    >>> layer = BatchNorm(momentum=0.9)
    >>> x = jnp.array([[1.0], [3.0]])
    >>> variables = layer.init(jax.random.key(0), x, use_running_average=True)
    >>> y, updates = layer.apply(
    ...     variables, x, use_running_average=False, mutable=["batch_stats"]
    ... )
    >>> y.round(3).tolist()
    [[-1.0], [1.0]]
    >>> updates["batch_stats"]["mean"]
    Array([0.2], dtype=float32)
    """

    use_running_average: bool | None = None
    axis: Axes = -1
    momentum: float = 0.99
    epsilon: float = 1e-5
    dtype: Dtype | None = None
    param_dtype: Dtype = jnp.float32
    use_bias: bool = True
    use_scale: bool = True
    bias_init: Initializer = initializers.zeros
    scale_init: Initializer = initializers.ones
    axis_name: str | None = None
    axis_index_groups: Sequence[Sequence[int]] | None = None
    use_fast_variance: bool = True
    force_float32_reductions: bool = True

    @compact
    def __call__(
        self,
        x: ArrayLike,
        use_running_average: bool | None = None,
        *,
        mask: ArrayLike | None = None,
    ) -> Array:
        """Normalizes `x`, of any shape with the feature axis.

        Args:
          x: the array.
          use_running_average: whether to use the averages in `batch_stats`, if the
            field of this name is None.
          mask: booleans that broadcast to `x`: which elements the statistics count.

        Returns:
          Array of the shape of `x`.

        Raises:
          ValueError: `use_running_average` is given nowhere or twice, the axis does
            not exist, or the mask does not broadcast.
          ModifyScopeVariableError: the averages are to move, but `batch_stats` is
            not mutable.
        """
        use_running_average = merge_param(
            "use_running_average", self.use_running_average, use_running_average
        )
        x = ops.as_array(x)
        feature_axes = canonical_axes(self, "axis", self.axis, x.shape)
        batch_axes = other_axes(x.ndim, feature_axes)
        # (*features): the moments, their averages, and the parameters
        features = tuple(x.shape[axis] for axis in feature_axes)
        dtype = jnp.float32 if self.force_float32_reductions else self.param_dtype
        mean_average = self.variable("batch_stats", "mean", jnp.zeros, features, dtype)
        var_average = self.variable("batch_stats", "var", jnp.ones, features, dtype)

        if use_running_average:
            mean, var = mean_average.value, var_average.value
        else:
            initializing = self.is_initializing()
            axis_name = None if initializing else self.axis_name
            where = as_mask(self, mask, x.shape)
            mean, var = moments(self, x, batch_axes, axis_name, where)
            averages = (mean_average, var_average)
            counted = None
            if where is not None:
                # A feature of which nothing counts leaves its averages as they are.
                counted = counts_any(self, where, x.shape, batch_axes, axis_name)
                mean, var = (
                    _where_counted(counted, new, average.value)
                    for average, new in zip(averages, (mean, var), strict=True)
                )
            elif not math.prod(x.shape[axis] for axis in batch_axes):
                mean, var = mean_average.value, var_average.value
                initializing = True  # nothing moves
            if not initializing:
                for average, new in zip(averages, (mean, var), strict=True):
                    moved = _moved(average.value, new, self.momentum)
                    if counted is not None:  # to the bit: moving to itself may round
                        moved = _where_counted(counted, moved, average.value)
                    average.value = moved

        bias_init = self.bias_init if self.use_bias else None
        return normalize(self, x, mean, var, batch_axes, feature_axes, bias_init)


def _where_counted(counted: Array, new: Array, average: Array) -> Array:
    average = ops.as_array(average)
    if average.dtype != new.dtype:
        average = ops.convert_element_type(average, new.dtype)
    return ops.select(counted, new, average)


def _moved(average: Array, new: Array, keep: float) -> Array:
    """`keep * average + (1 - keep) * new`, in half precision rounded once."""
    dtype = average.dtype
    wide = ops.accumulator_of(dtype)
    if wide != dtype:
        average, new = jnp.asarray(average, wide), jnp.asarray(new, wide)
    moved = ops.add(ops.mul_const(average, keep), ops.mul_const(new, 1 - keep))
    return moved if wide == dtype else moved.astype(dtype)


class LayerNorm(Module):
    """Normalizes each example over its own features.

    Subtracts the mean over `reduction_axes` and divides by the standard deviation,
    then applies `scale` and `bias`, parameters of the sizes of `feature_axes`. (Ba,
    Kiros and Hinton 2016, arXiv:1607.06450.)

    Attributes:
      epsilon: added to the variance.
      dtype: the dtype of the result; inferred from input and parameters if None.
      param_dtype: the dtype in which the parameters are initialized.
      use_bias: whether to add `bias` at the end.
      use_scale: whether to multiply by `scale` at the end.
      bias_init: initializer of the bias.
      scale_init: initializer of the scale.
      reduction_axes: the axes that mean and variance are taken over.
      feature_axes: the axes along which `scale` and `bias` vary.
      axis_name: the mapped axis over which to average as well, for an input that is
        divided over devices.
      axis_index_groups: groups of devices along it, as in `jax.lax.pmean`.
      use_fast_variance: whether to compute the variance in one pass, less exactly.
      force_float32_reductions: whether to compute statistics in float32 or wider.

    >>> import jax
    >>> import jax.numpy as jnp
    >>> y, variables = LayerNorm().init_with_output(
    ...     jax.random.key(0), jnp.array([[1.0, 3.0], [10.0, 30.0]])
    ... )
    >>> y.round(3).tolist()
    [[-1.0, 1.0], [-1.0, 1.0]]
    """

    epsilon: float = 1e-6
    dtype: Dtype | None = None
    param_dtype: Dtype = jnp.float32
    use_bias: bool = True
    use_scale: bool = True
    bias_init: Initializer = initializers.zeros
    scale_init: Initializer = initializers.ones
    reduction_axes: Axes = -1
    feature_axes: Axes = -1
    axis_name: str | None = None
    axis_index_groups: Sequence[Sequence[int]] | None = None
    use_fast_variance: bool = True
    force_float32_reductions: bool = True

    @compact
    def __call__(self, x: ArrayLike, *, mask: ArrayLike | None = None) -> Array:
        """Normalizes `x`, of any shape that has the axes.

        Args:
          x: the array.
          mask: booleans that broadcast to `x`: which elements the statistics count.

        Returns:
          Array of the shape of `x`.

        Raises:
          ValueError: an axis does not exist, or the mask does not broadcast.
        """
        x = ops.as_array(x)
        reduction_axes = canonical_axes(
            self, "reduction_axes", self.reduction_axes, x.shape
        )
        feature_axes = canonical_axes(self, "feature_axes", self.feature_axes, x.shape)
        where = as_mask(self, mask, x.shape)
        mean, var = moments(self, x, reduction_axes, self.axis_name, where)
        bias_init = self.bias_init if self.use_bias else None
        return normalize(self, x, mean, var, reduction_axes, feature_axes, bias_init)


class RMSNorm(Module):
    """Divides each example by the root of the mean of its squares.

    As `LayerNorm`, but without a mean to subtract and without bias. (Zhang and
    Sennrich 2019, arXiv:1910.07467.) Its parameter is `scale`.

    Attributes:
      epsilon: added to the mean of the squares.
      dtype: the dtype of the result; inferred from input and parameters if None.
      param_dtype: the dtype in which the parameter is initialized.
      use_scale: whether to multiply by `scale` at the end.
      scale_init: initializer of the scale.
      reduction_axes: the axes that the mean is taken over.
      feature_axes: the axes along which `scale` varies.
      axis_name: the mapped axis over which to average as well.
      axis_index_groups: groups of devices along it, as in `jax.lax.pmean`.
      use_fast_variance: makes no difference here; accepted for uniformity.
      force_float32_reductions: whether to compute statistics in float32 or wider.

    >>> import jax
    >>> import jax.numpy as jnp
    >>> y, variables = RMSNorm().init_with_output(
    ...     jax.random.key(0), jnp.array([[2.0, -2.0]])
    ... )
    >>> y.round(3).tolist()
    [[1.0, -1.0]]
    """

    epsilon: float = 1e-6
    dtype: Dtype | None = None
    param_dtype: Dtype = jnp.float32
    use_scale: bool = True
    scale_init: Initializer = initializers.ones
    reduction_axes: Axes = -1
    feature_axes: Axes = -1
    axis_name: str | None = None
    axis_index_groups: Sequence[Sequence[int]] | None = None
    use_fast_variance: bool = True
    force_float32_reductions: bool = True

    @compact
    def __call__(self, x: ArrayLike, *, mask: ArrayLike | None = None) -> Array:
        """Normalizes `x`, of any shape that has the axes.

        Args:
          x: the array.
          mask: booleans that broadcast to `x`: which elements the statistics count.

        Returns:
          Array of the shape of `x`.

        Raises:
          ValueError: an axis does not exist, or the mask does not broadcast.
        """
        x = ops.as_array(x)
        reduction_axes = canonical_axes(
            self, "reduction_axes", self.reduction_axes, x.shape
        )
        feature_axes = canonical_axes(self, "feature_axes", self.feature_axes, x.shape)
        where = as_mask(self, mask, x.shape)
        square = mean_square(self, x, reduction_axes, self.axis_name, where)
        return normalize(self, x, None, square, reduction_axes, feature_axes)


def _is_older(values: Sequence[Any]) -> bool | None:
    """Whether `axis_name, axis_index_groups` are meant, not `reduction_axes, ...`."""
    first, *more = values
    if first is None:
        return None if not more or more[0] is None else not _is_name(more[0])
    return _is_name(first)


def _is_name(value: Any) -> bool:
    """Whether it names one mapped axis or several, and is no index or group."""
    names = value if isinstance(value, list | tuple) else [value]
    return bool(names) and all(isinstance(name, str) for name in names)


class GroupNorm(Module):
    """Normalizes each example over groups of channels, together with its positions.

    The last axis holds the channels, and is divided into groups of equal size; the
    first is the batch. With one group this is a layer norm over everything but the
    batch, with as many groups as channels an instance norm. (Wu and He 2018,
    arXiv:1803.08494.) Parameters: `scale` and `bias`, of shape (channels,).

    Attributes:
      num_groups: the number of groups.
      group_size: the number of channels in a group, if `num_groups` is None.
      epsilon: added to the variance.
      dtype: the dtype of the result; inferred from input and parameters if None.
      param_dtype: the dtype in which the parameters are initialized.
      use_bias: whether to add `bias` at the end.
      use_scale: whether to multiply by `scale` at the end.
      bias_init: initializer of the bias.
      scale_init: initializer of the scale.
      reduction_axes: the axes that mean and variance are taken over, the last one
        among them; all but the first if None.
      axis_name: the mapped axis over which to average as well.
      axis_index_groups: groups of devices along it, as in `jax.lax.pmean`.
      use_fast_variance: whether to compute the variance in one pass, less exactly.
      force_float32_reductions: whether to compute statistics in float32 or wider.

    >>> import jax
    >>> import jax.numpy as jnp
    >>> layer = GroupNorm(num_groups=2)
    >>> x = jnp.array([[1.0, 3.0, 10.0, 30.0]])
    >>> y, variables = layer.init_with_output(jax.random.key(0), x)
    >>> y.round(3).tolist()
    [[-1.0, 1.0, -1.0, 1.0]]
    """

    num_groups: int | None = 32
    group_size: int | None = None
    epsilon: float = 1e-6
    dtype: Dtype | None = None
    param_dtype: Dtype = jnp.float32
    use_bias: bool = True
    use_scale: bool = True
    bias_init: Initializer = initializers.zeros
    scale_init: Initializer = initializers.ones
    reduction_axes: Axes | None = None
    axis_name: str | None = None
    axis_index_groups: Sequence[Sequence[int]] | None = None
    use_fast_variance: bool = True
    force_float32_reductions: bool = True

    _field_orders = Orders(
        other=(
            *("num_groups", "group_size", "epsilon", "dtype", "param_dtype"),
            *("use_bias", "use_scale", "bias_init", "scale_init"),
            *("axis_name", "axis_index_groups"),
        ),
        absent=("reduction_axes", "use_fast_variance", "force_float32_reductions"),
        is_other=_is_older,
    )

    @compact
    def __call__(self, x: ArrayLike, *, mask: ArrayLike | None = None) -> Array:
        """Normalizes `x`, of shape (batch, ..., channels).

        Args:
          x: the array.
          mask: booleans that broadcast to `x`: which elements the statistics count.

        Returns:
          Array of the shape of `x`.

        Raises:
          ValueError: the groups are given twice or not at all or do not divide the
            channels, the last axis is not reduced, an axis does not exist, or the
            mask does not broadcast.
        """
        x = ops.as_array(x)
        channel = x.ndim - 1
        axes = self.reduction_axes
        if axes is None:
            axes = (*range(1, channel), -1)
        axes = canonical_axes(self, "reduction_axes", axes, x.shape)
        if channel not in axes:
            raise InvalidArgumentError(
                f"{located(self)}: reduction_axes={self.reduction_axes} leaves out the "
                f"last axis of the input of shape {x.shape}; groups are made of its "
                "channels, so add -1 to the axes"
            )
        positions = axes[:-1]
        groups, size = _count_groups(self, x.shape[channel])

        where = as_mask(self, mask, x.shape)
        if where is not None:
            # (..., 1, 1) if it is the same for all channels
            split = (1, 1) if where.shape[channel] == 1 else (groups, size)
            where = ops.reshape(where, (*where.shape[:channel], *split))
        # (batch, ..., groups, size), of which the last axis is reduced
        grouped = ops.reshape(x, (*x.shape[:channel], groups, size))
        grouped_axes = (*positions, channel + 1)
        # (batch, groups), then repeated to (batch, channels)
        mean, var = moments(self, grouped, grouped_axes, self.axis_name, where)
        mean, var = ops.repeat(mean, size), ops.repeat(var, size)
        bias_init = self.bias_init if self.use_bias else None
        return normalize(self, x, mean, var, positions, (channel,), bias_init)


def _count_groups(layer: GroupNorm, channels: int) -> tuple[int, int]:
    """The number of groups, and how many channels each has."""
    fields = {"num_groups": layer.num_groups, "group_size": layer.group_size}
    given = {name: n for name, n in fields.items() if n is not None}
    if len(given) != 1:
        raise InvalidArgumentError(
            f"{located(layer)}: groups are described by one of num_groups="
            f"{layer.num_groups} and group_size={layer.group_size}; set the other to "
            "None (num_groups is 32 unless it is set)"
        )
    ((name, n),) = given.items()
    if n < 1 or channels % n:
        raise InvalidArgumentError(
            f"{located(layer)}: {name}={n} does not divide the {channels} channels of "
            "the input; choose a divisor of that number"
        )
    return (n, channels // n) if name == "num_groups" else (channels // n, n)


documented_order(GroupNorm)


class InstanceNorm(Module):
    """Normalizes each channel of each example over its positions.

    The first axis is the batch, `feature_axes` are the channels, and all others are
    reduced. (Ulyanov, Vedaldi and Lempitsky 2016, arXiv:1607.08022.) Parameters:
    `scale` and `bias`, of the sizes of `feature_axes`.

    Attributes:
      epsilon: added to the variance.
      dtype: the dtype of the result; inferred from input and parameters if None.
      param_dtype: the dtype in which the parameters are initialized.
      use_bias: whether to add `bias` at the end.
      use_scale: whether to multiply by `scale` at the end.
      bias_init: initializer of the bias.
      scale_init: initializer of the scale.
      feature_axes: the axes of the channels.
      axis_name: the mapped axis over which to average as well.
      axis_index_groups: groups of devices along it, as in `jax.lax.pmean`.
      use_fast_variance: whether to compute the variance in one pass, less exactly.
      force_float32_reductions: whether to compute statistics in float32 or wider.

    >>> import jax
    >>> import jax.numpy as jnp
    >>> x = jnp.array([[[1.0, 10.0], [3.0, 30.0]]])
    >>> y, variables = InstanceNorm().init_with_output(jax.random.key(0), x)
    >>> y.round(3).tolist()
    [[[-1.0, -1.0], [1.0, 1.0]]]
    """

    epsilon: float = 1e-6
    dtype: Dtype | None = None
    param_dtype: Dtype = jnp.float32
    use_bias: bool = True
    use_scale: bool = True
    bias_init: Initializer = initializers.zeros
    scale_init: Initializer = initializers.ones
    feature_axes: Axes = -1
    axis_name: str | None = None
    axis_index_groups: Sequence[Sequence[int]] | None = None
    use_fast_variance: bool = True
    force_float32_reductions: bool = True

    @compact
    def __call__(self, x: ArrayLike, *, mask: ArrayLike | None = None) -> Array:
        """Normalizes `x`, of shape (batch, ..., channels) with the default axes.

        Args:
          x: the array.
          mask: booleans that broadcast to `x`: which elements the statistics count.

        Returns:
          Array of the shape of `x`.

        Raises:
          ValueError: the batch axis is among the feature axes, an axis does not
            exist, or the mask does not broadcast.
        """
        x = ops.as_array(x)
        feature_axes = canonical_axes(self, "feature_axes", self.feature_axes, x.shape)
        if 0 in feature_axes:
            raise InvalidArgumentError(
                f"{located(self)}: feature_axes={self.feature_axes} has axis 0, where "
                "the examples are, each of which is normalized by itself; leave it out"
            )
        reduction_axes = other_axes(x.ndim, (0, *feature_axes))
        where = as_mask(self, mask, x.shape)
        mean, var = moments(self, x, reduction_axes, self.axis_name, where)
        bias_init = self.bias_init if self.use_bias else None
        return normalize(self, x, mean, var, reduction_axes, feature_axes, bias_init)
