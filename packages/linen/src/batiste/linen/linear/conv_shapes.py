"""What the fields of a convolution mean for the shapes around it."""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from numbers import Integral
from typing import NamedTuple

import numpy as np
from jax import lax

from batiste.core.errors import InvalidArgumentError

from .. import ops
from ..module.module import Module
from ..module.text import located
from ..types import Array, ArrayLike, Padding, PaddingLike

__all__ = [
    "Window",
    "canonicalize_padding",
    "check_mask",
    "named_padding",
    "named_sides",
    "one_batch_axis",
    "output_positions",
    "per_dimension",
    "restore_batch",
    "spatial_sizes",
]


class Window(NamedTuple):
    """How a kernel lies on the spatial axes: a number for each of them.

    Attributes:
      kernel_size: how many elements the kernel has.
      strides: the steps between its positions.
      input_dilation: the spacing of the input's elements.
      kernel_dilation: the spacing of the kernel's elements.

    >>> Window((3, 5), (1, 2), (1, 1), (2, 1)).extents
    (5, 5)
    """

    kernel_size: tuple[int, ...]
    strides: tuple[int, ...]
    input_dilation: tuple[int, ...]
    kernel_dilation: tuple[int, ...]

    @property
    def extents(self) -> tuple[int, ...]:
        """How far the kernel reaches, the gaps between its elements included."""
        return tuple(
            (size - 1) * spacing + 1
            for size, spacing in zip(
                self.kernel_size, self.kernel_dilation, strict=True
            )
        )


def canonicalize_padding(
    padding: PaddingLike, rank: int
) -> str | list[tuple[int, int]]:
    """Spells padding out as one (low, high) pair for each spatial dimension.

    Args:
      padding: a name, which is returned in capitals; one int, for both sides of every
        dimension; or for each dimension an int or a pair.
      rank: the number of spatial dimensions.

    Returns:
      A name, or a list of `rank` pairs of ints.

    Raises:
      ValueError: `padding` is none of these, or of another length.

    >>> canonicalize_padding(1, rank=2)
    [(1, 1), (1, 1)]
    >>> canonicalize_padding((2, (0, 1)), rank=2)
    [(2, 2), (0, 1)]
    >>> canonicalize_padding("valid", rank=2)
    'VALID'
    """
    if isinstance(padding, str):
        # lax takes names in small letters too.
        return padding.upper()
    if isinstance(padding, Integral):
        return [(int(padding), int(padding))] * rank
    entries = padding if isinstance(padding, Sequence) else ()
    pairs = [pair for entry in entries if (pair := _both_sides(entry)) is not None]
    if not isinstance(padding, Sequence) or not len(pairs) == len(padding) == rank:
        raise InvalidArgumentError(
            f"padding {padding!r} does not say how much to add to {rank} spatial "
            "dimensions; give a name such as 'SAME', an int for all of them, or a "
            "sequence with an int or a (low, high) pair for each"
        )
    return pairs


def _both_sides(entry: object) -> tuple[int, int] | None:
    """Returns `(low, high)` of an int or a pair of ints; None of anything else."""
    if isinstance(entry, Integral):
        return int(entry), int(entry)
    if isinstance(entry, Sequence) and len(entry) == 2:
        low, high = entry
        if isinstance(low, Integral) and isinstance(high, Integral):
            return int(low), int(high)
    return None


def named_padding(
    layer: Module, padding: PaddingLike, rank: int, names: tuple[str, ...]
) -> str | tuple[tuple[int, int], ...]:
    """Returns the padding of a layer, as one of `names` or as `rank` pairs.

    Raises:
      ValueError: it has another name, or does not fit the number of dimensions.
    """
    sides = canonicalize_padding(padding, rank)
    if not isinstance(sides, str):
        return tuple(sides)
    if sides not in names:
        raise InvalidArgumentError(
            f"{located(layer)}: unknown padding {sides!r}; use one of "
            f"{', '.join(names)}, an int, or a sequence of ints or (low, high) pairs, "
            "one for each spatial dimension"
        )
    return sides


def spatial_sizes(value: int | Sequence[int]) -> tuple[int, ...]:
    """Returns the kernel's size in each dimension; an int is one dimension's.

    >>> spatial_sizes(3), spatial_sizes([3, 5])
    ((3,), (3, 5))
    """
    if isinstance(value, (int, np.integer)):
        return (int(value),)
    return tuple(map(operator.index, value))


