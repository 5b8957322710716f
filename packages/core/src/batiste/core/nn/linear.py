"""Linear maps over scopes: dense layers, convolutions and embedding tables."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Hashable, Iterable, Sequence
from typing import TypeAlias

import jax.numpy as jnp
from jax import lax
from jax.nn import initializers

from ..arguments import check_elements, explains_arguments
from ..errors import InvalidArgumentError
from ..initializer_calls import ignores_key, initialize
from ..rules import LAX_PADDING, SIZES
from ..scope.scope import Scope
from ..types import Array, ArrayLike, Dtype, Initializer, Key
from .arrays import Precision, as_tuple, cast, normalize_axes

__all__ = [
    "Embedding",
    "Initializer",
    "Padding",
    "conv",
    "conv_transpose",
    "default_embed_init",
    "default_kernel_init",
    "dense",
    "dense_general",
    "embedding",
]

Padding: TypeAlias = str | Sequence[tuple[int, int]]
"""A name that `jax.lax` knows, or (low, high) for each spatial axis."""

default_kernel_init = initializers.lecun_normal()
default_embed_init = initializers.variance_scaling(1.0, "fan_in", "normal", out_axis=0)


@explains_arguments(features=SIZES)
def dense_general(
    scope: Scope,
    inputs: ArrayLike,
    features: int | Iterable[int],
    axis: int | Iterable[int] = -1,
    batch_dims: Iterable[int] = (),
    bias: bool = True,
    dtype: Dtype = jnp.float32,
    kernel_init: Initializer = default_kernel_init,
    bias_init: Initializer = initializers.zeros,
    precision: Precision = None,
) -> Array:
    """Contracts any axes of the input with a kernel, and puts new ones last.

    The parameters are `kernel`, of shape `(*batch, *contracted, *features)`, and
    `bias`, of shape `(*batch, *features)`, where `batch` are the sizes of
    `batch_dims` and `contracted` those of `axis`.

    Args:
      scope: the scope that holds the parameters.
      inputs: array to transform.
      features: size or sizes of the new axes.
      axis: axis or axes to contract.
      batch_dims: leading axes, counted from 0, along which each index has a kernel
        and a bias of its own.
      bias: whether to add a bias.
      dtype: type of the computation and of the result.
      kernel_init: initializer of the kernel. It is called once, with the shape of the
        matrix `(contracted, features)`, so that fans are those of the matrix; every
        batch index starts from the same values.
      bias_init: initializer of the bias, called with the number of features.
      precision: see `jax.lax.Precision`.

    Returns:
      Array of shape `(*batch, *rest, *features)`, where `rest` are the axes neither
      in `batch_dims` nor in `axis`.

    Raises:
      ValueError: an axis is out of range or repeated, or `batch_dims` are not the
        leading axes.

    >>> import jax
    >>> from batiste.core import init
    >>> y, variables = init(dense_general)(
    ...     jax.random.key(0), jnp.ones((2, 5, 4)), features=(3, 2), axis=(-2, -1))
    >>> y.shape, variables['params']['kernel'].shape
    ((2, 3, 2), (5, 4, 3, 2))
    """
    x = cast(inputs, dtype)
    features, batch_dims = as_tuple(features), tuple(batch_dims)
    n_batch = len(batch_dims)
    if set(batch_dims) != set(range(n_batch)):
        raise InvalidArgumentError(
            f'batch_dims {batch_dims} in "{scope.path_text}" are not the first axes of '
            "the input, counted from 0. Move its batch axes to the front."
        )
    normalize_axes((*batch_dims, *as_tuple(axis)), x.ndim)
    axes = normalize_axes(as_tuple(axis), x.ndim)

    batch = tuple(x.shape[ax] for ax in batch_dims)
    contracted = tuple(x.shape[ax] for ax in axes)
    kernel = scope.param(
        "kernel", _FlatInitializer(kernel_init, batch, (contracted, features))
    )
    kernel_axes = tuple(range(n_batch, n_batch + len(axes)))
    y = lax.dot_general(
        x,
        cast(kernel, dtype),
        ((axes, kernel_axes), (batch_dims, tuple(range(n_batch)))),
        precision=precision,
    )
    if bias:
        b = scope.param("bias", _FlatInitializer(bias_init, batch, (features,)))
        new_axes = range(y.ndim - len(features), y.ndim)
        y = _add_bias(y, cast(b, dtype), (*range(n_batch), *new_axes))
    return y


@explains_arguments()
def dense(
    scope: Scope,
    inputs: ArrayLike,
    features: int,
    bias: bool = True,
    dtype: Dtype = jnp.float32,
    precision: Precision = None,
    kernel_init: Initializer = default_kernel_init,
    bias_init: Initializer = initializers.zeros,
) -> Array:
    """Multiplies the last axis of the input with a kernel, and adds a bias.

    The parameters are `kernel`, of shape `(inputs.shape[-1], features)`, and `bias`,
    of shape `(features,)`.

    Args:
      scope: the scope that holds the parameters.
      inputs: array of shape `(..., in_features)`.
      features: size of the last axis of the result.
      bias: whether to add a bias.
      dtype: type of the computation and of the result.
      precision: see `jax.lax.Precision`.
      kernel_init: initializer of the kernel.
      bias_init: initializer of the bias.

    Returns:
      Array of shape `(..., features)`.

    Raises:
      ValueError: the input has no axes.

    >>> import jax
    >>> from batiste.core import init
    >>> y, variables = init(dense)(jax.random.key(0), jnp.ones((2, 4)), features=3)
    >>> y.shape, variables['params']['kernel'].shape
    ((2, 3), (4, 3))
    """
    x = cast(inputs, dtype)
    if not x.ndim:
        raise InvalidArgumentError(
            f'The input of dense in "{scope.path_text}" is a scalar. It needs at '
            "least one axis, the features."
        )
    kernel = scope.param("kernel", kernel_init, (x.shape[-1], features))
    y = lax.dot_general(
        x,
        cast(kernel, dtype),
        (((x.ndim - 1,), (0,)), ((), ())),
        precision=precision,
    )
    if bias:
        b = scope.param("bias", bias_init, (features,))
        y = _add_bias(y, cast(b, dtype), (y.ndim - 1,))
    return y


@explains_arguments(padding=LAX_PADDING)
def conv(
    scope: Scope,
    inputs: ArrayLike,
    features: int,
    kernel_size: int | Sequence[int],
    strides: Sequence[int] | None = None,
    padding: Padding = "SAME",
    input_dilation: Sequence[int] | None = None,
    kernel_dilation: Sequence[int] | None = None,
    feature_group_count: int = 1,
    bias: bool = True,
    dtype: Dtype = jnp.float32,
    precision: Precision = None,
    kernel_init: Initializer = default_kernel_init,
    bias_init: Initializer = initializers.zeros,
) -> Array:
    """Convolves the input with a kernel.

    The parameters are `kernel`, of shape
    `(*kernel_size, in_features // feature_group_count, features)`, and `bias`, of
    shape `(features,)`.

    Args:
      scope: the scope that holds the parameters.
      inputs: array of shape `(batch, *spatial, in_features)`.
      features: number of filters.
      kernel_size: size of the kernel along each spatial axis; an integer for one axis.
      strides: steps of the window, by default 1 on each spatial axis.
      padding: "SAME", "VALID", or `(low, high)` for each spatial axis.
      input_dilation: spacing of the input's elements, which makes a transposed
        convolution; by default 1.
      kernel_dilation: spacing of the kernel's elements, which makes an atrous
        convolution; by default 1.
      feature_group_count: number of groups that channels are split into.
      bias: whether to add a bias.
      dtype: type of the computation and of the result.
      precision: see `jax.lax.Precision`.
      kernel_init: initializer of the kernel.
      bias_init: initializer of the bias.

    Returns:
      Array of shape `(batch, *out_spatial, features)`.

    Raises:
      ValueError: the input has not the kernel's number of spatial axes, or its
        features cannot be split into the groups.

    >>> import jax
    >>> from batiste.core import init
    >>> y, variables = init(conv)(
    ...     jax.random.key(0), jnp.ones((1, 8, 8, 3)), features=4, kernel_size=(3, 3))
    >>> y.shape, variables['params']['kernel'].shape
    ((1, 8, 8, 4), (3, 3, 3, 4))
    """
    x = cast(inputs, dtype)
    kernel_size = as_tuple(kernel_size)
    numbers = _channels_last(scope, x, kernel_size)
    in_features = x.shape[-1]
    if in_features % feature_group_count:
        raise InvalidArgumentError(
            f'The convolution in "{scope.path_text}" cannot split the '
            f"{in_features} features of its input into {feature_group_count} groups "
            "of the same size. Choose a feature_group_count that divides them."
        )
    kernel = scope.param(
        "kernel",
        kernel_init,
        (*kernel_size, in_features // feature_group_count, features),
    )
    y = lax.conv_general_dilated(
        x,
        cast(kernel, dtype),
        strides or (1,) * len(kernel_size),
        padding,
        lhs_dilation=input_dilation,
        rhs_dilation=kernel_dilation,
        dimension_numbers=numbers,
        feature_group_count=feature_group_count,
        precision=precision,
    )
    if bias:
        b = scope.param("bias", bias_init, (features,))
        y = _add_bias(y, cast(b, dtype), (y.ndim - 1,))
    return y


@explains_arguments(padding=LAX_PADDING)
def conv_transpose(
    scope: Scope,
    inputs: ArrayLike,
    features: int,
    kernel_size: int | Sequence[int],
    strides: Sequence[int] | None = None,
    padding: Padding = "SAME",
    kernel_dilation: Sequence[int] | None = None,
    bias: bool = True,
    dtype: Dtype = jnp.float32,
    precision: Precision = None,
    kernel_init: Initializer = default_kernel_init,
    bias_init: Initializer = initializers.zeros,
) -> Array:
    """Convolves the input, spread out by `strides`, with a kernel.

    This is the transpose of a convolution up to the direction of the kernel, also
    known as fractionally strided convolution. The parameters are `kernel`, of shape
    `(*kernel_size, in_features, features)`, and `bias`, of shape `(features,)`.

    Args:
      scope: the scope that holds the parameters.
      inputs: array of shape `(batch, *spatial, in_features)`.
      features: number of filters.
      kernel_size: size of the kernel along each spatial axis; an integer for one axis.
      strides: spacing of the input's elements, by default 1 on each spatial axis.
      padding: "SAME", "VALID", or `(low, high)` for each spatial axis.
      kernel_dilation: spacing of the kernel's elements, by default 1.
      bias: whether to add a bias.
      dtype: type of the computation and of the result.
      precision: see `jax.lax.Precision`.
      kernel_init: initializer of the kernel.
      bias_init: initializer of the bias.

    Returns:
      Array of shape `(batch, *out_spatial, features)`.

    Raises:
      ValueError: the input has not the kernel's number of spatial axes.

    >>> import jax
    >>> from batiste.core import init
    >>> y, _ = init(conv_transpose)(
    ...     jax.random.key(0), jnp.ones((1, 8, 3)), 4, kernel_size=(3,), strides=(2,))
    >>> y.shape
    (1, 16, 4)
    """
    x = cast(inputs, dtype)
    kernel_size = as_tuple(kernel_size)
    numbers = _channels_last(scope, x, kernel_size)
    kernel = scope.param("kernel", kernel_init, (*kernel_size, x.shape[-1], features))
    y = lax.conv_transpose(
        x,
        cast(kernel, dtype),
        strides or (1,) * len(kernel_size),
        padding,
        rhs_dilation=kernel_dilation,
        dimension_numbers=numbers,
        precision=precision,
    )
    if bias:
        b = scope.param("bias", bias_init, (features,))
        y = _add_bias(y, cast(b, dtype), (y.ndim - 1,))
    return y


@dataclasses.dataclass
class Embedding:
    """A table of vectors, made by `embedding`.

    Attributes:
      table: array of shape `(num_embeddings, features)`.

    >>> Embedding(jnp.eye(3)).lookup(jnp.array([2, 0])).tolist()
    [[0.0, 0.0, 1.0], [1.0, 0.0, 0.0]]
    """

    table: Array

    def lookup(self, indices: ArrayLike) -> Array:
        """Takes rows of the table.

        Args:
          indices: integer array of any shape.

        Returns:
          Array of shape `(*indices.shape, features)`.

        Raises:
          ValueError: the indices are not of an integer type.
        """
        rows = jnp.asarray(indices)
        if not jnp.issubdtype(rows.dtype, jnp.integer):
            raise InvalidArgumentError(
                "Embedding.lookup needs indices of an integer type, but they are of "
                f"type {rows.dtype}. Convert them with indices.astype(int)."
            )
        return self.table[rows]

    def attend(self, query: ArrayLike) -> Array:
        """Returns the inner product of a query with every row of the table.

        Args:
          query: array of shape `(..., features)`.

        Returns:
          Array of shape `(..., num_embeddings)`.
        """
        return jnp.dot(query, self.table.T)


@explains_arguments()
def embedding(
    scope: Scope,
    num_embeddings: int,
    features: int,
    init_fn: Initializer = default_embed_init,
) -> Embedding:
    """Makes a learned table of vectors.

    The parameter is `table`, of shape `(num_embeddings, features)`.

    Args:
      scope: the scope that holds the parameter.
      num_embeddings: number of rows.
      features: size of each row.
      init_fn: initializer of the table.

    Returns:
      An `Embedding`, with the methods `lookup` and `attend`.

    >>> import jax
    >>> from batiste.core import init
    >>> lookup = lambda scope, i: embedding(scope, 10, 3).lookup(i)
    >>> init(lookup)(jax.random.key(0), jnp.array([[1, 2, 3, 4]]))[0].shape
    (1, 4, 3)
    """
    return Embedding(scope.param("table", init_fn, (num_embeddings, features)))


@dataclasses.dataclass(frozen=True)
class _FlatInitializer:
    """Draws a tensor as the matrix (or vector) that it stands for.

    Each group of axes is one axis of it. Every index of the batch starts alike.
    """

    init: Initializer
    batch: tuple[int, ...]
    groups: tuple[tuple[int, ...], ...]

    @property
    def memo_key(self) -> tuple[Hashable, ...]:
        """What the scope remembers the resulting shape by."""
        return self.init, (_FlatInitializer, self.batch, self.groups)

    @property
    def ignores_key(self) -> bool:
        """Whether what it is made around does."""
        return ignores_key(self.init)

    def __call__(self, key: Key) -> Array:
        flat = tuple(math.prod(group) for group in self.groups)
        shape = tuple(size for group in self.groups for size in group)
        check_elements(flat)
        value = initialize(self.init, key, flat, jnp.float32)
        return jnp.broadcast_to(jnp.reshape(value, shape), self.batch + shape)


def _add_bias(y: Array, bias: Array, axes: Sequence[int]) -> Array:
    """Adds `bias`, whose axes are the `axes` of `y`, to `y`."""
    if bias.ndim == y.ndim:
        return lax.add(y, bias)
    shape = [1] * y.ndim
    for axis in axes:
        shape[axis] = y.shape[axis]
    return lax.add(y, lax.broadcast_in_dim(bias, shape, axes))


def _channels_last(
    scope: Scope, x: Array, kernel_size: Sequence[int]
) -> lax.ConvDimensionNumbers:
    """Channels last in inputs and outputs, and in kernels input channels before."""
    ndim = x.ndim
    if ndim != len(kernel_size) + 2:
        raise InvalidArgumentError(
            f'The convolution in "{scope.path_text}" has a kernel with '
            f"{len(kernel_size)} spatial axes, {tuple(kernel_size)}, and needs an "
            f"input of shape (batch, *spatial, features) with as many, but the shape "
            f"is {x.shape}. Add an axis of size 1 where the batch is missing."
        )
    image = (0, ndim - 1, *range(1, ndim - 1))
    kernel = (ndim - 1, ndim - 2, *range(ndim - 2))
    return lax.ConvDimensionNumbers(image, kernel, image)
