"""Lifted gradients: `vjp`, `grad`, `jvp` and `linearize`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from batiste.core import lift
from batiste.core.scope import CollectionFilter, PRNGSequenceFilter
from batiste.core.types import Function, Tree

from .direct_call import DirectCall

__all__ = ["grad", "jvp", "linearize", "value_and_grad", "vjp"]


def vjp(
    fn: Function,
    mdl: Tree,
    *primals: Tree,
    has_aux: bool = False,
    reduce_axes: Sequence[str] = (),
    vjp_variables: CollectionFilter = "params",
    variables: CollectionFilter = True,
    rngs: PRNGSequenceFilter = True,
    multi_scope: bool = False,
) -> Tree:
    """Lifted `jax.vjp`: a result, and the function that gives its gradients.

    Args:
      fn: `(module, *primals) -> y`.
      mdl: the module.
      *primals: the other arguments.
      has_aux: whether `fn` returns a pair of `y` and auxiliary data.
      reduce_axes: names of mapped axes. Gradients of values that are the same along
        such an axis, such as variables, are summed over it; others are those of single
        examples.
      vjp_variables: a filter that selects the collections to differentiate by.
      variables: a filter that selects the other collections to pass in.
      rngs: a filter that selects the PRNG streams to pass in.
      multi_scope: whether to give the gradients as a list, one entry for each scope:
        those of the modules and variables among `primals`, then those of the modules
        and variables among the constructor arguments of `mdl`, and its own last.
        Needed where some take part that lie outside of `mdl`.

    Returns:
      `(y, backward)`, or `(y, backward, aux)` with `has_aux`. `backward(y_bar)`
      returns a tuple: a dict of the gradients by collections, and the gradient of
      each of `primals`.

    Raises:
      TransformTargetError: `mdl` is no module.
      CallCompactUnboundModuleError: `mdl` is unbound.
      ValueError: modules lie outside of `mdl`, without `multi_scope`.

    >>> import jax, jax.numpy as jnp
    >>> import batiste.linen as nn
    >>> class Gradient(nn.Module):
    ...     @nn.compact
    ...     def __call__(self, x):
    ...         y, backward = nn.vjp(lambda mdl, x: mdl(x), nn.Dense(3), x)
    ...         variables_bar, x_bar = backward(jnp.ones_like(y))
    ...         return x_bar
    >>> y, _ = Gradient().init_with_output(jax.random.key(0), jnp.ones((1, 2)))
    >>> y.shape
    (1, 2)
    """
    call = DirectCall(mdl, primals)
    options: dict[str, Any] = {
        "has_aux": has_aux,
        "vjp_variables": vjp_variables,
        "variables": variables,
        "rngs": rngs,
    }
    if reduce_axes:
        options["reduce_axes"] = reduce_axes
    scopes = call.scopes if multi_scope else call.own_scope("vjp")
    return call.finish(lift.vjp(call.body(fn), scopes, *call.args, **options))


def value_and_grad(
    fn: Function,
    mdl: Tree,
    *primals: Tree,
    has_aux: bool = False,
    reduce_axes: Sequence[str] = (),
    variables: CollectionFilter = True,
    rngs: PRNGSequenceFilter = True,
) -> Tree:
    """Lifted `jax.value_and_grad`, with respect to the arguments, not the variables.

    Args:
      fn: `(module, *primals) -> y`, with a scalar `y`.
      mdl: the module.
      *primals: the other arguments.
      has_aux: whether `fn` returns a pair of `y` and auxiliary data.
      reduce_axes: names of mapped axes. Gradients of values that are the same along
        such an axis, such as variables, are summed over it; others are those of single
        examples.
      variables: a filter that selects the collections to pass in.
      rngs: a filter that selects the PRNG streams to pass in.

    Returns:
      `(y, gradients)`, or `((y, aux), gradients)` with `has_aux`; the gradients are
      a tuple, one for each of `primals`.

    Raises:
      TransformTargetError: `mdl` is no module.
      CallCompactUnboundModuleError: `mdl` is unbound.
      TypeError: `y` is not a real scalar.

    >>> import jax, jax.numpy as jnp
    >>> import batiste.linen as nn
    >>> class Energy(nn.Module):
    ...     @nn.compact
    ...     def __call__(self, x):
    ...         energy = lambda mdl, x: jnp.sum(mdl(x) ** 2)
    ...         y, (x_bar,) = nn.value_and_grad(energy, nn.Dense(3), x)
    ...         return -x_bar
    >>> y, _ = Energy().init_with_output(jax.random.key(0), jnp.ones((1, 2)))
    >>> y.shape
    (1, 2)
    """
    call = DirectCall(mdl, primals)
    options: dict[str, Any] = {"has_aux": has_aux, "variables": variables, "rngs": rngs}
    if reduce_axes:
        options["reduce_axes"] = reduce_axes
    *y, gradients = lift.value_and_grad(
        call.body(fn), call.scopes, *call.args, **options
    )
    return call.finish((tuple(y) if has_aux else y[0], gradients))


def grad(
    fn: Function,
    mdl: Tree,
    *primals: Tree,
    has_aux: bool = False,
    reduce_axes: Sequence[str] = (),
    variables: CollectionFilter = True,
    rngs: PRNGSequenceFilter = True,
) -> Tree:
    """Lifted `jax.grad`, with respect to the arguments, not the variables.

    Arguments as for `value_and_grad`.

    Returns:
      A tuple of gradients, one for each of `primals`; `(gradients, aux)` with
      `has_aux`.

    Raises:
      As `value_and_grad`.

    >>> import jax, jax.numpy as jnp
    >>> import batiste.linen as nn
    >>> class Force(nn.Module):
    ...     @nn.compact
    ...     def __call__(self, x):
    ...         return nn.grad(lambda mdl, x: mdl(x).sum(), nn.Dense(3), x)[0]
    >>> y, _ = Force().init_with_output(jax.random.key(0), jnp.ones((1, 2)))
    >>> y.shape
    (1, 2)
    """
    y, gradients = value_and_grad(
        fn,
        mdl,
        *primals,
        has_aux=has_aux,
        reduce_axes=reduce_axes,
        variables=variables,
        rngs=rngs,
    )
    return (gradients, y[1]) if has_aux else gradients


def jvp(
    fn: Function,
    mdl: Tree,
    primals: Sequence[Tree],
    tangents: Sequence[Tree],
    variable_tangents: Tree,
    variables: CollectionFilter = True,
    rngs: PRNGSequenceFilter = True,
) -> Tree:
    """Lifted `jax.jvp`: a result, and how it changes along a direction.

    No tangents are returned for variables; where they are needed, `fn` returns the
    variables.

    Args:
      fn: `(module, *primals) -> y`.
      mdl: the module.
      primals: the other arguments, a tuple or list.
      tangents: their tangents, of the same structure.
      variable_tangents: a dict from collections to tangents of their variables;
        collections that it lacks stand still. Where modules among the arguments lie
        outside of `mdl`, a list of such dicts, one for each scope, in the order of
        `vjp` with `multi_scope`; an empty dict for all.
      variables: a filter that selects the other collections to pass in.
      rngs: a filter that selects the PRNG streams to pass in.

    Returns:
      `(y, y_dot)`.

    Raises:
      TransformTargetError: `mdl` is no module.
      CallCompactUnboundModuleError: `mdl` is unbound.
      ValueError: modules lie outside of `mdl`, but there is one dict of tangents.

    >>> import jax, jax.numpy as jnp
    >>> import batiste.linen as nn
    >>> class Slope(nn.Module):
    ...     @nn.compact
    ...     def __call__(self, x):
    ...         y, y_dot = nn.jvp(lambda mdl, x: mdl(x), nn.Dense(3), (x,),
    ...                           (jnp.ones_like(x),), variable_tangents={})
    ...         return y_dot
    >>> y, _ = Slope().init_with_output(jax.random.key(0), jnp.ones((1, 2)))
    >>> y.shape
    (1, 3)
    """
    call = DirectCall(mdl, tuple(primals))
    scopes: Any = call.scopes
    if isinstance(variable_tangents, Mapping):
        if variable_tangents:
            scopes = call.own_scope("jvp")
        else:
            variable_tangents = [{} for _ in scopes]
    y = lift.jvp(
        call.body(fn),
        scopes,
        call.args,
        tuple(tangents),
        variable_tangents,
        variables=variables,
        rngs=rngs,
    )
    return call.finish(y)


def linearize(
    fn: Function,
    mdl: Tree,
    *primals: Tree,
    has_aux: bool = False,
    linearize_variables: CollectionFilter = "params",
    variables: CollectionFilter = True,
    rngs: PRNGSequenceFilter = True,
    multi_scope: bool = False,
) -> Tree:
    """Lifted `jax.linearize`: a result, and the linear function of its changes.

    Args:
      fn: `(module, *primals) -> y`.
      mdl: the module.
      *primals: the other arguments.
      has_aux: whether `fn` returns a pair of `y` and auxiliary data.
      linearize_variables: a filter that selects the collections that may change.
      variables: a filter that selects the other collections to pass in.
      rngs: a filter that selects the PRNG streams to pass in.
      multi_scope: as for `vjp`.

    Returns:
      `(y, forward)`, or `(y, forward, aux)` with `has_aux`.
      `forward(variable_tangents, *tangents)` returns the change of `y`, for a dict of
      tangents by collections.

    Raises:
      As `vjp`.

    >>> import jax, jax.numpy as jnp
    >>> import batiste.linen as nn
    >>> class Slope(nn.Module):
    ...     @nn.compact
    ...     def __call__(self, x):
    ...         dense = nn.Dense(3)
    ...         dense(x)
    ...         y, forward = nn.linearize(lambda mdl, x: mdl(x), dense, x)
    ...         still = jax.tree.map(jnp.zeros_like, dense.variables["params"])
    ...         return forward({"params": still}, jnp.ones_like(x))
    >>> y, _ = Slope().init_with_output(jax.random.key(0), jnp.ones((1, 2)))
    >>> y.shape
    (1, 3)
    """
    call = DirectCall(mdl, primals)
    scopes = call.scopes if multi_scope else call.own_scope("linearize")
    result = lift.linearize(
        call.body(fn),
        scopes,
        *call.args,
        has_aux=has_aux,
        linearize_variables=linearize_variables,
        variables=variables,
        rngs=rngs,
    )
    return call.finish(result)
