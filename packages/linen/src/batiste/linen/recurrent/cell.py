"""What recurrent cells share: carries, made in either of two ways."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, Final, TypeAlias

import jax
import jax.numpy as jnp

from batiste.core.arguments import check_elements
from batiste.core.errors import InvalidArgumentError
from batiste.core.types import Array, Function, Initializer, Key, Shape, Tree

from .. import initializers
from ..module.explain import explained_failure
from ..module.module import Module
from ..module.positions import Orders
from ..module.text import located

__all__ = [
    "CELL_ORDERS",
    "Carry",
    "InitializeCarry",
    "RNNCellBase",
    "check_carry",
    "one_array",
    "pair_of_arrays",
]

Carry: TypeAlias = Tree
"""What a cell hands from one step to the next."""

CELL_ORDERS: Final = Orders(
    other=(
        *("gate_fn", "activation_fn", "kernel_init", "recurrent_kernel_init"),
        *("bias_init", "dtype", "param_dtype"),
    ),
    absent=("features", "carry_init", "reset_gate", "residual"),
    is_other=lambda values: callable(values[0]),
    starts_other=callable,
)
"""Cells of the documentation have no `features`, and begin with a function."""


def one_array(init: Initializer, rng: Key | None, shape: tuple[int, ...]) -> Array:
    """Makes the carry `h` of most cells.

    >>> one_array(lambda rng, shape: jnp.zeros(shape), None, (2, 4)).shape
    (2, 4)
    """
    return init(rng, shape)


def pair_of_arrays(
    init: Initializer, rng: Key | None, shape: tuple[int, ...]
) -> tuple[Array, Array]:
    """Makes the carry `(c, h)` of the LSTMs, each array with a key of its own.

    >>> c, h = pair_of_arrays(lambda rng, shape: jnp.zeros(shape), None, (2, 4))
    >>> c.shape, h.shape
    ((2, 4), (2, 4))
    """
    c_rng, h_rng = (None, None) if rng is None else jax.random.split(rng)
    return init(c_rng, shape), init(h_rng, shape)


class InitializeCarry:
    """`initialize_carry`, on a cell class or on a cell.

    A plain method could be called only on cells, and a static method could not see
    the features of the cell that it is called on. The two calls are

    - `Cell.initialize_carry(rng, batch_dims, size, init_fn=zeros)`, on a class or on a
      cell, for a carry of shape (*batch_dims, size) or (*batch_dims, *size), and
    - `cell.initialize_carry(rng, input_shape)`, on a cell with `features`, for a carry
      that fits inputs of this shape.

    Args:
      make: makes the carry, given an initializer `init(rng, shape)`, a key (or None
        for an initializer that needs none) and a shape.

    >>> class Cell(RNNCellBase):
    ...     features: int | None = None
    ...     initialize_carry: Any = InitializeCarry()
    >>> Cell.initialize_carry(jax.random.key(0), (2,), 4).shape
    (2, 4)
    """

    # It runs no user code when read, so Module need not wrap it.
    nowrap = True

    def __init__(self, make: Callable[..., Carry] = one_array) -> None:
        self.make = make

    def __get__(self, cell: Any, cls: type) -> Function:
        return functools.partial(_initialize_carry, self.make, cls, cell)


def _initialize_carry(
    make: Callable[..., Carry],
    cls: type,
    cell: Any,
    rng: Key | None,
    input_shape: Shape | None = None,
    size: int | Sequence[int] | None = None,
    init_fn: Initializer | None = None,
    *,
    batch_dims: Shape | None = None,
) -> Carry:
    name = cls.__name__
    given = input_shape if batch_dims is None else batch_dims
    if given is None or (input_shape is not None and batch_dims is not None):
        raise TypeError(
            f"{name}.initialize_carry takes one shape: input_shape, or batch_dims "
            "together with a size"
        )
    try:
        shape = tuple(given)
        if size is not None:
            shape += (size,) if isinstance(size, int) else tuple(size)
        elif cell is None or cell.features is None:
            raise InvalidArgumentError(
                f"{name}.initialize_carry(rng, shape) needs to know the number of "
                "features of the carry; construct the cell with it, as in "
                f"{name}(features=8).initialize_carry(rng, input_shape), or pass the "
                "size, as in "
                f"{name}.initialize_carry(rng, batch_dims, 8)"
            )
        elif len(shape) < cell.num_feature_axes:
            raise InvalidArgumentError(
                f"{name}.initialize_carry(rng, input_shape) was given the shape "
                f"{shape}, but one step of the input has {cell.num_feature_axes} or "
                f"more axes, of which the last {cell.num_feature_axes} are not batch "
                "axes"
            )
        else:
            shape = (*shape[:-1], cell.features)

        if shape and shape[-1] > 2**31:
            check_elements(shape)
        if init_fn is not None:
            return make(init_fn, rng, shape)
        init = initializers.zeros if cell is None else cell.carry_init
        if init is initializers.zeros:
            rng = None  # not used, and so not worth an equation
        if cell is not None:
            init = functools.partial(init, dtype=cell.param_dtype)
        return make(init, rng, shape)
    except Exception as error:
        found = None
        if cell is not None:
            found = explained_failure(cell, _initialize_carry, (), {}, error)
        if found is None:
            raise
        raise found from error


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

    def initialize_carry(self, rng: Key, input_shape: Shape) -> Carry:
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


def check_carry(cell: Module, carry: Carry, features: int | None) -> None:
    """Checks that a carry of arrays has the features of its cell.

    Args:
      cell: the cell, for the error.
      carry: the carry that the cell was called with.
      features: how many the last axes are to have; any number if None.

    Raises:
      ValueError: an array of the carry has no axis, or another number of features.

    >>> from batiste.linen.recurrent.cells import GRUCell
    >>> check_carry(GRUCell(4), jnp.zeros((2, 4)), 4)
    """
    for array in jax.tree.leaves(carry):
        shape = jnp.shape(array)
        if not shape or (features is not None and shape[-1] != features):
            raise InvalidArgumentError(
                f"{located(cell)}: the carry has an array of shape {shape}, but its "
                f"last axis should have {features or 'the hidden'} features; make the "
                "carry with initialize_carry."
            )
