"""Mean and variance of the elements that a layer puts together, and their use.

A layer normalizes in two steps: `moments` takes the mean and the variance over some
axes, and `normalize` computes `(x - mean) / sqrt(var + epsilon) * scale + bias`.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any, Protocol, TypeVar

import jax
import numpy as np
from jax import lax
from jax import numpy as jnp

from batiste.core.errors import InvalidArgumentError
from batiste.core.types import Array, ArrayLike, Dtype, Function, Initializer, Shape

from .. import ops
from ..dtypes import canonicalize_dtype
from ..module.state import ModuleBase
from ..module.text import located
from ..types import Axes

__all__ = [
    "NormLayer",
    "as_mask",
    "canonical_axes",
    "counts_any",
    "mean_square",
    "moments",
    "normalize",
    "other_axes",
]

T = TypeVar("T")


class NormLayer(Protocol):
    """The fields that all normalization layers have, and that decide the numbers.

    >>> from batiste.linen.normalization import LayerNorm
    >>> layer: NormLayer = LayerNorm()
    """

    epsilon: float
    dtype: Dtype | None
    param_dtype: Dtype
    use_scale: bool
    scale_init: Initializer
    axis_index_groups: Sequence[Sequence[int]] | None
    use_fast_variance: bool
    force_float32_reductions: bool

    def param(self, name: str, init_fn: Initializer, *init_args: Any) -> Any:
        """Declares a parameter of the layer and returns it."""
        ...


def canonical_axes(
    module: ModuleBase, field: str, axes: Axes, shape: Shape
) -> tuple[int, ...]:
    """Counts axes from the front.

    Args:
      module: the layer that has the field, for the error.
      field: the name of the field.
      axes: the field: an axis or more, negative ones counted from the end.
      shape: the shape of the array that has the axes.

    Returns:
      Each of the axes once, in increasing order.

    Raises:
      ValueError: an array of `shape` does not have such an axis.

    >>> from batiste.linen.normalization import LayerNorm
    >>> canonical_axes(LayerNorm(), "feature_axes", (-1, 0), (2, 3, 4))
    (0, 2)
    """
    rank = len(shape)
    if isinstance(axes, int) and -rank <= axes < rank:
        return (axes % rank,)
    found = set()
    for axis in ops.as_tuple(axes):
        if not -rank <= axis < rank:
            raise InvalidArgumentError(
                f"{located(module)}: {field}={axes} names axis {axis}, which an input "
                f"of shape {shape} does not have; give axes between {-rank} and "
                f"{rank - 1}"
            )
        found.add(axis % rank)
    return tuple(sorted(found))


def other_axes(rank: int, axes: tuple[int, ...]) -> tuple[int, ...]:
    """Returns the axes of an array of `rank` axes that are not among `axes`.

    >>> other_axes(4, (1, 3))
    (0, 2)
    """
    return tuple(i for i in range(rank) if i not in axes)


def as_mask(
    module: ModuleBase, mask: ArrayLike | None, shape: tuple[int, ...]
) -> Array | None:
    """Makes a mask booleans, and gives it as many axes as `shape` has.

    Args:
      module: the layer that was given the mask, for the error.
      mask: booleans, or numbers of which 0 means false; None stays None.
      shape: the shape of the layer's input.

    Returns:
      An array of booleans that broadcasts to `shape`.

    Raises:
      ValueError: the mask does not broadcast to `shape`.

    >>> from batiste.linen.normalization import LayerNorm
    >>> as_mask(LayerNorm(), jnp.array([1, 0, 1]), (2, 3)).tolist()
    [[True, False, True]]
    """
    if mask is None:
        return None
    mask = jnp.asarray(mask)
    try:
        fits = np.broadcast_shapes(mask.shape, shape) == shape
    except ValueError:
        fits = False
    if not fits:
        raise InvalidArgumentError(
            f"{located(module)}: the mask of shape {mask.shape} does not broadcast to "
            f"the input of shape {shape}; give it that shape, with 1 where all "
            "elements of an axis are alike"
        )
    if mask.dtype != jnp.bool_:
        mask = lax.ne(mask, np.zeros((), mask.dtype))
    return lax.expand_dims(mask, range(len(shape) - mask.ndim))


def moments(
    layer: NormLayer,
    x: Array,
    axes: tuple[int, ...],
    axis_name: str | None = None,
    mask: Array | None = None,
) -> tuple[Array, Array]:
    """Takes the mean and the variance of `x` over `axes`.

    Args:
      layer: its fields say in which dtype to compute, and whether the variance is
        E|x|² - |E[x]|², clipped at zero, which reads `x` only once
        (`use_fast_variance`), or E|x - E[x]|², which is more exact.
      x: an array.
      axes: the axes to reduce, counted from the front.
      axis_name: the mapped axis over which the moments are averaged as well.
      mask: booleans that broadcast to `x`: where to count its elements.

    Returns:
      Arrays of the shape of `x` without the axes. The variance is real.

    >>> from batiste.linen.normalization import LayerNorm
    >>> x = jnp.array([[1.0, 3.0], [5.0, 5.0]])
    >>> mean, var = moments(LayerNorm(), x, (1,))
    >>> mean.tolist(), var.tolist()
    ([2.0, 5.0], [1.0, 0.0])
    """
    x = _widened(layer, x)
    if not layer.use_fast_variance:
        mean = _across_devices(layer, _average(x, axes, mask), axes, axis_name, mask)
        square = _average(_abs_square(ops.sub(x, mean, axes)), axes, mask)
        return mean, _across_devices(layer, square, axes, axis_name, mask)
    # Together, so that devices exchange numbers once.
    # Gradients by `x` add up in the reverse order of its uses: squares come first, as
    # in the released package.
    squares = _abs_square(x)
    both = _average(x, axes, mask), _average(squares, axes, mask)
    mean, square = _across_devices(layer, both, axes, axis_name, mask)
    return mean, ops.clipped_sub(square, _abs_square(mean))


def mean_square(
    layer: NormLayer,
    x: Array,
    axes: tuple[int, ...],
    axis_name: str | None = None,
    mask: Array | None = None,
) -> Array:
    """Takes the mean of the squared modulus of `x` over `axes`: E|x|².

    Args:
      layer: its fields say in which dtype to compute.
      x: an array.
      axes: the axes to reduce, counted from the front.
      axis_name: the mapped axis over which to average as well.
      mask: booleans that broadcast to `x`: where to count its elements.

    Returns:
      Real array of the shape of `x` without the axes.

    >>> from batiste.linen.normalization import RMSNorm
    >>> mean_square(RMSNorm(), jnp.array([3.0, 4.0]), (0,)).tolist()
    12.5
    """
    square = _average(_abs_square(_widened(layer, x)), axes, mask)
    return _across_devices(layer, square, axes, axis_name, mask)


def counts_any(
    layer: NormLayer,
    mask: Array,
    shape: tuple[int, ...],
    axes: tuple[int, ...],
    axis_name: str | None = None,
) -> Array:
    """Tells where moments over `axes` are of any element, here or on another device.

    Args:
      layer: its field says which devices belong together.
      mask: booleans, with as many axes as `shape` has, that broadcast to it.
      shape: the shape of what the moments are taken of.
      axes: the axes to reduce, counted from the front.
      axis_name: the mapped axis over which to look as well.

    Returns:
      Booleans of that shape without the axes.

    >>> from batiste.linen.normalization import BatchNorm
    >>> counts_any(BatchNorm(), jnp.array([[True, False]]), (5, 2), (0,)).tolist()
    [True, False]
    """
    found = _counts_any(mask, shape, axes)
    if axis_name is None:
        return found
    found = found.astype(jnp.int32)
    groups = layer.axis_index_groups
    return lax.psum(found, axis_name, axis_index_groups=groups) > 0


def normalize(
    layer: NormLayer,
    x: Array,
    mean: Array | None,
    var: Array,
    reduction_axes: tuple[int, ...],
    feature_axes: tuple[int, ...],
    bias_init: Initializer | None = None,
) -> Array:
    """Computes `(x - mean) / sqrt(var + epsilon) * scale + bias`.

    The parameters `scale` and `bias` are declared in the layer here, of the sizes of
    the feature axes.

    Args:
      layer: the layer, with the fields `epsilon`, `use_scale` and the dtypes.
      x: an array.
      mean: the mean, of the shape of `x` without the reduction axes; None for zero.
      var: the variance, of that shape.
      reduction_axes: the axes over which they were taken.
      feature_axes: the axes along which the parameters vary.
      bias_init: initializer of the bias; None for no bias.

    Returns:
      Array of the shape of `x`, of the layer's dtype, or else the one that `x` and the
      parameters promote to.

    >>> import jax
    >>> import batiste.linen as nn
    >>> class Center(nn.LayerNorm):
    ...     @nn.compact
    ...     def __call__(self, x):
    ...         return normalize(self, x, x.mean(0), jnp.ones(()), (0,), (0,))
    >>> y, _ = Center().init_with_output(jax.random.key(0), jnp.array([1.0, 3.0]))
    >>> y.round(3).tolist()
    [-1.0, 1.0]
    """
    features = tuple(x.shape[axis] for axis in feature_axes)
    # The shape in which a parameter lies along x.
    along = tuple(n if i in feature_axes else 1 for i, n in enumerate(x.shape))
    params: list[Array] = []
    factor = ops.rsqrt(ops.add_const(var, layer.epsilon, reduction_axes))
    if layer.use_scale:
        scale = layer.param("scale", layer.scale_init, features, layer.param_dtype)
        params.append(scale)
        factor = ops.mul(factor, scale, along)
    y = x if mean is None else ops.sub(x, mean, reduction_axes)
    y = ops.mul(y, factor)
    if bias_init is not None:
        bias = layer.param("bias", bias_init, features, layer.param_dtype)
        params.append(bias)
        y = ops.add(y, bias, along)
    return _as_result(y, x, params, layer.dtype)


@functools.cache
def _at_least_float32(dtype: Dtype) -> np.dtype:
    return np.dtype(jnp.promote_types(dtype, jnp.float32))


def _widened(layer: NormLayer, x: Array) -> Array:
    """`x` in the dtype in which moments are computed."""
    dtype = x.dtype if layer.dtype is None else layer.dtype
    if layer.force_float32_reductions or not jnp.issubdtype(dtype, jnp.inexact):
        dtype = _at_least_float32(dtype)
    return x if x.dtype == dtype else jnp.asarray(x, dtype)


def _average(x: Array, axes: tuple[int, ...], mask: Array | None) -> Array:
    return ops.mean(x, axes) if mask is None else ops.masked_mean(x, mask, axes)


def _abs_square(x: Array) -> Array:
    """|x|², which is real."""
    if jnp.issubdtype(x.dtype, jnp.complexfloating):
        return ops.add(*ops.square_parts(x))
    return ops.square(x)


def _counts_any(mask: Array, shape: tuple[int, ...], axes: tuple[int, ...]) -> Array:
    along = tuple(1 if i in axes else n for i, n in enumerate(shape))
    found = ops.any_along(mask, axes)
    target = tuple(n for i, n in enumerate(along) if i not in axes)
    return found if found.shape == target else jnp.broadcast_to(found, target)


def _across_devices(
    layer: NormLayer,
    values: T,
    axes: tuple[int, ...],
    axis_name: str | None,
    mask: Array | None,
) -> T:
    """The mean of arrays over a mapped axis, or the arrays if there is none.

    Devices on which the mask hides everything do not count.
    """
    if axis_name is None:
        return values
    groups = layer.axis_index_groups
    leaves, treedef = jax.tree.flatten(values)
    if mask is None:
        leaves = _at_once(leaves, axis_name, groups, lax.pmean)
        return jax.tree.unflatten(treedef, leaves)
    # As the moments, with axes of size 1 where the mask has them.
    found = ops.any_along(mask, axes)
    share = jnp.broadcast_to(found, leaves[0].shape).astype(leaves[0].real.dtype)
    *totals, count = _at_once([*leaves, share], axis_name, groups, lax.psum)
    count = jnp.maximum(count, 1)
    return jax.tree.unflatten(treedef, [total / count for total in totals])


def _at_once(
    arrays: Sequence[Array],
    axis_name: str,
    groups: Sequence[Sequence[int]] | None,
    reduce: Function,
) -> list[Array]:
    """`reduce` of arrays of one shape, for which devices exchange numbers once.

    Complex arrays travel as two real ones.
    """
    parts = []
    for x in arrays:
        is_complex = jnp.issubdtype(x.dtype, jnp.complexfloating)
        parts.append([x.real, x.imag] if is_complex else [x])
    flat = [part for pair in parts for part in pair]
    if len(flat) == 1:
        return [reduce(flat[0], axis_name, axis_index_groups=groups)]
    stacked = reduce(jnp.stack(flat), axis_name, axis_index_groups=groups)
    found = iter(stacked)
    return [
        next(found) if len(pair) == 1 else lax.complex(next(found), next(found))
        for pair in parts
    ]


def _as_result(y: Array, x: Array, params: list[Array], dtype: Dtype | None) -> Array:
    """`y` in the dtype that the input and the parameters promote to, or in `dtype`."""
    # Mostly everything is of one dtype, and the result with it.
    if dtype is None and all(p.dtype == x.dtype for p in params) and y.dtype == x.dtype:
        return y
    dtype = canonicalize_dtype(x, *params, dtype=dtype)
    return y if y.dtype == dtype else jnp.asarray(y, dtype)
