"""The arithmetic of the layers: `lax` operations that are cheap traced and eagerly.

Where a jaxpr is written, as under `jit`, the cheapest call is the `lax` function
itself: it adds its equations and nothing else. On concrete arrays it is the slowest,
since each such call goes through Python dispatch; a function compiled by `jax.jit`
is called from C++ instead, several times faster. Under `grad` and `vmap` that function
is cheaper, too: JAX remembers its derivative and its batched form, and need not derive
them at each call. Each operation here is therefore wrapped by `eager_jit`, once.

They have the names of `lax`, or of `jax.numpy` for the few that `lax` does not have,
and take their arguments by position. Each rounds once, as an operation that a person
would dispatch; wider ones would be faster still, but XLA may then round once where two
steps round twice (a product and its sum, or any two steps in half precision), and the
eager result would not be the same bits. What does not round, such as laying an operand
out along the other, is part of the step.
"""

from __future__ import annotations

import functools
import math
import sys
from collections.abc import Callable, Sequence
from typing import Any, ParamSpec, TypeVar, overload

import jax
import numpy as np
from jax import lax
from jax import numpy as jnp
from jax.core import Tracer

from batiste.core.tracers import jit_is_inlined, staged_type
from batiste.core.types import Array, ArrayLike, Dtype

from . import array_type
from .types import PrecisionLike

__all__ = [
    "accumulator_of",
    "add",
    "add_const",
    "any_along",
    "as_array",
    "as_tuple",
    "clipped_sub",
    "conv_general_dilated",
    "conv_transpose",
    "convert_element_type",
    "div",
    "div_const",
    "dot_general",
    "eager_jit",
    "expand_dims",
    "masked_mean",
    "mean",
    "mul",
    "mul_const",
    "multiply",
    "reduce_window",
    "repeat",
    "reshape",
    "rsqrt",
    "select",
    "select_nonnegative",
    "square",
    "square_parts",
    "squeeze",
    "sub",
    "take",
    "transpose",
    "where",
]

P = ParamSpec("P")
R = TypeVar("R")


# How they are called.


@overload
def eager_jit(
    function: Callable[P, R], /, *, static_argnums: tuple[int, ...] = ()
) -> Callable[P, R]: ...
@overload
def eager_jit(
    *, static_argnums: tuple[int, ...]
) -> Callable[[Callable[P, R]], Callable[P, R]]: ...
def eager_jit(
    function: Callable[..., Any] | None = None,
    /,
    *,
    static_argnums: tuple[int, ...] = (),
) -> Callable[..., Any]:
    """Calls `function` as it is where a jaxpr is written, and compiled elsewhere.

    Args:
      function: a function of arrays, called with positional arguments only.
      static_argnums: the positions of arguments that are hashable Python values.

    Returns:
      A function with the same results, and the same jaxpr when traced. Without
      `function`, a decorator.

    >>> import jax.numpy as jnp
    >>> from jax import lax
    >>> @eager_jit(static_argnums=(1,))
    ... def power(x, n):
    ...     return lax.integer_pow(x, n)
    >>> power(jnp.arange(3.0), 2).tolist()
    [0.0, 1.0, 4.0]
    """
    if function is None:
        return functools.partial(eager_jit, static_argnums=static_argnums)
    # Made when first called: most programs need few of them, and all import all.
    compiled: Any = None

    @functools.wraps(function)
    def call(*args: Any) -> Any:
        nonlocal compiled
        if compiled is None:
            # With `inline` the equations land in a surrounding jaxpr without a nested
            # call, if JAX still does so.
            compiled = jax.jit(function, static_argnums=static_argnums, inline=True)
        called = compiled
        for arg in args:
            if isinstance(arg, Tracer):
                if type(arg) is not staged_type() and jit_is_inlined():
                    return compiled(*args)
                called = function
        return called(*args)

    return call


def as_array(x: ArrayLike) -> Array:
    """Returns `x` as an array of JAX; itself if it is one.

    >>> as_array([1, 2]).shape
    (2,)
    """
    return x if isinstance(x, jax.Array) else jnp.asarray(x)


