"""Linear maps over scopes: dense layers, convolutions and embedding tables."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.nn import initializers

from .arrays import as_tuple, cast, normalize_axes

if TYPE_CHECKING:
    from ..scope.scope import Scope

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


Initializer = Callable[..., Any]
Padding = str | Sequence[tuple[int, int]]

default_kernel_init = initializers.lecun_normal()
default_embed_init = initializers.variance_scaling(1.0, "fan_in", "normal", out_axis=0)


def _add_bias(y: jax.Array, bias: jax.Array, dims: Sequence[int]) -> jax.Array:
    """Adds `bias`, whose axes are the axes `dims` of `y`, to `y`."""
    if bias.ndim == y.ndim:
        return lax.add(y, bias)
    shape = [1] * y.ndim
    for dim in dims:
        shape[dim] = y.shape[dim]
    return lax.add(y, lax.broadcast_in_dim(bias, shape, dims))


def _init_flat(
    init: Initializer, batch: tuple[int, ...], *groups: tuple[int, ...]
) -> Initializer:
    """An initializer that runs `init` with each group of axes flattened to one."""
    flat = tuple(math.prod(group) for group in groups)
    shape = sum(groups, ())

    def init_flat(key: Any) -> jax.Array:
        value = init(key, flat, jnp.float32)
        return jnp.broadcast_to(jnp.reshape(value, shape), batch + shape)

    # The scope remembers by this what shape it makes.
    init_flat.memo_key = (init, (_init_flat, batch, groups))
    return init_flat


def dense_general(
    scope: "Scope",
    inputs: Any,
    features: int | Iterable[int],
    axis: int | Iterable[int] = -1,
    batch_dims: Iterable[int] = (),
    bias: bool = True,
    dtype: Any = jnp.float32,
    kernel_init: Initializer = default_kernel_init,
    bias_init: Initializer = initializers.zeros,
    precision: Any = None,
) -> jax.Array:
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

    >>> from batiste.core import init
    >>> y, variables = init(dense_general)(
    ...     jax.random.key(0), jnp.ones((2, 5, 4)), features=(3, 2), axis=(-2, -1))
    >>> y.shape, variables['params']['kernel'].shape
    ((2, 3, 2), (5, 4, 3, 2))
    """
    inputs = cast(inputs, dtype)
    features, axis = as_tuple(features), as_tuple(axis)
    batch_dims = tuple(batch_dims)
    if set(batch_dims) != set(range(len(batch_dims))):
        raise ValueError(
            f"batch_dims {batch_dims} must be consecutive leading dimensions "
            "starting from 0. Move the batch axes of the input to the front."
        )
    ndim, n_batch = inputs.ndim, len(batch_dims)
    normalize_axes((*batch_dims, *axis), ndim)
    axis = normalize_axes(axis, ndim)

    batch_shape = tuple(inputs.shape[ax] for ax in batch_dims)
    contracted = tuple(inputs.shape[ax] for ax in axis)

    kernel = scope.param(
        "kernel", _init_flat(kernel_init, batch_shape, contracted, features)
    )
    kernel_axes = tuple(range(n_batch, n_batch + len(axis)))
    out = lax.dot_general(
        inputs,
        cast(kernel, dtype),
        ((axis, kernel_axes), (batch_dims, tuple(range(n_batch)))),
        precision=precision,
    )
    if bias:
        b = scope.param("bias", _init_flat(bias_init, batch_shape, features))
        feature_dims = range(out.ndim - len(features), out.ndim)
        out = _add_bias(out, cast(b, dtype), (*range(n_batch), *feature_dims))
    return out


