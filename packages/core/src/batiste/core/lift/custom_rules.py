"""Lifted `jax.custom_vjp` and `jax.custom_jvp`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from jax import numpy as jnp

from ..config import config
from ..scope.filters import Filter
from ..scope.nested_dicts import snapshot
from ..types import Function, Tree
from .pack import Lifted, Repack, VariableGroups, pack
from .streams import RngGroups

__all__ = ["custom_jvp", "custom_vjp"]

# The functions that get the rules take the variables with derivatives, those without,
# and the PRNG streams before the user's arguments.
_OWN_ARGS = 3


def custom_vjp(
    fn: Function,
    forward_fn: Function,
    backward_fn: Function,
    grad_vars: Filter = "params",
    nondiff_argnums: Sequence[int] = (),
) -> Function:
    """Lifted `jax.custom_vjp`: a function of a scope with a gradient of your own.

    Whichever of the functions runs draws the keys that the other would draw. With
    config `custom_vjp_counts_on` it draws those that follow when JAX calls it.

    Args:
      fn: `fn(scope, *args)`, run when no gradient is asked for.
      forward_fn: run in place of `fn` when one is. Returns a pair of the result and
        of what `backward_fn` needs, such as the function that `vjp` returns.
      backward_fn: `backward_fn(*nondiff_args, residuals, y_t)`. Returns the cotangents
        of the variables in `grad_vars`, a dict of collections (in a pytree like the
        scope), followed by those of the other arguments. It gets no scope.
      grad_vars: the collections to have a gradient.
      nondiff_argnums: the arguments without one, counted with the scope as 0.

    Returns:
      A function `(scope, *args)`.

    Raises:
      As `pack`, and as `jax.custom_vjp`.

    >>> import jax.numpy as jnp
    >>> from batiste.core import apply, lift
    >>> weigh = lambda scope, x: scope.get_variable("params", "w") * x
    >>> def backward(vjp_fn, y_t):  # only the sign of the parameters' gradient
    ...     params_t, *inputs_t = vjp_fn(y_t)
    ...     return jax.tree.map(jnp.sign, params_t), *inputs_t
    >>> fn = custom_vjp(weigh, lambda *args: lift.vjp(weigh, *args), backward)
    >>> grads = jax.grad(apply(fn))({"params": {"w": 2.0}}, 5.0)
    >>> float(grads["params"]["w"])
    1.0
    """

    def inner(
        scope_fn: Lifted,
        repack_fn: Repack,
        variable_groups: VariableGroups,
        rng_groups: RngGroups,
        *args: Tree,
    ) -> tuple[Tree, VariableGroups]:
        per_scope = scope_fn.per_scope

        def run(user_fn: Function, *all_args: Tree) -> tuple[Tree, Tree]:
            group, others, rngs, *args = all_args
            scope = scope_fn((group, *others), rngs)
            return scope_fn.run(user_fn, scope, *args), repack_fn(scope)

        def primal(*all_args: Tree) -> Tree:
            return run(fn, *all_args)

        def forward(*all_args: Tree) -> Tree:
            (y, residuals), out_groups = run(forward_fn, *all_args)
            return (y, out_groups), residuals

        def backward(*rule_args: Tree) -> Tree:
            *nondiff_args, residuals, (y_t, _) = rule_args
            variables_t, *args_t = backward_fn(*nondiff_args, residuals, y_t)
            return per_scope.pack(variables_t), None, None, *args_t

        if not config.custom_vjp_counts_on:
            primal, forward = map(scope_fn.from_start, (primal, forward))
        rule = jax.custom_vjp(primal, nondiff_argnums=_shifted(nondiff_argnums))
        rule.defvjp(forward, backward)
        group, *others = variable_groups
        return rule(tuple(map(snapshot, group)), tuple(others), rng_groups, *args)

    groups = (grad_vars, True)
    return pack(inner, groups, groups, (True,), name="custom_vjp")


def custom_jvp(
    fn: Function,
    jvp_fn: Function,
    jvp_vars: Filter = "params",
    nondiff_argnums: Sequence[int] = (),
) -> Function:
    """Lifted `jax.custom_jvp`: a function of a scope with a derivative of your own.

    Args:
      fn: `fn(scope, *args)`.
      jvp_fn: `jvp_fn(scope, *nondiff_args, primals, tangents, variable_tangents)`, with
        the tangents of the variables in `jvp_vars` as a dict of collections (in a
        pytree like the scope). Returns the result and its tangent.
      jvp_vars: the collections to have a derivative.
      nondiff_argnums: the arguments without one, counted with the scope as 0.

    Returns:
      A function `(scope, *args)`. Variables that it changes have no derivative.

    Raises:
      As `pack`, and as `jax.custom_jvp`.

    >>> from batiste.core import apply
    >>> weigh = lambda scope, x: scope.get_variable("params", "w") * x
    >>> def straight_through(scope, primals, tangents, variable_tangents):
    ...     return weigh(scope, *primals), tangents[0]
    >>> fn = custom_jvp(weigh, straight_through)
    >>> float(jax.grad(lambda x: apply(fn)({"params": {"w": 2.0}}, x))(5.0))
    1.0
    """

    def inner(
        scope_fn: Lifted,
        repack_fn: Repack,
        variable_groups: VariableGroups,
        rng_groups: RngGroups,
        *args: Tree,
    ) -> tuple[Tree, VariableGroups]:
        per_scope = scope_fn.per_scope

        @scope_fn.from_start
        def primal(*all_args: Tree) -> Tree:
            group, others, rngs, *args = all_args
            scope = scope_fn((group, *others), rngs)
            return scope_fn.run(fn, scope, *args), repack_fn(scope)

        @scope_fn.from_start
        def rule_fn(*rule_args: Tree) -> Tree:
            *nondiff_args, primals, tangents = rule_args
            (group, others, rngs, *args), (group_t, _, _, *args_t) = primals, tangents
            scope = scope_fn((group, *others), rngs)
            y, y_t = scope_fn.run(
                jvp_fn,
                scope,
                *nondiff_args,
                tuple(args),
                tuple(args_t),
                per_scope.unpack(group_t),
            )
            out_groups = repack_fn(scope)
            return (y, out_groups), (y_t, jax.tree.map(_zero_tangent, out_groups))

        rule = jax.custom_jvp(primal, nondiff_argnums=_shifted(nondiff_argnums))
        rule.defjvp(rule_fn)
        group, *others = variable_groups
        return rule(group, tuple(others), rng_groups, *args)

    groups = (jvp_vars, True)
    return pack(inner, groups, groups, (True,), name="custom_jvp")


def _shifted(nondiff_argnums: Sequence[int]) -> tuple[int, ...]:
    if 0 in nondiff_argnums:
        raise ValueError(
            "nondiff_argnums counts the scope as 0, and the scope cannot be in it. The "
            "collections to differentiate are chosen by filter."
        )
    return tuple(n - 1 + _OWN_ARGS for n in nondiff_argnums)


def _zero_tangent(value: Any) -> Tree:
    if jnp.issubdtype(jnp.result_type(value), jnp.inexact):
        return jnp.zeros_like(value)
    return np.zeros(np.shape(value), jax.dtypes.float0)
