"""One way to call a `lax` operation that is cheap both when tracing and eagerly.

Under `jit`, `grad` or `vmap` the cheapest call is the `lax` function itself: it adds
its equations to the jaxpr and nothing else. On concrete arrays it is the slowest,
since each such call goes through Python dispatch; a function compiled by `jax.jit`
is called from C++ instead, several times faster. The layers therefore wrap their
operations with `eager_jit` once, when their module is imported.

Each wrapped function is one arithmetic step, as a person would dispatch it. Wider
functions would be faster still, but XLA may then round once where two steps round
twice (a product and its sum, or any two steps in half precision), and the eager result
would not be the same bits.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
from jax.core import Tracer

__all__ = ["eager_jit"]


def eager_jit(
    function: Callable[..., Any], static_argnums: tuple[int, ...] = ()
) -> Callable[..., Any]:
    """Calls `function` as it is on tracers, and compiled on concrete arrays.

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
    # `inline` matters when a concrete array meets this call inside somebody's trace:
    # the equations then land there without a nested call around them.
    compiled = jax.jit(function, static_argnums=static_argnums, inline=True)

    def call(*args: Any) -> Any:
        for arg in args:
            if isinstance(arg, Tracer):
                return function(*args)
        return compiled(*args)

    return call
