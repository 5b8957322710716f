"""Lifted gradients: `jax.vjp`, `jax.grad`, `jax.jvp` and `jax.custom_vjp`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from cambric.core import lift
from cambric.core.scope import CollectionFilter, PRNGSequenceFilter

from ..method_call import wrap_method_once
from .direct import DirectCall

__all__ = ["custom_vjp", "grad", "jvp", "value_and_grad", "vjp"]


def vjp(
    fn: Callable[..., Any],
    mdl: Any,
    *primals: Any,
    has_aux: bool = False,
    reduce_axes: Any = (),
    vjp_variables: CollectionFilter = "params",
    variables: CollectionFilter = True,
    rngs: PRNGSequenceFilter = True,
    multi_scope: bool = False,
) -> Any:
    """Lifted `jax.vjp`: a result, and the function that gives its gradients.

    Args:
      fn: `(module, *primals) -> y`.
      mdl: the module.
      *primals: the other arguments.
      has_aux: whether `fn` returns a pair of `y` and auxiliary data.
      reduce_axes: named axes to sum gradients over; must be empty, as in JAX.
      vjp_variables: a filter that selects the collections to differentiate by.
      variables: a filter that selects the other collections to pass in.
      rngs: a filter that selects the PRNG streams to pass in.
      multi_scope: whether to give the gradients as a list, one entry for each scope:
        the module's own first, then those of the modules among its arguments and
        among `primals`. Needed where these lie outside of the module.

    Returns:
      `(y, backward)`, or `(y, backward, aux)` with `has_aux`. `backward(y_bar)`
      returns a tuple: a dict of the gradients by collections, and the gradient of
      each of `primals`.

    Raises:
      TransformTargetError: `mdl` is no module.
      CallCompactUnboundModuleError: `mdl` is unbound.
      ValueError: modules lie outside of `mdl`, without `multi_scope`.

    >>> import jax, jax.numpy as jnp
    >>> import cambric.linen as nn
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
    fn: Callable[..., Any],
    mdl: Any,
    *primals: Any,
    has_aux: bool = False,
    reduce_axes: Any = (),
    variables: CollectionFilter = True,
    rngs: PRNGSequenceFilter = True,
) -> Any:
    """Lifted `jax.value_and_grad`, with respect to the arguments, not the variables.

    Args:
      fn: `(module, *primals) -> y`, with a scalar `y`.
      mdl: the module.
      *primals: the other arguments.
      has_aux: whether `fn` returns a pair of `y` and auxiliary data.
      reduce_axes: named axes to sum gradients over; must be empty, as in JAX.
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
    >>> import cambric.linen as nn
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
    y = lift.value_and_grad(call.body(fn), call.scopes, *call.args, **options)
    return call.finish(y)


def grad(
    fn: Callable[..., Any],
    mdl: Any,
    *primals: Any,
    has_aux: bool = False,
    reduce_axes: Any = (),
    variables: CollectionFilter = True,
    rngs: PRNGSequenceFilter = True,
) -> Any:
    """Lifted `jax.grad`, with respect to the arguments, not the variables.

    Arguments as for `value_and_grad`.

    Returns:
      A tuple of gradients, one for each of `primals`; `(gradients, aux)` with
      `has_aux`.

    Raises:
      As `value_and_grad`.

    >>> import jax, jax.numpy as jnp
    >>> import cambric.linen as nn
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
    fn: Callable[..., Any],
    mdl: Any,
    primals: Sequence[Any],
    tangents: Sequence[Any],
    variable_tangents: Any,
    variables: CollectionFilter = True,
    rngs: PRNGSequenceFilter = True,
) -> Any:
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
    >>> import cambric.linen as nn
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


def custom_vjp(
    fn: Callable[..., Any],
    forward_fn: Callable[..., Any],
    backward_fn: Callable[..., Any],
    grad_vars: CollectionFilter = "params",
    nondiff_argnums: Any = (),
) -> Callable[..., Any]:
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
    >>> import cambric.linen as nn
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
    method, forward_method = wrap_method_once(fn), wrap_method_once(forward_fn)

    def wrapper(module: Any, *args: Any) -> Any:
        call = DirectCall(module, args)
        lifted = lift.custom_vjp(
            call.body(method),
            call.body(forward_method),
            backward_fn,
            grad_vars=grad_vars,
            nondiff_argnums=nondiff_argnums,
        )
        return call.finish(lifted(call.scope_tree(), *call.args))

    return wrapper
