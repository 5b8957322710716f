"""The cost of a module's method call, in floating point operations."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import jax
from jax import numpy as jnp

from batiste.core.types import Array, Key, Keys, Tree, Variables

__all__ = ["Runnable", "call_flops", "call_vjp_flops"]


class Runnable(Protocol):
    """What tables need of a module: that it runs on given inputs.

    >>> import batiste.linen as nn
    >>> module: Runnable = nn.Dense(3)
    """

    def init(self, rngs: Key | Keys, *args: Any, **kwargs: Any) -> Variables:
        """Runs a method to make the variables that it declares."""
        ...

    def apply(self, variables: Variables, *args: Any, **kwargs: Any) -> Any:
        """Runs a method on the given variables."""
        ...


def call_flops(
    module: Runnable,
    method: str,
    variables: Variables,
    rngs: Key | Keys,
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
) -> int:
    """Counts the operations of one call, as XLA does before it optimizes.

    Args:
      module: an unbound module.
      method: the method's name.
      variables: the module's variables; shapes suffice.
      rngs: PRNG keys, as for `Module.init`.
      args: positional arguments; shapes suffice.
      kwargs: keyword arguments.

    Returns:
      The number of operations, 0 where XLA does not tell it.

    >>> import batiste.linen as nn
    >>> layer, x = nn.Dense(2, use_bias=False), jnp.ones((16, 3))
    >>> variables = layer.init(jax.random.key(0), x)
    >>> call_flops(layer, "__call__", variables, {}, (x,), {})  # 2 * 16 * 3 * 2
    192
    """
    run, arrays = _as_function(module, method, rngs, args, kwargs)
    return _count(run, dict(variables), arrays)


def call_vjp_flops(
    module: Runnable,
    method: str,
    variables: Variables,
    rngs: Key | Keys,
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
) -> int:
    """Counts the operations of one call and its gradient.

    The gradient is that of all floating variables and arguments.

    Args:
      module: an unbound module.
      method: the method's name.
      variables: the module's variables; shapes suffice.
      rngs: PRNG keys, as for `Module.init`.
      args: positional arguments; shapes suffice.
      kwargs: keyword arguments.

    Returns:
      The number of operations, 0 where XLA does not tell it.

    >>> import batiste.linen as nn
    >>> layer, x = nn.Dense(2, use_bias=False), jnp.ones((16, 3))
    >>> variables = layer.init(jax.random.key(0), x)
    >>> call_vjp_flops(layer, "__call__", variables, {}, (x,), {})  # 3 products, a sum
    582
    """
    run, arrays = _as_function(module, method, rngs, args, kwargs)

    def with_gradient(variables: Tree, arrays: list[Array]) -> Tree:
        # Integers and keys have no gradient.
        inputs, rebuild = split_leaves((variables, arrays), _is_inexact)

        def of_inexact(inputs: list[Array]) -> list[Array]:
            outputs = run(*rebuild(inputs))
            return [y for y in jax.tree.leaves(outputs) if _is_inexact(y)]

        outputs, vjp_fn = jax.vjp(of_inexact, inputs)
        return vjp_fn(outputs)

    return _count(with_gradient, dict(variables), arrays)


def split_leaves(
    tree: Tree,
    choose: Callable[[Any], bool],
    is_leaf: Callable[[Any], bool] | None = None,
) -> tuple[list[Any], Callable[[list[Any]], Tree]]:
    """Takes some leaves out of a tree.

    Args:
      tree: a pytree.
      choose: which leaves to take.
      is_leaf: what else is a leaf, as in `jax.tree.flatten`.

    Returns:
      Those leaves, and a function that returns the tree with others in their places.

    >>> leaves, rebuild = split_leaves({"a": 1, "b": "x"}, lambda leaf: leaf != "x")
    >>> leaves, rebuild([2])
    ([1], {'a': 2, 'b': 'x'})
    """
    leaves, treedef = jax.tree.flatten(tree, is_leaf=is_leaf)
    places = [i for i, leaf in enumerate(leaves) if choose(leaf)]

    def rebuild(chosen: list[Any]) -> Tree:
        filled = list(leaves)
        for place, leaf in zip(places, chosen, strict=True):
            filled[place] = leaf
        return jax.tree.unflatten(treedef, filled)

    return [leaves[place] for place in places], rebuild


def _is_inexact(x: Any) -> bool:
    return hasattr(x, "dtype") and jnp.issubdtype(x.dtype, jnp.inexact)


def _as_function(
    module: Runnable,
    method: str,
    rngs: Key | Keys,
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
) -> tuple[Callable[[Tree, list[Array]], Tree], list[Array]]:
    """The call as a function of variables and arrays, and those arrays."""
    arrays, rebuild = split_leaves(
        (args, dict(kwargs)), lambda leaf: hasattr(leaf, "dtype")
    )

    def run(variables: Tree, arrays: list[Array]) -> Tree:
        args, kwargs = rebuild(arrays)
        # With the variables that it leaves, to make which is part of the cost.
        return module.apply(
            variables, *args, rngs=rngs, method=method, mutable=True, **kwargs
        )

    return run, arrays


def _count(fn: Callable[..., Any], *args: Tree) -> int:
    flops = _flops(fn, args)
    if flops or jax.default_backend() == "cpu":
        return flops
    # The compilers of accelerators may tell nothing. That of the CPU counts the same
    # program, before it is optimized.
    try:
        cpu = jax.devices("cpu")[0]
    except RuntimeError:  # JAX was told to leave it out
        return 0
    with jax.default_device(cpu):
        return _flops(fn, jax.eval_shape(lambda *args: args, *args))


def _flops(fn: Callable[..., Any], args: tuple[Tree, ...]) -> int:
    costs = jax.jit(fn).lower(*args).cost_analysis()
    return int(costs["flops"]) if costs and "flops" in costs else 0
