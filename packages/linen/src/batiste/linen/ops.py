"""One way to call a `lax` operation that is cheap both when tracing and eagerly.

Where a jaxpr is written, as under `jit`, the cheapest call is the `lax` function
itself: it adds its equations and nothing else. On concrete arrays it is the slowest,
since each such call goes through Python dispatch; a function compiled by `jax.jit`
is called from C++ instead, several times faster. Under `grad` and `vmap` that function
is cheaper, too: JAX remembers its derivative and its batched form, and need not derive
them at each call. The layers therefore wrap their operations with `eager_jit` once,
when their module is imported.

Each wrapped function is one arithmetic step, as a person would dispatch it. Wider
functions would be faster still, but XLA may then round once where two steps round
twice (a product and its sum, or any two steps in half precision), and the eager result
would not be the same bits.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
from jax.core import Tracer

__all__ = ["eager_jit"]


@functools.cache
def _type_of_staged() -> type:
    """The type of the tracers that write a jaxpr, and do nothing else."""
    types: list[type] = []
    jax.make_jaxpr(lambda x: types.append(type(x)))(0)
    return types[0]


@functools.cache
def _jit_is_inlined() -> bool:
    """Whether JAX leaves no nested call in a jaxpr (before 0.12) with `inline`."""
    negative = jax.jit(lambda x: -x, inline=True)
    return jax.make_jaxpr(negative)(0).eqns[0].primitive.name == "neg"


def _called_directly(args: tuple[Any, ...]) -> bool:
    """Whether to call an operation on tracers as it is, rather than compiled."""
    staged = _type_of_staged()
    return not _jit_is_inlined() or all(
        type(arg) is staged for arg in args if isinstance(arg, Tracer)
    )


def eager_jit(
    function: Callable[..., Any], static_argnums: tuple[int, ...] = ()
) -> Callable[..., Any]:
    """Calls `function` as it is where a jaxpr is written, and compiled elsewhere.

    Args:
      function: a function of arrays, called with positional arguments only.
      static_argnums: the positions of arguments that are hashable Python values.

    Returns:
      A function with the same results, and the same jaxpr when traced.

    >>> import jax.numpy as jnp
    >>> from jax import lax
    >>> square = eager_jit(lax.square)
    >>> square(jnp.arange(3.0)).tolist()
    [0.0, 1.0, 4.0]
    """
    # With `inline` the equations land in a surrounding jaxpr without a nested call, if
    # JAX still does so.
    compiled = jax.jit(function, static_argnums=static_argnums, inline=True)

    def call(*args: Any) -> Any:
        for arg in args:
            if isinstance(arg, Tracer):
                return function(*args) if _called_directly(args) else compiled(*args)
        return compiled(*args)

    return call
