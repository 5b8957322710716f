"""Layers that contract axes of their input with a matrix: Dense and DenseGeneral."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Hashable, Sequence
from typing import Any

import jax
import numpy as np
from jax import lax
from jax import numpy as jnp

from batiste.core import meta
from batiste.core.errors import InvalidArgumentError
from batiste.core.initializer_calls import ignores_key, initialize

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
    Axes,
    DotGeneral,
    Dtype,
    Initializer,
    Key,
    PrecisionLike,
    PromoteDtypeFn,
    Shape,
)

__all__ = [
    "Dense",
    "DenseGeneral",
]


def _is_older(values: Sequence[Any]) -> bool | None:
    """Whether one `dot_general` is meant, not `promote_dtype`, and what follows it."""
    return False if len(values) > 1 or values[0] is promote_dtype else None


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
      dot_general: what to call in place of `jax.lax.dot_general`, which is the default,
        as None (see config `documented_functions`).
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
    dot_general_cls: Callable[[], DotGeneral] | None = None

    _field_orders = Orders(
        other=(
            *("features", "use_bias", "dtype", "param_dtype", "precision"),
            *("kernel_init", "bias_init", "dot_general"),
        ),
        absent=("promote_dtype", "dot_general_cls"),
        is_other=_is_older,
    )

    @compact
    def __call__(self, inputs: ArrayLike) -> Array:
        """Maps `inputs` of shape (..., in_features) to (..., features).

        Args:
          inputs: an array with at least one axis.

        Returns:
          An array of the axes of `inputs`, the last of size `features`.

        Raises:
          ValueError: `inputs` is a scalar.
          ScopeParamShapeError: the kernel that was passed is for another
            `in_features`.
        """
        shape = np.shape(inputs)
        if not shape:
            raise InvalidArgumentError(
                f"{located(self)}: the input is a scalar, but a linear transformation "
                "needs an axis of features; pass an array of shape (..., in_features)"
            )
        kernel = self.param(
            "kernel", self.kernel_init, (shape[-1], self.features), self.param_dtype
        )
        bias = None
        if self.use_bias:
            bias = self.param(
                "bias", self.bias_init, (self.features,), self.param_dtype
            )
        x, kernel, bias = self.promote_dtype(inputs, kernel, bias, dtype=self.dtype)
        y = _contract(self, x, kernel, (((len(shape) - 1,), (0,)), ((), ())))
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
      dot_general: what to call in place of `jax.lax.dot_general`, which is the default,
        as None (see config `documented_functions`).
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
    axis: Axes = -1
    batch_dims: Sequence[int] = ()
    use_bias: bool = True
    dtype: Dtype | None = None
    param_dtype: Dtype = jnp.float32
    kernel_init: Initializer = default_kernel_init
    bias_init: Initializer = initializers.zeros_init()
    precision: PrecisionLike = None
    promote_dtype: PromoteDtypeFn = promote_dtype
    dot_general: DotGeneral | None = None
    dot_general_cls: Callable[[], DotGeneral] | None = None

    _field_orders = Orders(
        other=(
            *("features", "axis", "batch_dims", "use_bias", "dtype", "param_dtype"),
            *("kernel_init", "bias_init", "precision", "dot_general"),
        ),
        absent=("promote_dtype", "dot_general_cls"),
        is_other=_is_older,
    )

    @compact
    def __call__(self, inputs: ArrayLike) -> Array:
        """Contracts `inputs` with the kernel; the new axes come last.

        Args:
          inputs: an array of shape (*batch, *axes), of any axes.

        Returns:
          An array of shape (*batch, *rest, *features), where the rest are the axes
          that are not contracted.

        Raises:
          ValueError: `batch_dims` are not the leading axes, or an axis does not
            exist or is named twice.
        """
        shape = np.shape(inputs)
        features = ops.as_tuple(self.features)
        batch_dims, axes = _batch_dims(self), _contracted_axes(self, shape)
        batch = tuple(shape[axis] for axis in batch_dims)
        contracted = tuple(shape[axis] for axis in axes)

        n_in = math.prod(batch) * math.prod(contracted)
        n_out = math.prod(features)
        kernel = self.param(
            "kernel",
            _FlatInitializer(self.kernel_init, (n_in, n_out)),
            batch + contracted + features,
            self.param_dtype,
        )
        bias = None
        if self.use_bias:
            bias = self.param(
                "bias",
                _FlatInitializer(self.bias_init, (math.prod(batch) * n_out,)),
                batch + features,
                self.param_dtype,
            )
        x, kernel, bias = self.promote_dtype(inputs, kernel, bias, dtype=self.dtype)

        kernel_axes = tuple(range(len(batch), len(batch) + len(axes)))
        y = _contract(self, x, kernel, ((axes, kernel_axes), (batch_dims, batch_dims)))
        if bias is None:
            return y
        rest = (1,) * (len(shape) - len(batch) - len(axes))
        return ops.add(y, bias, batch + rest + features)


documented_functions(Dense, dot_general=lax.dot_general)
documented_functions(DenseGeneral, dot_general=lax.dot_general)
documented_order(Dense)
documented_order(DenseGeneral)


def _contract(
    layer: Dense | DenseGeneral,
    x: Array,
    kernel: Array,
    dimension_numbers: lax.DotDimensionNumbers,
) -> Array:
    """Returns the product of the two, made by what the layer was given for that."""
    dot_general = layer.dot_general
    if layer.dot_general_cls is not None:
        dot_general = layer.dot_general_cls()
    if dot_general is not None and dot_general is not lax.dot_general:
        return dot_general(x, kernel, dimension_numbers, precision=layer.precision)
    return ops.dot_general(x, kernel, dimension_numbers, layer.precision)


def _batch_dims(layer: DenseGeneral) -> tuple[int, ...]:
    batch_dims = ops.as_tuple(layer.batch_dims)
    if batch_dims != tuple(range(len(batch_dims))):
        raise InvalidArgumentError(
            f"{located(layer)}: batch_dims {batch_dims} are not the first axes, in "
            "their order, such as (0,) or (0, 1); move the batch axes of the input to "
            "the front"
        )
    return batch_dims


def _contracted_axes(layer: DenseGeneral, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Returns the axes to contract, counted from the front and in that order."""
    ndim = len(shape)
    axes = []
    for axis in ops.as_tuple(layer.axis):
        if not -ndim <= axis < ndim:
            raise InvalidArgumentError(
                f"{located(layer)}: axis {axis} is out of range for an input of shape "
                f"{shape}; give axes between {-ndim} and {ndim - 1}"
            )
        axes.append(axis % ndim)
    named = [*axes, *ops.as_tuple(layer.batch_dims)]
    if len(set(named)) < len(named):
        raise InvalidArgumentError(
            f"{located(layer)}: axis={layer.axis} and "
            f"batch_dims={ops.as_tuple(layer.batch_dims)} name an axis of the input "
            f"of shape {shape} more than once; an axis is either contracted or a batch "
            "axis"
        )
    return tuple(sorted(axes))


@dataclasses.dataclass(frozen=True)
class _FlatInitializer:
    """Draws a tensor as the matrix (or vector) that it stands for.

    Fans are then counted over all the contracted axes.
    """

    init: Initializer
    flat_shape: tuple[int, ...]

    @property
    def memo_key(self) -> tuple[Hashable, ...]:
        """What the scope remembers the resulting shape by."""
        return self.init, (_FlatInitializer, self.flat_shape)

    @property
    def ignores_key(self) -> bool:
        """Whether what it is made around does."""
        return ignores_key(self.init)

    def __call__(self, key: Key, shape: Shape, dtype: Dtype) -> Any:
        value = initialize(self.init, key, self.flat_shape, dtype)
        if isinstance(value, meta.AxisMetadata):
            # Not by way of `unbox`, which lays the value out by the names of the axes
            # that it does not have yet.
            return jax.tree.map(lambda array: jnp.reshape(array, shape), value)
        return jnp.reshape(value, shape)
