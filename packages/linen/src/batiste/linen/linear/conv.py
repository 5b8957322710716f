"""Convolutions: with one kernel, or with one for each position."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from jax import lax
from jax import numpy as jnp

from .. import initializers, ops
from ..dtypes import promote_dtype
from ..initializers import default_kernel_init
from ..module.located import located
from ..module.methods import compact
from ..module.module import Module
from ..types import (
    Array,
    ConvGeneralDilated,
    Dtype,
    Initializer,
    PaddingLike,
    PrecisionLike,
    PromoteDtypeFn,
)
from .conv_shapes import (
    canonicalize_padding,
    check_mask,
    check_padding_name,
    one_batch_axis,
    output_positions,
    per_dimension,
    restore_batch,
    spatial_sizes,
)

__all__ = [
    "Conv",
    "ConvLocal",
]


_GROUPS = (
    "{module}: feature_group_count={groups} must divide the number of {side} features, "
    "{features}"
)
_CAUSAL = (
    "{module}: Causal padding is only implemented for 1D convolutions, got kernel_size "
    "{kernel_size}; pad the input yourself and use padding='VALID'"
)
_CONV_PADDINGS = ("SAME", "SAME_LOWER", "VALID", "CIRCULAR", "REFLECT", "CAUSAL")


def _channels_last(ndim: int) -> lax.ConvDimensionNumbers:
    spatial = tuple(range(1, ndim - 1))
    return lax.ConvDimensionNumbers(
        lhs_spec=(0, ndim - 1, *spatial),
        rhs_spec=(ndim - 1, ndim - 2, *(d - 1 for d in spatial)),
        out_spec=(0, ndim - 1, *spatial),
    )


class _Conv(Module):
    """What Conv and ConvLocal have in common."""

    features: int
    kernel_size: int | Sequence[int]
    strides: None | int | Sequence[int] = 1
    padding: PaddingLike = "SAME"
    input_dilation: None | int | Sequence[int] = 1
    kernel_dilation: None | int | Sequence[int] = 1
    feature_group_count: int = 1
    use_bias: bool = True
    mask: Array | None = None
    dtype: Dtype | None = None
    param_dtype: Dtype = jnp.float32
    precision: PrecisionLike = None
    kernel_init: Initializer = default_kernel_init
    bias_init: Initializer = initializers.zeros_init()
    promote_dtype: PromoteDtypeFn = promote_dtype
    conv_general_dilated: ConvGeneralDilated | None = None
    conv_general_dilated_cls: Any = None

    @property
    def shared_weights(self) -> bool:
        """Whether one kernel serves all positions."""
        return True

    @compact
    def __call__(self, inputs: Array) -> Array:
        """Convolves `inputs` with the kernel.

        Args:
          inputs: an array of shape (*batch, *spatial, features). Any number of batch
            axes is taken as one for the convolution, and none as a batch of one; the
            result has the batch axes of `inputs`.

        Raises:
          ValueError: the input has too few axes, the groups do not divide the
            features, the mask has another shape than the kernel, or the padding,
            strides or dilations do not fit the kernel size.
        """
        kernel_size = spatial_sizes(self.kernel_size)
        strides = per_dimension(self, "strides", self.strides, kernel_size)
        input_dilation = per_dimension(
            self, "input_dilation", self.input_dilation, kernel_size
        )
        kernel_dilation = per_dimension(
            self, "kernel_dilation", self.kernel_dilation, kernel_size
        )
        if not hasattr(inputs, "shape"):
            inputs = jnp.asarray(inputs)
        inputs, batch_shape = one_batch_axis(self, inputs, kernel_size)
        inputs, padding = self._pad(
            inputs, kernel_size, input_dilation, kernel_dilation
        )
        numbers_ = _channels_last(inputs.ndim)
        in_features = inputs.shape[-1]
        self._check_groups(in_features)
        conv = self.conv_general_dilated
        if self.conv_general_dilated_cls is not None:
            conv = self.conv_general_dilated_cls()

        if self.shared_weights:
            kernel_shape = (
                *kernel_size,
                in_features // self.feature_group_count,
                self.features,
            )
            bias_shape = (self.features,)
        else:
            positions = output_positions(
                inputs.shape[1:-1],
                kernel_size,
                strides,
                padding,
                input_dilation,
                kernel_dilation,
            )
            window = math.prod(kernel_size) * in_features // self.feature_group_count
            kernel_shape = (*positions, window, self.features)
            bias_shape = (*positions, self.features)

        check_mask(self, self.mask, kernel_shape)
        kernel = self.param("kernel", self.kernel_init, kernel_shape, self.param_dtype)
        if self.mask is not None:
            kernel = ops.multiply(kernel, self.mask)
        bias = None
        if self.use_bias:
            bias = self.param("bias", self.bias_init, bias_shape, self.param_dtype)
        inputs, kernel, bias = self.promote_dtype(
            inputs, kernel, bias, dtype=self.dtype
        )

        if not self.shared_weights:
            # `lax` has no groups here: each is a convolution of its own.
            groups = self.feature_group_count
            parts = [
                lax.conv_general_dilated_local(
                    part,
                    part_kernel,
                    strides,
                    padding,
                    kernel_size,
                    lhs_dilation=input_dilation,
                    rhs_dilation=kernel_dilation,
                    dimension_numbers=numbers_,
                    precision=self.precision,
                )
                for part, part_kernel in zip(
                    jnp.split(inputs, groups, -1) if groups > 1 else [inputs],
                    jnp.split(kernel, groups, -1) if groups > 1 else [kernel],
                    strict=True,
                )
            ]
            y = parts[0] if groups == 1 else lax.concatenate(parts, inputs.ndim - 1)
        elif conv is not None:
            y = conv(
                inputs,
                kernel,
                strides,
                padding,
                lhs_dilation=input_dilation,
                rhs_dilation=kernel_dilation,
                dimension_numbers=numbers_,
                feature_group_count=self.feature_group_count,
                precision=self.precision,
            )
        else:
            y = ops.conv_general_dilated(
                inputs,
                kernel,
                strides,
                padding if isinstance(padding, str) else tuple(padding),
                input_dilation,
                kernel_dilation,
                numbers_,
                self.feature_group_count,
                self.precision,
            )
        if bias is not None:
            y = ops.add(y, bias)
        return restore_batch(y, batch_shape)

    def _check_groups(self, in_features: int) -> None:
        groups = self.feature_group_count
        for side, features in (("input", in_features), ("output", self.features)):
            if groups < 1 or features % groups:
                raise ValueError(
                    _GROUPS.format(
                        module=located(self),
                        groups=groups,
                        side=side,
                        features=features,
                    )
                )

    def _pad(
        self,
        inputs: Array,
        kernel_size: tuple[int, ...],
        input_dilation: tuple[int, ...],
        kernel_dilation: tuple[int, ...],
    ) -> tuple[Array, Any]:
        """Applies the paddings that `lax` has no name for.

        Returns the input, perhaps padded, and the padding that is left to do.
        """
        padding = canonicalize_padding(self.padding, len(kernel_size))
        check_padding_name(self, padding, _CONV_PADDINGS)
        if padding in ("CIRCULAR", "REFLECT"):
            sides = [(0, 0)]
            for size, dilation in zip(kernel_size, kernel_dilation, strict=True):
                extent = (size - 1) * dilation
                sides.append((extent // 2, extent - extent // 2))
            sides.append((0, 0))
            mode = "wrap" if padding == "CIRCULAR" else "reflect"
            return jnp.pad(inputs, sides, mode=mode), "VALID"
        if padding == "CAUSAL":
            if len(kernel_size) != 1:
                raise ValueError(
                    _CAUSAL.format(module=located(self), kernel_size=kernel_size)
                )
            left = kernel_dilation[0] * (kernel_size[0] - 1) * input_dilation[0]
            return inputs, [(left, 0)]
        return inputs, padding


class Conv(_Conv):
    """A convolution, channels last, with one kernel for all positions.

    Parameters: `kernel` of shape (*kernel_size, in_features // feature_group_count,
    features), and, with `use_bias`, `bias` of shape (features,).

    Attributes:
      features: the number of filters.
      kernel_size: the extent of the kernel in each spatial dimension; an int means
        one spatial dimension.
      strides: the steps between windows, an int or one for each spatial dimension.
      padding: "SAME", "SAME_LOWER", "VALID", "CIRCULAR" (the input is periodic),
        "REFLECT" (the input is mirrored at its edges), "CAUSAL" (one dimension only:
        a position sees only itself and those before it), or numbers as
        `canonicalize_padding` takes them.
      input_dilation: the spacing put between the elements of the input.
      kernel_dilation: the spacing put between the elements of the kernel.
      feature_group_count: into how many groups, convolved apart, the features go.
      use_bias: whether to add a bias.
      mask: an array of the shape of the kernel to multiply it with.
      dtype: the dtype of the computation; inferred from input and parameters if None.
      param_dtype: the dtype in which the parameters are initialized.
      precision: as in `jax.lax.conv_general_dilated`.
      kernel_init: initializer of the kernel.
      bias_init: initializer of the bias.
      promote_dtype: brings `(inputs, kernel, bias)` to one dtype.
      conv_general_dilated: what to call in place of `jax.lax.conv_general_dilated`.
      conv_general_dilated_cls: a class, or other callable without arguments, that
        makes such a function.

    >>> import jax
    >>> import jax.numpy as jnp
    >>> layer = Conv(features=4, kernel_size=(3, 3), strides=2)
    >>> images = jnp.ones((2, 8, 8, 3))
    >>> variables = layer.init(jax.random.key(0), images)
    >>> jax.tree.map(jnp.shape, dict(variables["params"]))
    {'bias': (4,), 'kernel': (3, 3, 3, 4)}
    >>> layer.apply(variables, images).shape
    (2, 4, 4, 4)
    """


class ConvLocal(_Conv):
    """A convolution, channels last, with a kernel of its own at every position.

    The fields are those of `Conv`. Parameters: `kernel` of shape (*out_spatial,
    prod(kernel_size) * in_features // feature_group_count, features), and, with
    `use_bias`, `bias` of shape (*out_spatial, features).

    >>> import jax
    >>> import jax.numpy as jnp
    >>> layer = ConvLocal(features=4, kernel_size=(3,), padding="VALID")
    >>> variables = layer.init(jax.random.key(0), jnp.ones((2, 6, 5)))
    >>> jax.tree.map(jnp.shape, dict(variables["params"]))
    {'bias': (4, 4), 'kernel': (4, 15, 4)}
    """

    @property
    def shared_weights(self) -> bool:
        """Whether one kernel serves all positions."""
        return False
