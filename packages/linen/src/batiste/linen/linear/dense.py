"""Layers that contract axes of their input with a matrix: Dense and DenseGeneral."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from jax import numpy as jnp

from batiste.core import meta

from .. import initializers, ops
from ..dtypes import promote_dtype
from ..initializers import default_kernel_init
from ..module.located import located
from ..module.methods import compact
from ..module.module import Module
from ..types import (
    Array,
    DotGeneral,
    Dtype,
    Initializer,
    PrecisionLike,
    PromoteDtypeFn,
    Shape,
)

__all__ = [
    "Dense",
    "DenseGeneral",
]


_NO_AXES = (
    "{module}: the input is a scalar, but a linear transformation needs an axis of "
    "features; pass an array of shape (..., in_features)"
)
_BATCH_DIMS = (
    "{module}: batch_dims {batch_dims} must be consecutive leading dimensions "
    "starting from 0, such as (0,) or (0, 1); move the batch axes of the input to "
    "the front"
)
_BAD_AXIS = (
    "{module}: axis {axis} is out of range for an input of shape {shape}; give axes "
    "between {low} and {high}"
)
_AXIS_TWICE = (
    "{module}: axis={axis} and batch_dims={batch_dims} name an axis of the input of "
    "shape {shape} more than once; an axis is either contracted or a batch axis"
)


@dataclasses.dataclass(frozen=True)
class _FlatInitializer:
    """Draws a tensor as the matrix (or vector) that it stands for.

    Fans are then counted over all the contracted axes.
    """

    init: Initializer
    flat_shape: tuple[int, ...]

    @property
    def memo_key(self) -> tuple[Any, Any]:
        """What the scope remembers the resulting shape by."""
        return self.init, (_FlatInitializer, self.flat_shape)

    def __call__(self, key: Any, shape: Shape, dtype: Dtype) -> Any:
        value = self.init(key, self.flat_shape, dtype)
        if isinstance(value, meta.AxisMetadata):
            # Not by way of `unbox`, which lays the value out by the names of the axes
            # that it does not have yet.
            return jax.tree.map(lambda array: jnp.reshape(array, shape), value)
        return jnp.reshape(value, shape)


class Dense(Module):
    """A linear map of the last axis: `inputs @ kernel + bias`.

    Parameters: `kernel` of shape (in_features, features), and, with `use_bias`,
    `bias` of shape (features,).

    Attributes:
      features: the number of output features.
      use_bias: whether to add a bias.
      dtype: the dtype of the computation; inferred from input and parameters if None.
      param_dtype: the dtype in which the parameters are initialized.
      precision: as in `jax.lax.dot_general`.
      kernel_init: initializer of the kernel.
      bias_init: initializer of the bias.
      promote_dtype: brings `(inputs, kernel, bias)` to one dtype.
      dot_general: what to call in place of `jax.lax.dot_general`.
      dot_general_cls: a class, or other callable without arguments, that makes such
        a function; for modules that keep state, such as quantizers.

    >>> import jax
    >>> import jax.numpy as jnp
    >>> layer = Dense(features=4)
    >>> variables = layer.init(jax.random.key(0), jnp.ones((1, 3)))
    >>> jax.tree.map(jnp.shape, dict(variables["params"]))
    {'bias': (4,), 'kernel': (3, 4)}
    >>> layer.apply(variables, jnp.ones((5, 2, 3))).shape
    (5, 2, 4)
    """

    features: int
    use_bias: bool = True
    dtype: Dtype | None = None
    param_dtype: Dtype = jnp.float32
    precision: PrecisionLike = None
    kernel_init: Initializer = default_kernel_init
    bias_init: Initializer = initializers.zeros_init()
    promote_dtype: PromoteDtypeFn = promote_dtype
    dot_general: DotGeneral | None = None
    dot_general_cls: Any = None

    @compact
    def __call__(self, inputs: Array) -> Array:
        """Maps `inputs` of shape (..., in_features) to (..., features).

        Raises:
          ValueError: `inputs` is a scalar.
          ScopeParamShapeError: the kernel that was passed is for another
            `in_features`.
        """
        in_shape = np.shape(inputs)
        if not in_shape:
            raise ValueError(_NO_AXES.format(module=located(self)))
        kernel = self.param(
            "kernel", self.kernel_init, (in_shape[-1], self.features), self.param_dtype
        )
        bias = None
        if self.use_bias:
            bias = self.param(
                "bias", self.bias_init, (self.features,), self.param_dtype
            )
        inputs, kernel, bias = self.promote_dtype(
            inputs, kernel, bias, dtype=self.dtype
        )
        dims = (((len(in_shape) - 1,), (0,)), ((), ()))
        if self.dot_general_cls is not None:
            y = self.dot_general_cls()(inputs, kernel, dims, precision=self.precision)
        elif self.dot_general is not None:
            y = self.dot_general(inputs, kernel, dims, precision=self.precision)
        else:
            y = ops.dot_general(inputs, kernel, dims, self.precision)
        return y if bias is None else ops.add(y, bias)


class DenseGeneral(Module):
    """A linear map of any axes of the input to any number of new last axes.

    The axes named in `axis` (in the order of the input, however they are listed) are
    summed over and replaced, at the end, by the axes of `features`. Along the leading
    axes `batch_dims` each position has its own kernel and bias. Parameters: `kernel`
    of shape (*batch, *contracted, *features), drawn as a matrix over all its
    contracted axes, and `bias` of shape (*batch, *features).

    Attributes:
      features: the sizes of the new axes, or the size of the one new axis.
      axis: the axes, or the axis, to contract.
      batch_dims: leading axes with parameters of their own, `(0, 1, ...)`.
      use_bias: whether to add a bias.
      dtype: the dtype of the computation; inferred from input and parameters if None.
      param_dtype: the dtype in which the parameters are initialized.
      kernel_init: initializer of the kernel.
      bias_init: initializer of the bias.
      precision: as in `jax.lax.dot_general`.
      promote_dtype: brings `(inputs, kernel, bias)` to one dtype.
      dot_general: what to call in place of `jax.lax.dot_general`.
      dot_general_cls: a class, or other callable without arguments, that makes such
        a function.

    >>> import jax
    >>> import jax.numpy as jnp
    >>> layer = DenseGeneral(features=(4, 5), axis=(1, -1))
    >>> x = jnp.ones((2, 3, 7, 6))
    >>> variables = layer.init(jax.random.key(0), x)
    >>> jax.tree.map(jnp.shape, dict(variables["params"]))
    {'bias': (4, 5), 'kernel': (3, 6, 4, 5)}
    >>> layer.apply(variables, x).shape
    (2, 7, 4, 5)
    """

    features: int | Sequence[int]
    axis: int | Sequence[int] = -1
    batch_dims: Sequence[int] = ()
    use_bias: bool = True
    dtype: Dtype | None = None
    param_dtype: Dtype = jnp.float32
    kernel_init: Initializer = default_kernel_init
    bias_init: Initializer = initializers.zeros_init()
    precision: PrecisionLike = None
    promote_dtype: PromoteDtypeFn = promote_dtype
    dot_general: DotGeneral | None = None
    dot_general_cls: Any = None

    @compact
    def __call__(self, inputs: Array) -> Array:
        """Contracts `inputs` with the kernel; the new axes come last.

        Raises:
          ValueError: `batch_dims` are not the leading axes, or an axis does not
            exist or is named twice.
        """
        features = ops.as_tuple(self.features)
        shape = np.shape(inputs)
        batch_dims = ops.as_tuple(self.batch_dims)
        if batch_dims != tuple(range(len(batch_dims))):
            raise ValueError(
                _BATCH_DIMS.format(module=located(self), batch_dims=batch_dims)
            )
        axes = self._contracted_axes(shape, batch_dims)
        n_batch, n_axes = len(batch_dims), len(axes)
        batch_shape = shape[:n_batch]
        in_shape = tuple(shape[a] for a in axes)
        n_in = math.prod(batch_shape) * math.prod(in_shape)
        n_out = math.prod(features)
        kernel = self.param(
            "kernel",
            _FlatInitializer(self.kernel_init, (n_in, n_out)),
            batch_shape + in_shape + features,
            self.param_dtype,
        )
        bias = None
        if self.use_bias:
            bias = self.param(
                "bias",
                _FlatInitializer(self.bias_init, (math.prod(batch_shape) * n_out,)),
                batch_shape + features,
                self.param_dtype,
            )
        inputs, kernel, bias = self.promote_dtype(
            inputs, kernel, bias, dtype=self.dtype
        )
        kernel_axes = tuple(range(n_batch, n_batch + n_axes))
        dims = ((axes, kernel_axes), (batch_dims, batch_dims))
        if self.dot_general_cls is not None:
            y = self.dot_general_cls()(inputs, kernel, dims, precision=self.precision)
        elif self.dot_general is not None:
            y = self.dot_general(inputs, kernel, dims, precision=self.precision)
        else:
            y = ops.dot_general(inputs, kernel, dims, self.precision)
        if bias is None:
            return y
        between = (1,) * (len(shape) - n_batch - n_axes)
        return ops.add(y, bias, batch_shape + between + features)

    def _contracted_axes(
        self, shape: tuple[int, ...], batch_dims: tuple[int, ...]
    ) -> tuple[int, ...]:
        """The axes to contract, counted from the front and in that order."""
        ndim = len(shape)
        axes = []
        for axis in ops.as_tuple(self.axis):
            if not -ndim <= axis < ndim:
                raise ValueError(
                    _BAD_AXIS.format(
                        module=located(self),
                        axis=axis,
                        shape=shape,
                        low=-ndim,
                        high=ndim - 1,
                    )
                )
            axes.append(axis % ndim)
        if len(set(axes) | set(batch_dims)) != len(axes) + len(batch_dims):
            raise ValueError(
                _AXIS_TWICE.format(
                    module=located(self),
                    axis=self.axis,
                    batch_dims=batch_dims,
                    shape=shape,
                )
            )
        return tuple(sorted(axes))