def as_tuple(value: int | Sequence[int]) -> tuple[int, ...]:
    """Returns a sequence of ints as a tuple, and one int as a tuple of one.

    >>> as_tuple(-1), as_tuple([0, 1])
    ((-1,), (0, 1))
    """
    return tuple(value) if isinstance(value, Sequence) else (value,)


def _alike(x: Array, y: Array) -> tuple[Array, Array]:
    """Returns both in the one dtype that they promote to."""
    if x.dtype == y.dtype:
        return x, y
    dtype = jnp.result_type(x, y)
    return lax.convert_element_type(x, dtype), lax.convert_element_type(y, dtype)


def _along(x: Array, y: Array, shape: tuple[int, ...] | None) -> Array:
    """Returns `y` reshaped to `shape`, or so that its axes are the last ones of `x`."""
    if shape is None:
        shape = (1,) * (x.ndim - y.ndim) + y.shape
    return y if y.shape == shape else lax.reshape(y, shape)


# Under a mesh with explicit axes JAX refuses to lay out what could lie in several ways.
# The layers have one way: the batch lies as that of the input.


def _auto(
    function: Callable[..., Array], args: Sequence[Array], *entries: Any
) -> Array:
    """Calls a function that has just failed, laid out; or raises what it raised."""
    error = sys.exception()
    result = array_type.laid_out_by_compiler(function, args, *entries)
    if result is None:
        assert error is not None
        raise error
    return result


# Elementwise. Two operands are brought to one dtype.


@eager_jit(static_argnums=(2,))
def add(x: Array, y: Array, shape: tuple[int, ...] | None = None, /) -> Array:
    """Returns `x + y`, with `y` in `shape`, by default along the last axes of `x`.

    >>> add(jnp.zeros((2, 3)), jnp.arange(3.0)).tolist()
    [[0.0, 1.0, 2.0], [0.0, 1.0, 2.0]]
    >>> add(jnp.zeros((2, 3)), jnp.arange(2.0), (2, 1)).tolist()
    [[0.0, 0.0, 0.0], [1.0, 1.0, 1.0]]
    """
    x, y = _alike(x, y)
    return lax.add(x, _along(x, y, shape))


@eager_jit(static_argnums=(2,))
def sub(x: Array, y: Array, axes: tuple[int, ...] = (), /) -> Array:
    """Returns `x - y`, with new `axes` of size 1 in `y`.

    >>> sub(jnp.ones((2, 3)), jnp.arange(2.0), (1,)).tolist()
    [[1.0, 1.0, 1.0], [0.0, 0.0, 0.0]]
    """
    return lax.sub(*_alike(x, lax.expand_dims(y, axes)))


@eager_jit(static_argnums=(2,))
def mul(x: Array, y: Array, shape: tuple[int, ...] | None = None, /) -> Array:
    """Returns `x * y`, with `y` in `shape`, by default along the last axes of `x`.

    >>> mul(jnp.ones((2, 3)), jnp.arange(2.0), (2, 1)).tolist()
    [[0.0, 0.0, 0.0], [1.0, 1.0, 1.0]]
    """
    return lax.mul(*_alike(x, _along(x, y, shape)))


@eager_jit
def multiply(x: ArrayLike, y: ArrayLike, /) -> Array:
    """Calls `jnp.multiply`: `x * y` of any two that broadcast to each other.

    >>> multiply(jnp.ones(3), np.ones((2, 1))).shape
    (2, 3)
    """
    return jnp.multiply(x, y)


@eager_jit
def div(x: Array, y: Array | np.ndarray, /) -> Array:
    """Returns `x / y`, which are of one dtype.

    >>> float(div(jnp.ones(()), jnp.full((), 4.0)))
    0.25
    """
    return lax.div(x, y)


