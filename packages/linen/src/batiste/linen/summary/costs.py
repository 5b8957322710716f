"""The cost of a module's method call, in floating point operations."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax
from jax import numpy as jnp

__all__ = ["call_flops", "call_vjp_flops"]


def call_flops(
    module: Any,
    method: str,
    variables: Mapping[str, Any],
    rngs: Any,
    args: tuple,
    kwargs: Mapping[str, Any],
) -> int:
    """The operations of one call, as XLA counts them before optimization.

    Args:
      module: an unbound module.
      method: the method's name.
      variables: the module's variables; shapes suffice.
      rngs: PRNG keys, as for `Module.init`.
      args: positional arguments; shapes suffice.
      kwargs: keyword arguments.
    """
    run, arrays = _call(module, method, rngs, args, kwargs)
    return _count(run, dict(variables), arrays)


def call_vjp_flops(
    module: Any,
    method: str,
    variables: Mapping[str, Any],
    rngs: Any,
    args: tuple,
    kwargs: Mapping[str, Any],
) -> int:
    """The operations of one call and its gradient; arguments as `call_flops`."""
    run, arrays = _call(module, method, rngs, args, kwargs)

    def with_gradient(variables: Any, arrays: Any) -> Any:
        # Integers and keys have no gradient.
        leaves, treedef = jax.tree.flatten((variables, arrays))
        places = [i for i, x in enumerate(leaves) if _is_inexact(x)]

        def of_inexact(inexact: list[Any]) -> Any:
            filled = list(leaves)
            for place, x in zip(places, inexact, strict=True):
                filled[place] = x
            outputs = run(*jax.tree.unflatten(treedef, filled))
            return [y for y in jax.tree.leaves(outputs) if _is_inexact(y)]

        outputs, vjp_fn = jax.vjp(of_inexact, [leaves[i] for i in places])
        return vjp_fn(outputs)

    return _count(with_gradient, dict(variables), arrays)


def _is_inexact(x: Any) -> bool:
    return hasattr(x, "dtype") and jnp.issubdtype(x.dtype, jnp.inexact)


def _call(
    module: Any, method: str, rngs: Any, args: tuple, kwargs: Mapping[str, Any]
) -> tuple[Callable[[Any, Any], Any], list[Any]]:
    """The call as a function of variables and arrays, and those arrays."""
    leaves, treedef = jax.tree.flatten((args, dict(kwargs)))
    places = [i for i, leaf in enumerate(leaves) if hasattr(leaf, "dtype")]

    def run(variables: Any, arrays: Any) -> Any:
        filled = list(leaves)
        for place, array in zip(places, arrays, strict=True):
            filled[place] = array
        args, kwargs = jax.tree.unflatten(treedef, filled)
        outputs, _ = module.apply(
            variables, *args, rngs=rngs, method=method, mutable=True, **kwargs
        )
        return outputs

    return run, [leaves[place] for place in places]


def _count(fn: Callable[..., Any], *args: Any) -> int:
    costs = jax.jit(fn).lower(*args).cost_analysis()
    return int(costs["flops"]) if costs and "flops" in costs else 0
