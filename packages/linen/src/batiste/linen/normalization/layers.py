"""Normalization layers: by batch, layer, root mean square, group and instance."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
from jax import lax
from jax import numpy as jnp

from .. import initializers
from ..module.methods import compact
from ..module.module import Module
from ..module.text import located
from ..module.variables import merge_param
from ..ops import eager_jit
from ..types import Array, Axes, Dtype, Initializer
from .apply_moments import alike, apply_moments
from .moments import as_mask, canonical_axes, moments

__all__ = [
    "BatchNorm",
    "GroupNorm",
    "InstanceNorm",
    "LayerNorm",
    "RMSNorm",
]


_GROUPS_TWICE = (
    "{module}: Either `num_groups` or `group_size` should be specified, got "
    "num_groups={groups}, group_size={size}. If `group_size` is to be specified, pass "
    "`num_groups=None` as argument to override the default `num_groups` value of 32."
)
_GROUP_SIZE = (
    "{module}: Number of channels ({channels}) is not multiple of the group size "
    "({size})."
)
_NUM_GROUPS = (
    "{module}: Number of groups ({groups}) does not divide the number of channels "
    "({channels})."
)
_GROUP_AXES = (
    "{module}: The reduction axes must include the final dimension as this is assumed "
    "to be the feature axis, got {axes} for an input of shape {shape}."
)
_INSTANCE_AXES = (
    "{module}: The channel axes cannot include the leading dimension as this is "
    "assumed to be the batch axis, got feature_axes={axes}."
)


def _fraction(x: Array, factor: float) -> Array:
    return lax.mul(x, np.asarray(factor, x.dtype))


def _sum(a: Array, b: Array) -> Array:
    return lax.add(*alike(a, b))


def _group(x: Array, groups: int) -> Array:
    return lax.reshape(x, (*x.shape[:-1], groups, x.shape[-1] // groups))


def _repeat(stat: Array, size: int) -> Array:
    """Repeats each group's number for all its channels, on the last axis."""
    shape = (*stat.shape, size)
    stat = lax.broadcast_in_dim(stat, shape, tuple(range(stat.ndim)))
    return lax.reshape(stat, (*shape[:-2], shape[-2] * size))


_decay = eager_jit(_fraction, static_argnums=(1,))
_add = eager_jit(_sum)
_split_groups = eager_jit(_group, static_argnums=(1,))
_repeat_groups = eager_jit(_repeat, static_argnums=(1,))


def _as_array(x: Any) -> Array:
    return x if isinstance(x, jax.Array) else jnp.asarray(x)