def _const(value: float, dtype: Dtype) -> np.ndarray:
    """Returns a scalar of any floating type, with overflow to infinity."""
    if value is None or isinstance(value, str):
        raise TypeError(f"{value!r} is no number")  # NumPy would make one of it
    with np.errstate(over="ignore"):
        return np.asarray(value).astype(dtype)


@eager_jit(static_argnums=(1, 2))
def add_const(x: Array, value: float, axes: tuple[int, ...] = (), /) -> Array:
    """Returns `x + value`, in the dtype of `x`, with new `axes` of size 1.

    >>> add_const(jnp.zeros(2), 0.5, (0,)).tolist()
    [[0.5, 0.5]]
    """
    return lax.add(lax.expand_dims(x, axes), _const(value, x.dtype))


@eager_jit(static_argnums=(1,))
def mul_const(x: Array, value: float, /) -> Array:
    """Returns `x * value`, in the dtype of `x`.

    >>> float(mul_const(jnp.ones(()), 0.5))
    0.5
    """
    return lax.mul(x, _const(value, x.dtype))


@eager_jit(static_argnums=(1,))
def div_const(x: Array, value: float, /) -> Array:
    """Returns `x / value`, in the dtype of `x`.

    >>> float(div_const(jnp.ones(()), 2.0))
    0.5
    """
    return lax.div(x, _const(value, x.dtype))


@eager_jit
def clipped_sub(x: Array, y: Array, /) -> Array:
    """Returns `x - y` where that is positive, and 0 elsewhere.

    >>> clipped_sub(jnp.arange(3.0), jnp.ones(3)).tolist()
    [0.0, 0.0, 1.0]
    """
    return lax.max(lax.sub(x, y), np.zeros((), x.dtype))


@eager_jit
def rsqrt(x: Array, /) -> Array:
    """Returns `1 / sqrt(x)`.

    >>> float(rsqrt(jnp.full((), 4.0)))
    0.5
    """
    return lax.rsqrt(x)


@eager_jit
def square(x: Array, /) -> Array:
    """Returns `x * x`.

    >>> float(square(jnp.full((), 3.0)))
    9.0
    """
    return lax.square(x)


@eager_jit
def square_parts(x: Array, /) -> tuple[Array, Array]:
    """Returns the squares of the real and of the imaginary part.

    >>> [float(part) for part in square_parts(jnp.full((), 2 + 3j))]
    [4.0, 9.0]
    """
    return lax.square(lax.real(x)), lax.square(lax.imag(x))


@eager_jit(static_argnums=(1,))
def convert_element_type(x: Array, dtype: Dtype, /) -> Array:
    """Returns `x` in another dtype.

    >>> convert_element_type(jnp.ones(2, jnp.int8), jnp.dtype("float32")).dtype
    dtype('float32')
    """
    return lax.convert_element_type(x, dtype)


# A choice between two.


@eager_jit(static_argnums=(2,))
def where(mask: Array, x: Array, value: float, /) -> Array:
    """Returns `x` where `mask`, an array of booleans, is true, and `value` elsewhere.

    >>> where(jnp.array([[True], [False]]), jnp.ones(2), 0).tolist()
    [[1.0, 1.0], [0.0, 0.0]]
    """
    shape = x.shape
    if mask.shape != shape:
        shape = jnp.broadcast_shapes(shape, mask.shape)
        mask, x = jnp.broadcast_to(mask, shape), jnp.broadcast_to(x, shape)
    other = lax.full(shape, value, x.dtype)
    try:
        return lax.select(mask, x, other)
    except Exception:  # as a mask of random numbers lies nowhere in particular
        return _auto(
            lambda *args: lax.select(*args),
            (mask, x, other),
            *array_type.spec_entries(x),
        )


@eager_jit
def select(mask: Array, x: Array, y: Array, /) -> Array:
    """Returns `x` where `mask` is true, and `y` elsewhere; all of one shape.

    >>> select(jnp.array([True, False]), jnp.ones(2), jnp.zeros(2)).tolist()
    [1.0, 0.0]
    """
    return lax.select(mask, x, y)


