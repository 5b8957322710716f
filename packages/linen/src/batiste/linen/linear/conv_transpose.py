"""Transposed convolution."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jax import lax
from jax import numpy as jnp

from .. import initializers, ops
from ..dtypes import promote_dtype
from ..initializers import default_kernel_init
from ..module.methods import compact
from ..module.module import Module
from ..ops import eager_jit
from ..types import (
    Array,
    ArrayLike,
    Dtype,
    Initializer,
    PaddingLike,
    PrecisionLike,
    PromoteDtypeFn,
)
from .conv_shapes import (
    check_mask,
    named_padding,
    one_batch_axis,
    per_dimension,
    restore_batch,
    spatial_sizes,
)

__all__ = ["ConvTranspose"]


class ConvTranspose(Module):
    """A transposed convolution, channels last: the shape map of a strided one undone.

    Parameters: `kernel` of shape (*kernel_size, in_features, features), or with
    `transpose_kernel` (*kernel_size, features, in_features); and, with `use_bias`,
    `bias` of shape (features,).

    Attributes:
      features: the number of filters.
      kernel_size: the extent of the kernel in each spatial dimension; an int means
        one spatial dimension.
      strides: by how much each spatial dimension grows.
      padding: "SAME", "VALID", "CIRCULAR" (the output is periodic, of `strides` times
        the size of the input), or numbers as `canonicalize_padding` takes them.
      kernel_dilation: the spacing put between the elements of the kernel.
      use_bias: whether to add a bias.
      mask: an array of the shape of the kernel to multiply it with.
      dtype: the dtype of the computation; inferred from input and parameters if None.
      param_dtype: the dtype in which the parameters are initialized.
      precision: as in `jax.lax.conv_transpose`.
      kernel_init: initializer of the kernel.
      bias_init: initializer of the bias.
      transpose_kernel: whether to flip the kernel in space and swap its features, as
        the gradient of a convolution does.
      promote_dtype: brings `(inputs, kernel, bias)` to one dtype.
      preferred_element_type: the dtype to accumulate in and return.

    >>> import jax
    >>> import jax.numpy as jnp
    >>> layer = ConvTranspose(features=4, kernel_size=(3, 3), strides=(2, 2))
    >>> variables = layer.init(jax.random.key(0), jnp.ones((1, 5, 5, 3)))
    >>> layer.apply(variables, jnp.ones((1, 5, 5, 3))).shape
    (1, 10, 10, 4)
    """

    features: int
    kernel_size: int | Sequence[int]
    strides: Sequence[int] | None = None
    padding: PaddingLike = "SAME"
    kernel_dilation: Sequence[int] | None = None
    use_bias: bool = True
    mask: ArrayLike | None = None
    dtype: Dtype | None = None
    param_dtype: Dtype = jnp.float32
    precision: PrecisionLike = None
    kernel_init: Initializer = default_kernel_init
    bias_init: Initializer = initializers.zeros_init()
    transpose_kernel: bool = False
    promote_dtype: PromoteDtypeFn = promote_dtype
    preferred_element_type: Dtype | None = None

    @compact
    def __call__(self, inputs: Array) -> Array:
        """Convolves `inputs` with the transposed kernel.

        Args:
          inputs: an array of shape (*batch, *spatial, in_features), with any number
            of batch axes, also none.

        Returns:
          An array of shape (*batch, *out_spatial, features).

        Raises:
          ValueError: the input has too few axes, the mask has another shape than
            the kernel, or padding, strides or dilation do not fit the kernel size.
        """
        size = spatial_sizes(self.kernel_size)
        strides = per_dimension(self, "strides", self.strides, size)
        dilation = per_dimension(self, "kernel_dilation", self.kernel_dilation, size)
        x = inputs if hasattr(inputs, "shape") else jnp.asarray(inputs)
        x, batch_shape = one_batch_axis(self, x, size)
        channels = (x.shape[-1], self.features)
        kernel_shape = (*size, *(channels[::-1] if self.transpose_kernel else channels))
        check_mask(self, self.mask, kernel_shape)
        names = ("SAME", "SAME_LOWER", "VALID", "CIRCULAR")
        padding = named_padding(self, self.padding, len(size), names)

        kernel = self.param("kernel", self.kernel_init, kernel_shape, self.param_dtype)
        if self.mask is not None:
            kernel = ops.multiply(kernel, self.mask)
        bias = None
        if self.use_bias:
            bias = self.param(
                "bias", self.bias_init, (self.features,), self.param_dtype
            )
        x, kernel, bias = self.promote_dtype(x, kernel, bias, dtype=self.dtype)

        y = ops.conv_transpose(
            x,
            kernel,
            strides,
            "VALID" if padding == "CIRCULAR" else padding,
            dilation,
            self.transpose_kernel,
            self.precision,
            self.preferred_element_type,
        )
        if padding == "CIRCULAR":
            spatial = x.shape[1:-1]
            period = tuple(n * s for n, s in zip(spatial, strides, strict=True))
            y = _fold_periods(y, period, self.transpose_kernel)
        if bias is not None:
            y = ops.add(y, bias)
        return restore_batch(y, batch_shape)


@eager_jit(static_argnums=(1, 2))
def _fold_periods(y: Array, period: tuple[int, ...], transpose_kernel: bool) -> Array:
    """Adds up what falls on the same position of a periodic output.

    `y` is the full transposed convolution. Zeros complete it to whole periods, put
    on both sides so that the kernel is centred on the position it starts from.
    """
    sides = [(0, 0, 0)]
    for size, target in zip(y.shape[1:-1], period, strict=True):
        missing = (target - size) % (2 * target) if target else 0
        high = -(-missing // 2) if transpose_kernel else missing // 2
        sides.append((missing - high, high, 0))
    sides.append((0, 0, 0))
    y = lax.pad(y, np.zeros((), y.dtype), sides)
    for axis, target in enumerate(period, start=1):
        if not target:
            return lax.full((y.shape[0], *period, y.shape[-1]), 0, y.dtype)
        shape = y.shape
        folds = (*shape[:axis], shape[axis] // target, target, *shape[axis + 1 :])
        y = lax.reduce_sum(lax.reshape(y, folds), (axis,))
    return y
