"""Convolutions: with one kernel, or with one for each position."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from jax import lax
from jax import numpy as jnp

from batiste.core.errors import InvalidArgumentError

from .. import initializers, ops
from ..dtypes import promote_dtype
from ..initializers import default_kernel_init
from ..module.defaults import documented_functions, documented_order
from ..module.methods import compact
from ..module.module import Module
from ..module.positions import Orders
from ..module.text import located
from ..types import (
    Array,
    ArrayLike,
    ConvGeneralDilated,
    Dtype,
    Initializer,
    PaddingLike,
    PrecisionLike,
    PromoteDtypeFn,
)
from .conv_shapes import (
    Window,
    check_mask,
    named_padding,
    named_sides,
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

Sides = str | tuple[tuple[int, int], ...]


def _is_older(values: Sequence[Any]) -> bool | None:
    """Whether one `conv_general_dilated` is meant, not `promote_dtype`, and more."""
    return False if len(values) > 1 or values[0] is promote_dtype else None


class _Conv(Module):
    """What Conv and ConvLocal have in common; the fields are described there."""

    features: int
    kernel_size: int | Sequence[int]
    strides: None | int | Sequence[int] = 1
    padding: PaddingLike = "SAME"
    input_dilation: None | int | Sequence[int] = 1
    kernel_dilation: None | int | Sequence[int] = 1
    feature_group_count: int = 1
    use_bias: bool = True
    mask: ArrayLike | None = None
    dtype: Dtype | None = None
    param_dtype: Dtype = jnp.float32
    precision: PrecisionLike = None
    kernel_init: Initializer = default_kernel_init
    bias_init: Initializer = initializers.zeros_init()
    promote_dtype: PromoteDtypeFn = promote_dtype
    conv_general_dilated: ConvGeneralDilated | None = None
    conv_general_dilated_cls: Callable[[], ConvGeneralDilated] | None = None

    _field_orders = Orders(
        other=(
            *("features", "kernel_size", "strides", "padding", "input_dilation"),
            *("kernel_dilation", "feature_group_count", "use_bias", "mask", "dtype"),
            *("param_dtype", "precision", "kernel_init", "bias_init"),
            "conv_general_dilated",
        ),
        absent=("promote_dtype", "conv_general_dilated_cls"),
        is_other=_is_older,
    )

    @property
    def shared_weights(self) -> bool:
        """Whether one kernel serves all positions."""
        return True

    @compact
    def __call__(self, inputs: Array) -> Array:
        """Convolves `inputs` with the kernel.

        Args:
          inputs: an array of shape (*batch, *spatial, in_features). Any number of
            batch axes is taken as one for the convolution, and none as a batch of one.

        Returns:
          An array of shape (*batch, *out_spatial, features).

        Raises:
          ValueError: the input has too few axes, the groups do not divide the
            features, the mask has another shape than the kernel, or the padding,
            strides or dilations do not fit the kernel size.
        """
        window = _window(self)
        x = inputs if hasattr(inputs, "shape") else jnp.asarray(inputs)
        x, batch_shape = one_batch_axis(self, x, window.kernel_size)
        x, window, padding = _pad(self, x, window)
        _check_groups(self, x.shape[-1])
        conv = self.conv_general_dilated
        if self.conv_general_dilated_cls is not None:
            conv = self.conv_general_dilated_cls()

        # (*kernel_size, features of a group, features), or without `shared_weights`
        # (*positions, elements under the window, features).
        in_features = x.shape[-1] // self.feature_group_count
        kernel_shape = (*window.kernel_size, in_features, self.features)
        bias_shape = (self.features,)
        if not self.shared_weights:
            positions = output_positions(x.shape[1:-1], window, padding)
            elements = math.prod(window.kernel_size) * in_features
            kernel_shape = (*positions, elements, self.features)
            bias_shape = (*positions, self.features)
        check_mask(self, self.mask, kernel_shape)
        kernel = self.param("kernel", self.kernel_init, kernel_shape, self.param_dtype)
        if self.mask is not None:
            kernel = ops.multiply(kernel, self.mask)
        bias = None
        if self.use_bias:
            bias = self.param("bias", self.bias_init, bias_shape, self.param_dtype)
        x, kernel, bias = self.promote_dtype(x, kernel, bias, dtype=self.dtype)

        if not self.shared_weights:
            y = _convolve_locally(self, x, kernel, window, padding)
        elif conv is not None and conv is not lax.conv_general_dilated:
            y = _convolve_with(conv, self, x, kernel, window, padding)
        else:
            y = ops.conv_general_dilated(
                x,
                kernel,
                window.strides,
                padding,
                window.input_dilation,
                window.kernel_dilation,
                _channels_last(x.ndim),
                self.feature_group_count,
                self.precision,
            )
        if bias is not None:
            y = ops.add(y, bias)
        return restore_batch(y, batch_shape)


documented_functions(_Conv, conv_general_dilated=lax.conv_general_dilated)
documented_order(_Conv)


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
      conv_general_dilated: what to call in place of `jax.lax.conv_general_dilated`,
        which is the default, as None (see config `documented_functions`).
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


def _window(layer: _Conv) -> Window:
    size = spatial_sizes(layer.kernel_size)
    return Window(
        size,
        per_dimension(layer, "strides", layer.strides, size),
        per_dimension(layer, "input_dilation", layer.input_dilation, size),
        per_dimension(layer, "kernel_dilation", layer.kernel_dilation, size),
    )


def _pad(layer: _Conv, x: Array, window: Window) -> tuple[Array, Window, Sides]:
    """Applies the paddings that `lax` has no name for.

    Returns:
      The input, perhaps spread out and padded, how the kernel lies on it, and the
      padding that is left to do.
    """
    names = ("SAME", "SAME_LOWER", "VALID", "CIRCULAR", "REFLECT", "CAUSAL")
    padding = named_padding(layer, layer.padding, len(window.kernel_size), names)
    is_dilated = any(spacing != 1 for spacing in window.input_dilation)
    if padding in ("CIRCULAR", "REFLECT"):
        if is_dilated:
            x = _spread(x, window.input_dilation, periodic=padding == "CIRCULAR")
            window = window._replace(input_dilation=(1,) * len(window.kernel_size))
        added = [extent - 1 for extent in window.extents]
        sides = [(0, 0), *((n // 2, n - n // 2) for n in added), (0, 0)]
        mode = "wrap" if padding == "CIRCULAR" else "reflect"
        return jnp.pad(x, sides, mode=mode), window, "VALID"
    if padding == "CAUSAL":
        if len(window.kernel_size) != 1:
            raise InvalidArgumentError(
                f"{located(layer)}: padding='CAUSAL' needs one spatial dimension, in "
                f"which there is a before, but kernel_size is {window.kernel_size}; "
                "pad the input yourself and use padding='VALID'"
            )
        left = (window.extents[0] - 1) * window.input_dilation[0]
        return x, window, ((left, 0),)
    if is_dilated and isinstance(padding, str):
        # `lax` does not know its own names where the input is spread out.
        return x, window, named_sides(x.shape[1:-1], window, padding)
    return x, window, padding


def _spread(x: Array, spacing: tuple[int, ...], periodic: bool) -> Array:
    """Puts zeros between the elements, and after the last of a periodic input."""
    sides = [(0, (n - 1) * periodic, n - 1) for n in spacing]
    return lax.pad(x, np.zeros((), x.dtype), [(0, 0, 0), *sides, (0, 0, 0)])


def _check_groups(layer: _Conv, in_features: int) -> None:
    groups = layer.feature_group_count
    for side, features in (("input", in_features), ("output", layer.features)):
        if groups < 1 or features % groups:
            raise InvalidArgumentError(
                f"{located(layer)}: feature_group_count={groups} must divide the "
                f"number of {side} features, {features}"
            )


def _channels_last(ndim: int) -> lax.ConvDimensionNumbers:
    spatial = range(1, ndim - 1)
    image = (0, ndim - 1, *spatial)
    kernel = (ndim - 1, ndim - 2, *(axis - 1 for axis in spatial))
    return lax.ConvDimensionNumbers(lhs_spec=image, rhs_spec=kernel, out_spec=image)


def _convolve_with(
    conv: ConvGeneralDilated,
    layer: _Conv,
    x: Array,
    kernel: Array,
    window: Window,
    padding: Sides,
) -> Array:
    """Calls the function that the layer was given, as one calls that of `lax`."""
    return conv(
        x,
        kernel,
        window.strides,
        padding if isinstance(padding, str) else list(padding),
        lhs_dilation=window.input_dilation,
        rhs_dilation=window.kernel_dilation,
        dimension_numbers=_channels_last(x.ndim),
        feature_group_count=layer.feature_group_count,
        precision=layer.precision,
    )


def _convolve_locally(
    layer: _Conv, x: Array, kernel: Array, window: Window, padding: Sides
) -> Array:
    # `lax` has no groups here: each is a convolution of its own.
    groups = layer.feature_group_count
    parts = [
        lax.conv_general_dilated_local(
            part,
            part_kernel,
            window.strides,
            padding,
            window.kernel_size,
            lhs_dilation=window.input_dilation,
            rhs_dilation=window.kernel_dilation,
            dimension_numbers=_channels_last(x.ndim),
            precision=layer.precision,
        )
        for part, part_kernel in zip(
            jnp.split(x, groups, -1) if groups > 1 else [x],
            jnp.split(kernel, groups, -1) if groups > 1 else [kernel],
            strict=True,
        )
    ]
    return parts[0] if groups == 1 else lax.concatenate(parts, x.ndim - 1)