@eager_jit
def select_nonnegative(x: Array, y: Array, /) -> Array:
    """Returns `x` where it is not negative, and `y`, alike in shape, elsewhere.

    >>> select_nonnegative(jnp.array([-1.0, 2.0]), jnp.zeros(2)).tolist()
    [0.0, 2.0]
    """
    return lax.select(lax.ge(x, np.zeros((), x.dtype)), x, y)


# Sums and means.


@functools.cache
def accumulator_of(dtype: np.dtype) -> np.dtype:
    """Returns the dtype in which numbers of `dtype` are summed for a mean.

    >>> accumulator_of(np.dtype("float16")), accumulator_of(np.dtype("int8"))
    (dtype('float32'), dtype('float32'))
    """
    if dtype.itemsize >= 4 and jnp.issubdtype(dtype, jnp.inexact):
        return dtype
    return np.dtype(jnp.promote_types(dtype, jnp.float32))


@eager_jit(static_argnums=(1,))
def mean(x: Array, axes: tuple[int, ...], /) -> Array:
    """Returns the mean over `axes`, summed in float32 or wider, in the dtype of `x`.

    >>> mean(jnp.array([[1.0, 3.0], [5.0, 5.0]]), (1,)).tolist()
    [2.0, 5.0]
    """
    accumulator = accumulator_of(x.dtype)
    total = x
    if accumulator != x.dtype:
        total = lax.convert_element_type(x, accumulator)
    total = lax.reduce_sum(total, axes)
    count = math.prod(x.shape[axis] for axis in axes)
    # Of an open size, as `jax.export` has them, only JAX makes a number.
    known = isinstance(count, int)
    mean = lax.div(total, (np if known else jnp).asarray(count, accumulator))
    return mean if accumulator == x.dtype else lax.convert_element_type(mean, x.dtype)


@eager_jit(static_argnums=(2,))
def masked_mean(x: Array, mask: Array, axes: tuple[int, ...], /) -> Array:
    """Returns the mean over `axes` of the elements where `mask`, of booleans, is true.

    It is 0 where none is.

    >>> x = jnp.array([[1.0, 3.0], [5.0, 7.0]])
    >>> masked_mean(x, jnp.array([[True, True], [False, True]]), (1,)).tolist()
    [2.0, 7.0]
    """
    accumulator = accumulator_of(x.dtype)
    if mask.shape != x.shape:
        mask = lax.broadcast_in_dim(mask, x.shape, tuple(range(x.ndim)))
    count = lax.reduce_sum(lax.convert_element_type(mask, accumulator), axes)
    total = x
    if accumulator != x.dtype:
        total = lax.convert_element_type(x, accumulator)
    total = lax.select(mask, total, lax.full_like(total, 0))
    count = lax.max(count, lax.full_like(count, 1))
    mean = lax.div(lax.reduce_sum(total, axes), count)
    return mean if accumulator == x.dtype else lax.convert_element_type(mean, x.dtype)


@eager_jit(static_argnums=(1,))
def any_along(mask: Array, axes: tuple[int, ...], /) -> Array:
    """Returns whether any element over `axes` is true.

    >>> any_along(jnp.array([[True, False], [False, False]]), (1,)).tolist()
    [True, False]
    """
    return lax.reduce_or(mask, axes)


@eager_jit(static_argnums=(1, 2, 3, 4, 5))
def reduce_window(
    x: Array,
    init: ArrayLike,
    computation: Callable[[Array, Array], Array],
    window: tuple[int, ...],
    strides: tuple[int, ...],
    padding: str | tuple[tuple[int, int], ...],
    /,
) -> Array:
    """Calls `lax.reduce_window` from a start value that Python knows.

    >>> x = jnp.arange(4.0)
    >>> reduce_window(x, 0.0, lax.add, (2,), (2,), "VALID").tolist()
    [1.0, 5.0]
    """

    def run(x: Array) -> Array:
        return lax.reduce_window(x, init, computation, window, strides, padding)

    try:
        return run(x)
    except Exception:
        entries = zip(array_type.spec_entries(x), window, strides, strict=True)
        kept = [entry if w == s == 1 else None for entry, w, s in entries]
        return _auto(run, (x,), *kept)


