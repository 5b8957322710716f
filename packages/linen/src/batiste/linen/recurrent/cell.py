"""What recurrent cells share: carries, made in either of two ways."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from .. import initializers
from ..module.module import Module

__all__ = ["RNNCellBase"]

_NO_SIZE = (
    "{cell}.initialize_carry(rng, shape) needs to know the number of features of the "
    "carry; construct the cell with it, as in {cell}(features=8).initialize_carry(rng, "
    "input_shape), or pass the size, as in {cell}.initialize_carry(rng, batch_dims, 8)"
)
_SHORT_SHAPE = (
    "{cell}.initialize_carry(rng, input_shape) was given the shape {shape}, but one "
    "step of the input has {axes} or more axes, of which the last {axes} are not batch "
    "axes"
)


class InitializeCarry:
    """`initialize_carry`, on a cell class or on a cell.

    A plain method could be called only on cells, and a static method could not see
    the features of the cell that it is called on. The two calls are

    - `Cell.initialize_carry(rng, batch_dims, size, init_fn=zeros)`, on a class or on a
      cell, for a carry of shape (*batch_dims, size) or (*batch_dims, *size), and
    - `cell.initialize_carry(rng, input_shape)`, on a cell with `features`, for a carry
      that fits inputs of this shape.
    """

    # It runs no user code when read, so Module need not wrap it.
    nowrap = True

    def __get__(self, cell: Any, cls: Any) -> Callable[..., Any]:
        return functools.partial(_initialize_carry, cls, cell)


def _initialize_carry(
    cls: Any,
    cell: Any,
    rng: Any,
    shape: Sequence[int],
    size: int | Sequence[int] | None = None,
    init_fn: Callable[..., Any] | None = None,
) -> Any:
    shape = tuple(shape)
    if size is None:
        if cell is None or cell.features is None:
            raise ValueError(_NO_SIZE.format(cell=cls.__name__))
        axes = cell.num_feature_axes
        if len(shape) < axes:
            raise ValueError(
                _SHORT_SHAPE.format(cell=cls.__name__, shape=shape, axes=axes)
            )
        shape = (*shape[:-1], cell.features)
    else:
        shape += (size,) if isinstance(size, int) else tuple(size)

    init: Callable[..., Any]
    if init_fn is not None:
        init = init_fn
    else:
        init = initializers.zeros if cell is None else cell.carry_init
        if init is initializers.zeros:
            rng = None  # not used, and so not worth an equation
        if cell is not None:
            init = functools.partial(init, dtype=cell.param_dtype)
    return cls._make_carry(init, rng, shape)


class RNNCellBase(Module):
    """Base class of cells, which do one step of a recurrent network.

    A cell is a module that is called as `new_carry, output = cell(carry, inputs)`. A
    subclass implements `__call__` and `initialize_carry`, in one of two styles: as a
    static method `(rng, batch_dims, size, ...)`, which `RNN` uses when it has a
    `cell_size`, or as a method `(self, rng, input_shape)`, together with
    `num_feature_axes`. The cells of this package offer both.

    >>> import jax
    >>> class Counter(RNNCellBase):
    ...     def __call__(self, carry, inputs):
    ...         return carry + 1, inputs * carry
    ...     def initialize_carry(self, rng, input_shape):
    ...         return jnp.zeros(input_shape)
    >>> cell = Counter()
    >>> carry = cell.initialize_carry(jax.random.key(0), (3,))
    >>> cell.apply({}, carry, jnp.ones(3))[0].tolist()
    [1.0, 1.0, 1.0]
    """

    def initialize_carry(self, rng: Any, input_shape: Sequence[int]) -> Any:
        """Makes the carry of the first step; to be implemented by each cell.

        Args:
          rng: PRNG key.
          input_shape: the shape of one step of the input, (*batch, *features).

        Returns:
          What `__call__` takes as `carry`.

        Raises:
          NotImplementedError: the cell class has not implemented it.
        """
        raise NotImplementedError(
            f"{type(self).__name__} has no carry to start with; implement "
            "initialize_carry(self, rng, input_shape) in this class."
        )

    @property
    def num_feature_axes(self) -> int:
        """How many of the last axes of an input are not batch axes."""
        return 1

    @staticmethod
    def _make_carry(init: Callable[..., Any], rng: Any, shape: tuple[int, ...]) -> Any:
        """One array; cells with a carry of more arrays override this."""
        return init(rng, shape)


def pair_of_arrays(
    init: Callable[..., Any], rng: Any, shape: tuple[int, ...]
) -> tuple[Any, Any]:
    """The carry `(c, h)` of the LSTMs."""
    c_rng, h_rng = (None, None) if rng is None else jax.random.split(rng)
    return init(c_rng, shape), init(h_rng, shape)


def check_carry(cell: Any, carry: Any, where: str) -> None:
    """Raises ValueError if a carry of arrays has not the cell's features."""
    features = cell.features
    for array in jax.tree.leaves(carry):
        shape = jnp.shape(array)
        if not shape or (features is not None and shape[-1] != features):
            raise ValueError(
                f"{where}: the carry has an array of shape {shape}, but its last axis "
                f"should have {features or 'the hidden'} features; make the carry with "
                "initialize_carry."
            )
