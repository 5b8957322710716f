"""What the fields of a convolution mean for the shapes around it."""

from __future__ import annotations

import math
import numbers
from collections.abc import Sequence
from typing import Any

import numpy as np
from jax import lax

from .. import ops
from ..module.located import located
from ..module.module import Module
from ..types import Array, PaddingLike

__all__ = [
    "canonicalize_padding",
    "check_mask",
    "check_padding_name",
    "one_batch_axis",
    "output_positions",
    "per_dimension",
    "restore_batch",
    "spatial_sizes",
]

_PADDING = (
    "Invalid padding format: {padding!r}, should be str, int, or a sequence of len "
    "{rank} where each element is an int or pair of ints."
)
_PADDING_NAME = (
    "{module}: unknown padding {padding!r}; use one of {known}, an int, or a sequence "
    "of ints or (low, high) pairs, one for each spatial dimension"
)
_RANK = (
    "{module}: kernel_size {kernel_size} needs an input of shape (*batch, "
    "*{n}_spatial_dims, features), at least {least} axes, got shape {shape}"
)
_LENGTH = (
    "{module}: {field}={value} must be an int or have one entry for each of the {rank} "
    "dimensions of kernel_size {kernel_size}"
)
_MASK = (
    "{module}: Mask needs to have the same shape as weights. "
    "Shapes are: {mask}, {kernel}"
)


def canonicalize_padding(
    padding: PaddingLike, rank: int
) -> str | list[tuple[int, int]]:
    """Spells padding out as one (low, high) pair for each spatial dimension.

    Args:
      padding: a name, which is returned in capitals; one int, for both sides of every
        dimension; or for each dimension an int or a pair.
      rank: the number of spatial dimensions.

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
    if isinstance(padding, numbers.Integral):
        return [(int(padding), int(padding))] * rank
    pairs = []
    if isinstance(padding, Sequence) and len(padding) == rank:
        for entry in padding:
            if isinstance(entry, numbers.Integral):
                pairs.append((int(entry), int(entry)))
            elif (
                isinstance(entry, Sequence)
                and len(entry) == 2
                and all(isinstance(side, numbers.Integral) for side in entry)
            ):
                pairs.append((int(entry[0]), int(entry[1])))
        if len(pairs) == rank:
            return pairs
    raise ValueError(_PADDING.format(padding=padding, rank=rank))


def spatial_sizes(value: int | Sequence[int]) -> tuple[int, ...]:
    if isinstance(value, int):
        return (value,)
    return tuple(int(k) for k in value)


def per_dimension(
    module: Module,
    field: str,
    value: int | Sequence[int] | None,
    kernel_size: tuple[int, ...],
) -> tuple[int, ...]:
    rank = len(kernel_size)
    if value is None:
        return (1,) * rank
    if isinstance(value, int):
        return (value,) * rank
    value = tuple(int(v) for v in value)
    if len(value) != rank:
        raise ValueError(
            _LENGTH.format(
                module=located(module),
                field=field,
                value=value,
                rank=rank,
                kernel_size=kernel_size,
            )
        )
    return value


def one_batch_axis(module: Module, inputs: Array, kernel_size: tuple[int, ...]):
    """`inputs` with all its batch axes made one, and the shape of those axes."""
    shape = inputs.shape
    n_batch = len(shape) - len(kernel_size) - 1
    if n_batch < 0:
        raise ValueError(
            _RANK.format(
                module=located(module),
                kernel_size=kernel_size,
                n=len(kernel_size),
                least=len(kernel_size) + 1,
                shape=shape,
            )
        )
    batch_shape = shape[:n_batch]
    if n_batch != 1:
        inputs = ops.reshape(inputs, (math.prod(batch_shape), *shape[n_batch:]))
    return inputs, batch_shape


def restore_batch(y: Array, batch_shape: tuple[int, ...]) -> Array:
    if len(batch_shape) == 1:
        return y
    return ops.reshape(y, (*batch_shape, *y.shape[1:]))


def check_mask(module: Module, mask: Any, kernel_shape: tuple[int, ...]) -> None:
    if mask is not None and np.shape(mask) != kernel_shape:
        raise ValueError(
            _MASK.format(
                module=located(module), mask=np.shape(mask), kernel=kernel_shape
            )
        )


def check_padding_name(module: Module, padding: Any, known: tuple[str, ...]) -> None:
    if isinstance(padding, str) and padding not in known:
        raise ValueError(
            _PADDING_NAME.format(
                module=located(module), padding=padding, known=", ".join(known)
            )
        )


def output_positions(
    spatial: tuple[int, ...],
    kernel_size: tuple[int, ...],
    strides: tuple[int, ...],
    padding: Any,
    input_dilation: tuple[int, ...],
    kernel_dilation: tuple[int, ...],
) -> tuple[int, ...]:
    """The spatial shape of the output of a convolution."""
    extents = [
        (n - 1) * d + 1 if n else 0
        for n, d in zip(spatial, input_dilation, strict=True)
    ]
    windows = [
        (k - 1) * d + 1 for k, d in zip(kernel_size, kernel_dilation, strict=True)
    ]
    if isinstance(padding, str):
        padding = lax.padtype_to_pads(extents, windows, strides, padding)
    return tuple(
        max(0, int(extent + sum(sides) - window) // stride + 1)
        for extent, sides, window, stride in zip(
            extents, padding, windows, strides, strict=True
        )
    )