class BatchNorm(Module):
    """Normalizes each feature over the batch, and keeps running averages for later.

    In training, the mean and variance of the batch are used, and the running averages
    in the collection `batch_stats` move towards them; the collection must be mutable.
    (They are `mean` and `var`, of the shape of the feature axis, in float32, or in
    `param_dtype` without `force_float32_reductions`.) With `use_running_average` they
    are used in place of the batch. (Ioffe and Szegedy 2015, arXiv:1502.03167.)
    Parameters: `scale` and `bias`.

    While initializing, the averages are only created, and nothing is averaged over
    `axis_name`, which need not exist then.

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
    axis_index_groups: Any = None
    use_fast_variance: bool = True
    force_float32_reductions: bool = True

    @compact
    def __call__(
        self,
        x: Array,
        use_running_average: bool | None = None,
        *,
        mask: Array | None = None,
    ) -> Array:
        """Normalizes `x`, of any shape with the feature axis.

        Args:
          x: the array.
          use_running_average: whether to use the averages in `batch_stats`, if the
            field of this name is None.
          mask: booleans that broadcast to `x`: which elements the statistics count.

        Raises:
          ValueError: `use_running_average` is given nowhere or twice, the axis does
            not exist, or the mask does not broadcast.
          ModifyScopeVariableError: the averages are to move, but `batch_stats` is
            not mutable.
        """
        use_running_average = merge_param(
            "use_running_average", self.use_running_average, use_running_average
        )
        x = _as_array(x)
        feature_axes = canonical_axes(self, "axis", self.axis, x.shape)
        reduction_axes = tuple(i for i in range(x.ndim) if i not in feature_axes)
        feature_shape = tuple(x.shape[axis] for axis in feature_axes)
        statistics = (
            feature_shape,
            jnp.float32 if self.force_float32_reductions else self.param_dtype,
        )
        running_mean = self.variable("batch_stats", "mean", jnp.zeros, *statistics)
        running_var = self.variable("batch_stats", "var", jnp.ones, *statistics)
        if use_running_average:
            mean, var = running_mean.value, running_var.value
        else:
            initializing = self.is_initializing()
            mean, var = moments(
                x,
                reduction_axes,
                self.dtype,
                axis_name=None if initializing else self.axis_name,
                axis_index_groups=self.axis_index_groups,
                use_fast_variance=self.use_fast_variance,
                force_float32_reductions=self.force_float32_reductions,
                mask=None if mask is None else as_mask(self, mask, x.shape),
            )
            if not initializing:
                keep, add = self.momentum, 1 - self.momentum
                running_mean.value = _add(
                    _decay(running_mean.value, keep), _decay(mean, add)
                )
                running_var.value = _add(
                    _decay(running_var.value, keep), _decay(var, add)
                )
        return apply_moments(
            self, x, mean, var, reduction_axes, feature_axes, self.use_bias
        )


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
    axis_index_groups: Any = None
    use_fast_variance: bool = True
    force_float32_reductions: bool = True

    @compact
    def __call__(self, x: Array, *, mask: Array | None = None) -> Array:
        """Normalizes `x`, of any shape that has the axes.

        Args:
          x: the array.
          mask: booleans that broadcast to `x`: which elements the statistics count.

        Raises:
          ValueError: an axis does not exist, or the mask does not broadcast.
        """
        x = _as_array(x)
        reduction_axes = canonical_axes(
            self, "reduction_axes", self.reduction_axes, x.shape
        )
        feature_axes = canonical_axes(self, "feature_axes", self.feature_axes, x.shape)
        mean, var = moments(
            x,
            reduction_axes,
            self.dtype,
            axis_name=self.axis_name,
            axis_index_groups=self.axis_index_groups,
            use_fast_variance=self.use_fast_variance,
            force_float32_reductions=self.force_float32_reductions,
            mask=None if mask is None else as_mask(self, mask, x.shape),
        )
        return apply_moments(
            self, x, mean, var, reduction_axes, feature_axes, self.use_bias
        )


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
    axis_index_groups: Any = None
    use_fast_variance: bool = True
    force_float32_reductions: bool = True

    @compact
    def __call__(self, x: Array, *, mask: Array | None = None) -> Array:
        """Normalizes `x`, of any shape that has the axes.

        Args:
          x: the array.
          mask: booleans that broadcast to `x`: which elements the statistics count.

        Raises:
          ValueError: an axis does not exist, or the mask does not broadcast.
        """
        x = _as_array(x)
        reduction_axes = canonical_axes(
            self, "reduction_axes", self.reduction_axes, x.shape
        )
        feature_axes = canonical_axes(self, "feature_axes", self.feature_axes, x.shape)
        _, mean_square = moments(
            x,
            reduction_axes,
            self.dtype,
            axis_name=self.axis_name,
            axis_index_groups=self.axis_index_groups,
            use_mean=False,
            force_float32_reductions=self.force_float32_reductions,
            mask=None if mask is None else as_mask(self, mask, x.shape),
        )
        return apply_moments(
            self, x, None, mean_square, reduction_axes, feature_axes, False
        )


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
    axis_index_groups: Any = None
    use_fast_variance: bool = True
    force_float32_reductions: bool = True

    @compact
    def __call__(self, x: Array, *, mask: Array | None = None) -> Array:
        """Normalizes `x`, of shape (batch, ..., channels).

        Args:
          x: the array.
          mask: booleans that broadcast to `x`: which elements the statistics count.

        Raises:
          ValueError: the groups are given twice or not at all or do not divide the
            channels, the last axis is not reduced, an axis does not exist, or the
            mask does not broadcast.
        """
        x = _as_array(x)
        shape = x.shape
        channel = x.ndim - 1
        reduction_axes = self.reduction_axes
        if reduction_axes is None:
            reduction_axes = (*range(1, channel), -1)
        reduction_axes = canonical_axes(self, "reduction_axes", reduction_axes, shape)
        if channel not in reduction_axes:
            raise ValueError(
                _GROUP_AXES.format(
                    module=located(self), axes=self.reduction_axes, shape=shape
                )
            )
        groups, size = self._groups(shape[-1])
        if mask is not None:
            where = as_mask(self, mask, shape)
            mask = _split_groups(where, 1 if where.shape[-1] == 1 else groups)
        # Of the two axes that the channels become, the last one is reduced.
        grouped_axes = (*(a for a in reduction_axes if a != channel), channel + 1)
        mean, var = moments(
            _split_groups(x, groups),
            grouped_axes,
            self.dtype,
            axis_name=self.axis_name,
            axis_index_groups=self.axis_index_groups,
            use_fast_variance=self.use_fast_variance,
            force_float32_reductions=self.force_float32_reductions,
            mask=mask,
        )
        return apply_moments(
            self,
            x,
            _repeat_groups(mean, size),
            _repeat_groups(var, size),
            grouped_axes[:-1],
            (channel,),
            self.use_bias,
        )

    def _groups(self, channels: int) -> tuple[int, int]:
        """The number of groups, and how many channels each has."""
        groups, size = self.num_groups, self.group_size
        if (groups is None) == (size is None):
            raise ValueError(
                _GROUPS_TWICE.format(module=located(self), groups=groups, size=size)
            )
        if groups is None:
            if size is None or size < 1 or channels % size:
                raise ValueError(
                    _GROUP_SIZE.format(
                        module=located(self), channels=channels, size=size
                    )
                )
            return channels // size, size
        if groups < 1 or channels % groups:
            raise ValueError(
                _NUM_GROUPS.format(
                    module=located(self), groups=groups, channels=channels
                )
            )
        return groups, channels // groups


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
    axis_index_groups: Any = None
    use_fast_variance: bool = True
    force_float32_reductions: bool = True

    @compact
    def __call__(self, x: Array, *, mask: Array | None = None) -> Array:
        """Normalizes `x`, of shape (batch, ..., channels) with the default axes.

        Args:
          x: the array.
          mask: booleans that broadcast to `x`: which elements the statistics count.

        Raises:
          ValueError: the batch axis is among the feature axes, an axis does not
            exist, or the mask does not broadcast.
        """
        x = _as_array(x)
        feature_axes = canonical_axes(self, "feature_axes", self.feature_axes, x.shape)
        if 0 in feature_axes:
            raise ValueError(
                _INSTANCE_AXES.format(module=located(self), axes=self.feature_axes)
            )
        reduction_axes = tuple(i for i in range(1, x.ndim) if i not in feature_axes)
        mean, var = moments(
            x,
            reduction_axes,
            self.dtype,
            axis_name=self.axis_name,
            axis_index_groups=self.axis_index_groups,
            use_fast_variance=self.use_fast_variance,
            force_float32_reductions=self.force_float32_reductions,
            mask=None if mask is None else as_mask(self, mask, x.shape),
        )
        return apply_moments(
            self, x, mean, var, reduction_axes, feature_axes, self.use_bias
        )