def dense(
    scope: "Scope",
    inputs: Any,
    features: int,
    bias: bool = True,
    dtype: Any = jnp.float32,
    precision: Any = None,
    kernel_init: Initializer = default_kernel_init,
    bias_init: Initializer = initializers.zeros,
) -> jax.Array:
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

    >>> from batiste.core import init
    >>> y, variables = init(dense)(jax.random.key(0), jnp.ones((2, 4)), features=3)
    >>> y.shape, variables['params']['kernel'].shape
    ((2, 3), (4, 3))
    """
    inputs = cast(inputs, dtype)
    if not inputs.ndim:
        raise ValueError(
            f'The input of dense in "{scope.path_text}" is a scalar. It needs at '
            "least one axis, the features."
        )
    kernel = scope.param("kernel", kernel_init, (inputs.shape[-1], features))
    y = lax.dot_general(
        inputs,
        cast(kernel, dtype),
        (((inputs.ndim - 1,), (0,)), ((), ())),
        precision=precision,
    )
    if bias:
        b = scope.param("bias", bias_init, (features,))
        y = _add_bias(y, cast(b, dtype), (y.ndim - 1,))
    return y


def _conv_dimension_numbers(
    scope: "Scope", inputs: jax.Array, kernel_size: Sequence[int]
) -> lax.ConvDimensionNumbers:
    """Channels last in inputs and outputs, and in kernels input channels before."""
    ndim = inputs.ndim
    if ndim != len(kernel_size) + 2:
        raise ValueError(
            f'The convolution in "{scope.path_text}" has a kernel with '
            f"{len(kernel_size)} spatial axes, {tuple(kernel_size)}, and needs an "
            f"input of shape (batch, *spatial, features) with as many, but the shape "
            f"is {inputs.shape}. Add an axis of size 1 where the batch is missing."
        )
    image = (0, ndim - 1, *range(1, ndim - 1))
    kernel = (ndim - 1, ndim - 2, *range(ndim - 2))
    return lax.ConvDimensionNumbers(image, kernel, image)


def conv(
    scope: "Scope",
    inputs: Any,
    features: int,
    kernel_size: int | Sequence[int],
    strides: Sequence[int] | None = None,
    padding: Padding = "SAME",
    input_dilation: Sequence[int] | None = None,
    kernel_dilation: Sequence[int] | None = None,
    feature_group_count: int = 1,
    bias: bool = True,
    dtype: Any = jnp.float32,
    precision: Any = None,
    kernel_init: Initializer = default_kernel_init,
    bias_init: Initializer = initializers.zeros,
) -> jax.Array:
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

    >>> from batiste.core import init
    >>> y, variables = init(conv)(
    ...     jax.random.key(0), jnp.ones((1, 8, 8, 3)), features=4, kernel_size=(3, 3))
    >>> y.shape, variables['params']['kernel'].shape
    ((1, 8, 8, 4), (3, 3, 3, 4))
    """
    inputs = cast(inputs, dtype)
    kernel_size = as_tuple(kernel_size)
    spatial = len(kernel_size)
    numbers = _conv_dimension_numbers(scope, inputs, kernel_size)
    in_features = inputs.shape[-1]
    if in_features % feature_group_count:
        raise ValueError(
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
        inputs,
        cast(kernel, dtype),
        strides or (1,) * spatial,
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


def conv_transpose(
    scope: "Scope",
    inputs: Any,
    features: int,
    kernel_size: int | Sequence[int],
    strides: Sequence[int] | None = None,
    padding: Padding = "SAME",
    kernel_dilation: Sequence[int] | None = None,
    bias: bool = True,
    dtype: Any = jnp.float32,
    precision: Any = None,
    kernel_init: Initializer = default_kernel_init,
    bias_init: Initializer = initializers.zeros,
) -> jax.Array:
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

    >>> from batiste.core import init
    >>> y, _ = init(conv_transpose)(
    ...     jax.random.key(0), jnp.ones((1, 8, 3)), 4, kernel_size=(3,), strides=(2,))
    >>> y.shape
    (1, 16, 4)
    """
    inputs = cast(inputs, dtype)
    kernel_size = as_tuple(kernel_size)
    numbers = _conv_dimension_numbers(scope, inputs, kernel_size)
    kernel = scope.param(
        "kernel", kernel_init, (*kernel_size, inputs.shape[-1], features)
    )
    y = lax.conv_transpose(
        inputs,
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


@dataclass
class Embedding:
    """A table of vectors, made by `embedding`.

    Args:
      table: array of shape `(num_embeddings, features)`.

    >>> Embedding(jnp.eye(3)).lookup(jnp.array([2, 0])).tolist()
    [[0.0, 0.0, 1.0], [1.0, 0.0, 0.0]]
    """

    table: Any

    def lookup(self, indices: Any) -> jax.Array:
        """Takes rows of the table.

        Args:
          indices: integer array of any shape.

        Returns:
          Array of shape `(*indices.shape, features)`.

        Raises:
          ValueError: the indices are not of an integer type.
        """
        indices = jnp.asarray(indices)
        if not jnp.issubdtype(indices.dtype, jnp.integer):
            raise ValueError(
                "Embedding.lookup needs indices of an integer type, but they are of "
                f"type {indices.dtype}. Convert them with indices.astype(int)."
            )
        return self.table[indices]

    def attend(self, query: Any) -> jax.Array:
        """The inner product of a query with every row of the table.

        Args:
          query: array of shape `(..., features)`.

        Returns:
          Array of shape `(..., num_embeddings)`.
        """
        return jnp.dot(query, self.table.T)


def embedding(
    scope: "Scope",
    num_embeddings: int,
    features: int,
    init_fn: Initializer = default_embed_init,
) -> Embedding:
    """A learned table of vectors.

    The parameter is `table`, of shape `(num_embeddings, features)`.

    Args:
      scope: the scope that holds the parameter.
      num_embeddings: number of rows.
      features: size of each row.
      init_fn: initializer of the table.

    Returns:
      An `Embedding`, with the methods `lookup` and `attend`.

    >>> from batiste.core import init
    >>> lookup = lambda scope, i: embedding(scope, 10, 3).lookup(i)
    >>> init(lookup)(jax.random.key(0), jnp.array([[1, 2, 3, 4]]))[0].shape
    (1, 4, 3)
    """
    return Embedding(scope.param("table", init_fn, (num_embeddings, features)))