# Products and convolutions.


@eager_jit(static_argnums=(2, 3, 4, 5))
def dot_general(
    x: Array,
    y: Array,
    dimension_numbers: lax.DotDimensionNumbers,
    precision: PrecisionLike = None,
    preferred_element_type: Dtype | None = None,
    permutation: tuple[int, ...] | None = None,
    /,
) -> Array:
    """Calls `lax.dot_general`, with dimension numbers that are tuples throughout.

    With `permutation`, the axes of the product are put in that order.

    >>> x, y = jnp.ones((2, 3)), jnp.ones((3, 4))
    >>> dot_general(x, y, (((1,), (0,)), ((), ()))).shape
    (2, 4)
    """
    options = precision, preferred_element_type
    try:
        product = lax.dot_general(x, y, dimension_numbers, *options)
    except Exception:  # as where a batch lies along the mesh, and its kernels do not
        contracted, batch = dimension_numbers
        if not batch[0]:
            raise
        entries = [array_type.spec_entries(x)[axis] for axis in batch[0]]
        for operand, summed, shared in zip((x, y), contracted, batch, strict=True):
            for axis, entry in enumerate(array_type.spec_entries(operand)):
                if axis not in (*summed, *shared):
                    entries.append(entry)
        product = _auto(
            lambda x, y: lax.dot_general(x, y, dimension_numbers, *options),
            (x, y),
            *entries,
        )
    return product if permutation is None else lax.transpose(product, permutation)


@eager_jit(static_argnums=(2, 3, 4, 5, 6, 7, 8))
def conv_general_dilated(
    x: Array,
    kernel: Array,
    strides: tuple[int, ...],
    padding: str | tuple[tuple[int, int], ...],
    lhs_dilation: tuple[int, ...],
    rhs_dilation: tuple[int, ...],
    dimension_numbers: lax.ConvDimensionNumbers,
    feature_group_count: int = 1,
    precision: PrecisionLike = None,
    /,
) -> Array:
    """Calls `lax.conv_general_dilated`.

    >>> numbers = lax.ConvDimensionNumbers((0, 2, 1), (2, 1, 0), (0, 2, 1))
    >>> x, kernel = jnp.ones((1, 5, 2)), jnp.ones((3, 2, 4))
    >>> conv_general_dilated(x, kernel, (1,), "VALID", (1,), (1,), numbers).shape
    (1, 3, 4)
    """

    def run(x: Array, kernel: Array) -> Array:
        return lax.conv_general_dilated(
            x,
            kernel,
            strides,
            padding,
            lhs_dilation=lhs_dilation,
            rhs_dilation=rhs_dilation,
            dimension_numbers=dimension_numbers,
            feature_group_count=feature_group_count,
            precision=precision,
        )

    try:
        return run(x, kernel)
    except Exception:
        numbers = dimension_numbers
        entries: list[Any] = [None] * x.ndim
        entries[numbers.out_spec[0]] = array_type.spec_entries(x)[numbers.lhs_spec[0]]
        entries[numbers.out_spec[1]] = array_type.spec_entries(kernel)[
            numbers.rhs_spec[0]
        ]
        return _auto(run, (x, kernel), *entries)