def per_dimension(
    layer: Module,
    field: str,
    value: int | Sequence[int] | None,
    kernel_size: tuple[int, ...],
) -> tuple[int, ...]:
    """Returns a field's number for each spatial dimension: 1 if it is None.

    Raises:
      ValueError: the field holds more or fewer numbers.
    """
    rank = len(kernel_size)
    if value is None:
        return (1,) * rank
    if isinstance(value, (int, np.integer)):
        return (int(value),) * rank
    numbers = tuple(map(operator.index, value))
    if len(numbers) != rank:
        raise InvalidArgumentError(
            f"{located(layer)}: {field}={numbers} must be an int or have one entry for "
            f"each of the {rank} dimensions of kernel_size {kernel_size}"
        )
    return numbers


def one_batch_axis(
    layer: Module, x: Array, kernel_size: tuple[int, ...]
) -> tuple[Array, tuple[int, ...]]:
    """Makes one axis of any number of batch axes.

    Args:
      layer: the layer, for the message.
      x: an array of shape (*batch, *spatial, features).
      kernel_size: a number for each spatial dimension.

    Returns:
      An array of shape (prod(batch), *spatial, features), and the shape `batch`.

    Raises:
      ValueError: `x` has fewer axes than the spatial ones and the features.
    """
    rank = len(kernel_size)
    n_batch = len(x.shape) - rank - 1
    if n_batch < 0:
        raise InvalidArgumentError(
            f"{located(layer)}: kernel_size {kernel_size} needs an input of shape "
            f"(*batch, *{rank}_spatial_dims, features), at least {rank + 1} axes, got "
            f"shape {x.shape}"
        )
    batch_shape = x.shape[:n_batch]
    if n_batch != 1:
        x = ops.reshape(x, (math.prod(batch_shape), *x.shape[n_batch:]))
    return x, batch_shape


def restore_batch(y: Array, batch_shape: tuple[int, ...]) -> Array:
    """Undoes `one_batch_axis`: returns `y` with its first axis as `batch_shape`."""
    if len(batch_shape) == 1:
        return y
    return ops.reshape(y, (*batch_shape, *y.shape[1:]))


def check_mask(
    layer: Module, mask: ArrayLike | None, kernel_shape: tuple[int, ...]
) -> None:
    """Raises ValueError if there is a mask, and not of the kernel's shape."""
    if mask is not None and np.shape(mask) != kernel_shape:
        raise InvalidArgumentError(
            f"{located(layer)}: the mask of shape {np.shape(mask)} cannot be laid over "
            f"the kernel of shape {kernel_shape}; give it that shape"
        )


def _spread_sizes(spatial: tuple[int, ...], window: Window) -> tuple[int, ...]:
    """The sizes of the spatial axes with the gaps between the input's elements."""
    return tuple(
        (size - 1) * spacing + 1 if size else 0
        for size, spacing in zip(spatial, window.input_dilation, strict=True)
    )


def named_sides(
    spatial: tuple[int, ...], window: Window, padding: str
) -> tuple[tuple[int, int], ...]:
    """Returns what a name adds before and after each spatial axis.

    >>> named_sides((4,), Window((3,), (1,), (2,), (1,)), "SAME")
    ((1, 1),)
    """
    sizes = _spread_sizes(spatial, window)
    sides = lax.padtype_to_pads(sizes, window.extents, window.strides, padding)
    return tuple([(int(low), int(high)) for low, high in sides])


def output_positions(
    spatial: tuple[int, ...], window: Window, padding: Padding
) -> tuple[int, ...]:
    """Returns how many positions the kernel takes along each spatial axis.

    >>> window = Window((3,), (2,), (1,), (1,))
    >>> output_positions((7,), window, "VALID"), output_positions((7,), window, "SAME")
    ((3,), (4,))
    """
    if isinstance(padding, str):
        padding = named_sides(spatial, window, padding)
    return tuple(
        max(0, int(size + low + high - extent) // stride + 1)
        for size, (low, high), extent, stride in zip(
            _spread_sizes(spatial, window),
            padding,
            window.extents,
            window.strides,
            strict=True,
        )
    )
