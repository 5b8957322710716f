"""Lifted `jax.custom_vjp` and `jax.custom_jvp`."""

from __future__ import annotations

from collections.abc import Sequence

from batiste.core import lift
from batiste.core.scope import CollectionFilter
from batiste.core.types import Function, Tree

from .direct_call import DirectCall

__all__ = ["custom_jvp", "custom_vjp"]


def custom_vjp(
    fn: Function,
    forward_fn: Function,
    backward_fn: Function,
    grad_vars: CollectionFilter = "params",
    nondiff_argnums: Sequence[int] = (),
) -> Function:
    """Lifted `jax.custom_vjp`: a function of a module with a gradient of one's own.

    Args:
      fn: `(module, *args) -> y`; what runs when no gradient is asked for.
      forward_fn: `(module, *args) -> (y, residuals)`. The residuals may hold the
        backward function that `vjp` returns.
      backward_fn: `(*nondiff_args, residuals, y_bar) -> (variables_bar, *args_bar)`,
        with a dict of gradients by collections; or a list of dicts, as from `vjp`
        with `multi_scope`, where modules lie outside of the first. There is no
        module in it.
      grad_vars: a filter that selects the collections that get gradients.
      nondiff_argnums: positions of arguments without gradients; the module is
        number 0.

    Returns:
      A function `(module, *args) -> y`.

    Raises:
      TransformTargetError: (when called) the first argument is no module.
      CallCompactUnboundModuleError: (when called) the module is unbound.

    >>> import jax, jax.numpy as jnp
    >>> import batiste.linen as nn
    >>> class SignGradient(nn.Module):
    ...     @nn.compact
    ...     def __call__(self, x):
    ...         run = lambda mdl, x: mdl(x)
    ...         forward = lambda mdl, x: nn.vjp(run, mdl, x)
    ...         def backward(vjp_fn, y_bar):
    ...             variables_bar, x_bar = vjp_fn(y_bar)
    ...             return jax.tree.map(jnp.sign, variables_bar), x_bar
    ...         return nn.custom_vjp(run, forward, backward)(nn.Dense(1), x).sum()
    >>> x = jnp.full((1, 2), 3.0)
    >>> variables = SignGradient().init(jax.random.key(0), x)
    >>> gradient = jax.grad(SignGradient().apply)(variables, x)
    >>> gradient["params"]["Dense_0"]["kernel"].tolist()
    [[1.0], [1.0]]
    """

    def wrapper(module: Tree, *args: Tree) -> Tree:
        call = DirectCall(module, args)
        lifted = lift.custom_vjp(
            call.body(fn),
            call.body(forward_fn),
            backward_fn,
            grad_vars=grad_vars,
            nondiff_argnums=nondiff_argnums,
        )
        return call.finish(lifted(call.scope_tree(), *call.args))

    return wrapper


def custom_jvp(
    fn: Function,
    jvp_fn: Function,
    jvp_vars: CollectionFilter = "params",
    nondiff_argnums: Sequence[int] = (),
) -> Function:
    """Lifted `jax.custom_jvp`: a function of a module with a derivative of one's own.

    Args:
      fn: `(module, *args) -> y`.
      jvp_fn: `(module, *nondiff_args, primals, tangents, variable_tangents) -> (y,
        y_dot)`, with tuples of the arguments and of their tangents, and the tangents
        of variables as a dict by collections (or a list of them, as in `custom_vjp`).
      jvp_vars: a filter that selects the collections that have tangents.
      nondiff_argnums: positions of arguments without tangents; the module is
        number 0.

    Returns:
      A function `(module, *args) -> y`.

    Raises:
      As `custom_vjp`.

    >>> import jax, jax.numpy as jnp
    >>> import batiste.linen as nn
    >>> class StraightThrough(nn.Module):
    ...     @nn.compact
    ...     def __call__(self, x):
    ...         run = lambda mdl, x: jnp.sign(mdl(x))
    ...         def rule(mdl, primals, tangents, variable_tangents):
    ...             return run(mdl, *primals), tangents[0]
    ...         return nn.custom_jvp(run, rule)(nn.Dense(2), x).sum()
    >>> x = jnp.ones((1, 2))
    >>> variables = StraightThrough().init(jax.random.key(0), x)
    >>> jax.grad(StraightThrough().apply, argnums=1)(variables, x).tolist()
    [[1.0, 1.0]]
    """

    def wrapper(module: Tree, *args: Tree) -> Tree:
        call = DirectCall(module, args)
        lifted = lift.custom_jvp(
            call.body(fn),
            call.body(jvp_fn),
            jvp_vars=jvp_vars,
            nondiff_argnums=nondiff_argnums,
        )
        return call.finish(lifted(call.scope_tree(), *call.args))

    return wrapper