@eager_jit(static_argnums=(2, 3, 4, 5, 6, 7))
def conv_transpose(
    x: Array,
    kernel: Array,
    strides: tuple[int, ...],
    padding: str | tuple[tuple[int, int], ...],
    rhs_dilation: tuple[int, ...],
    transpose_kernel: bool = False,
    precision: PrecisionLike = None,
    preferred_element_type: Dtype | None = None,
    /,
) -> Array:
    """Calls `lax.conv_transpose`, channels last.

    >>> x, kernel = jnp.ones((1, 5, 2)), jnp.ones((3, 2, 4))
    >>> conv_transpose(x, kernel, (2,), "SAME", (1,)).shape
    (1, 10, 4)
    """

    def run(x: Array, kernel: Array) -> Array:
        return lax.conv_transpose(
            x,
            kernel,
            strides,
            padding,
            rhs_dilation=rhs_dilation,
            transpose_kernel=transpose_kernel,
            precision=precision,
            preferred_element_type=preferred_element_type,
        )

    try:
        return run(x, kernel)
    except Exception:
        features = array_type.spec_entries(kernel)[-2 if transpose_kernel else -1]
        spatial = [None] * (x.ndim - 2)
        return _auto(
            run, (x, kernel), array_type.spec_entries(x)[0], *spatial, features
        )


# Layout: the same numbers in another order or shape.


@eager_jit(static_argnums=(1,))
def reshape(x: Array, shape: tuple[int, ...], /) -> Array:
    """Returns the elements of `x`, in their order, in another shape.

    >>> reshape(jnp.zeros((2, 6)), (3, 4)).shape
    (3, 4)
    """
    return lax.reshape(x, shape)


@eager_jit(static_argnums=(1,))
def expand_dims(x: Array, axes: tuple[int, ...], /) -> Array:
    """Returns `x` with new axes of size 1, at `axes` of the result.

    >>> expand_dims(jnp.zeros((2, 3)), (0, 2)).shape
    (1, 2, 1, 3)
    """
    return lax.expand_dims(x, axes)


@eager_jit(static_argnums=(1,))
def squeeze(x: Array, axes: tuple[int, ...], /) -> Array:
    """Returns `x` without `axes`, whose size is 1.

    >>> squeeze(jnp.zeros((1, 2)), (0,)).shape
    (2,)
    """
    return lax.squeeze(x, axes)


@eager_jit(static_argnums=(1,))
def repeat(x: Array, times: int, /) -> Array:
    """Returns each element of the last axis `times` times in a row.

    >>> repeat(jnp.arange(2), 3).tolist()
    [0, 0, 0, 1, 1, 1]
    """
    shape = (*x.shape, times)
    x = lax.broadcast_in_dim(x, shape, tuple(range(x.ndim)))
    return lax.reshape(x, (*shape[:-2], shape[-2] * times))


@eager_jit(static_argnums=(1,))
def transpose(x: Array, permutation: tuple[int, ...], /) -> Array:
    """Returns `x` with its axes in another order.

    >>> transpose(jnp.zeros((2, 3, 4)), (2, 0, 1)).shape
    (4, 2, 3)
    """
    return lax.transpose(x, permutation)


@eager_jit
def take(table: Array, ids: Array, /) -> Array:
    """Returns the rows `table[ids]`, of shape (*ids.shape, features).

    Ids below zero count from the end; a row that does not exist is NaN.

    >>> take(jnp.arange(6.0).reshape(3, 2), jnp.array([0, -1])).tolist()
    [[0.0, 1.0], [4.0, 5.0]]
    """
    if jnp.issubdtype(ids.dtype, jnp.signedinteger):
        if table.shape[0] > np.iinfo(ids.dtype).max:
            ids = lax.convert_element_type(ids, np.int32)
        negative = lax.lt(ids, np.zeros((), ids.dtype))
        from_end = lax.add(ids, np.asarray(table.shape[0], ids.dtype))
        ids = lax.select(negative, from_end, ids)

    def run(table: Array, ids: Array) -> Array:
        return lax.gather(
            table,
            lax.expand_dims(ids, (ids.ndim,)),
            lax.GatherDimensionNumbers(
                offset_dims=(ids.ndim,), collapsed_slice_dims=(0,), start_index_map=(0,)
            ),
            slice_sizes=(1, table.shape[1]),
            mode=lax.GatherScatterMode.FILL_OR_DROP,
        )

    try:
        return run(table, ids)
    except Exception:
        return _auto(
            run,
            (table, ids),
            *array_type.spec_entries(ids),
            array_type.spec_entries(table)[1],
        )
