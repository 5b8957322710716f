"""Lifted derivatives: `vjp`, `jvp`, `linearize`, `grad` and `value_and_grad`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax

from ..scope.filters import Filter
from ..scope.nested_dicts import snapshot
from ..types import Function, Tree
from .pack import Lifted, PerScope, Repack, VariableGroup, VariableGroups, pack
from .shared_gradients import sum_shared
from .streams import RngGroups

__all__ = ["grad", "jvp", "linearize", "value_and_grad", "vjp"]


def vjp(
    fn: Function,
    scope: Tree,
    *primals: Tree,
    has_aux: bool = False,
    reduce_axes: Sequence[str] = (),
    vjp_variables: Filter = "params",
    variables: Filter = True,
    rngs: Filter = True,
) -> Tree:
    """Lifted `jax.vjp`: the value of a function, and a function of its cotangent.

    Args:
      fn: `fn(scope, *primals)`.
      scope: a scope or a pytree of them.
      *primals: arrays or pytrees of them.
      has_aux: whether `fn` returns a pair, of which only the first is differentiated.
      reduce_axes: names of mapped axes. Gradients of values that are the same along
        such an axis are summed over it, others are those of single examples.
      vjp_variables: the collections to differentiate with respect to.
      variables: other collections that are lifted in.
      rngs: the PRNG streams that are lifted in.

    Returns:
      `(y, vjp_fn)`, or `(y, vjp_fn, aux)` with `has_aux`. `vjp_fn(y_t)` returns the
      cotangents of the variables, a dict of collections (in a pytree like `scope`),
      followed by those of the primals. It is a pytree.

    Raises:
      As `pack`, and as `jax.vjp`.

    >>> import jax.numpy as jnp
    >>> from batiste.core import apply
    >>> weigh = lambda scope, x: scope.get_variable("params", "w") * x
    >>> model = lambda scope, x: vjp(weigh, scope, x)[1](1.0)
    >>> params_t, x_t = apply(model)({"params": {"w": 2.0}}, 5.0)
    >>> float(params_t["params"]["w"]), float(x_t)
    (5.0, 2.0)
    """

    def inner(
        scope_fn: Lifted,
        repack_fn: Repack,
        variable_groups: VariableGroups,
        rng_groups: RngGroups,
        *primals: Tree,
    ) -> tuple[Tree, VariableGroups]:
        group, *others = variable_groups

        def run(group: VariableGroup, *primals: Tree) -> tuple[Tree, Tree]:
            scope = scope_fn((group, *others), rng_groups)
            y = fn(scope, *primals)
            y, aux = y if has_aux else (y, None)
            return y, (repack_fn(scope), aux)

        y, vjp_fn, (out_groups, aux) = jax.vjp(run, group, *primals, has_aux=True)
        if reduce_axes:
            pullback = _SummingPullback(scope_fn.per_scope, tuple(reduce_axes))
            vjp_fn = jax.tree_util.Partial(pullback, (group, *primals), vjp_fn)
        else:
            vjp_fn = jax.tree_util.Partial(_Pullback(scope_fn.per_scope), vjp_fn)
        return ((y, vjp_fn, aux) if has_aux else (y, vjp_fn)), out_groups

    groups = (vjp_variables, variables)
    return pack(inner, groups, groups, (rngs,), name="vjp")(scope, *primals)


class _Static:
    """A function that is static data in a pytree, equal to those of equal scopes."""

    def __init__(self, per_scope: PerScope):
        self.per_scope = per_scope

    def __eq__(self, other: object) -> bool:
        if type(self) is not type(other):
            return NotImplemented
        return self.per_scope == other.per_scope  # type: ignore[attr-defined]

    def __hash__(self) -> int:
        return hash((type(self), self.per_scope))


class _Pullback(_Static):
    def __call__(self, vjp_fn: Function, y_t: Tree) -> tuple[Any, ...]:
        group_t, *primals_t = vjp_fn(y_t)
        return self.per_scope.unpack(group_t), *primals_t


class _SummingPullback(_Pullback):
    def __init__(self, per_scope: PerScope, axes: tuple[str, ...]):
        super().__init__(per_scope)
        self.axes = axes

    def __eq__(self, other: object) -> bool:
        return super().__eq__(other) is True and self.axes == other.axes  # type: ignore[attr-defined]

    __hash__ = _Pullback.__hash__

    def __call__(  # type: ignore[override]
        self, values: tuple[Tree, ...], vjp_fn: Function, y_t: Tree
    ) -> tuple[Any, ...]:
        def summed(y_t: Tree) -> tuple[Tree, ...]:
            return sum_shared(vjp_fn(y_t), values, self.axes)

        return super().__call__(summed, y_t)


class _Pushforward(_Static):
    def __call__(
        self, jvp_fn: Function, variable_tangents: Tree, *tangents: Any
    ) -> Tree:
        return jvp_fn(self.per_scope.pack(variable_tangents), *tangents)


def value_and_grad(
    fn: Function,
    scope: Tree,
    *primals: Tree,
    has_aux: bool = False,
    reduce_axes: Sequence[str] = (),
    variables: Filter = True,
    rngs: Filter = True,
) -> Tree:
    """Lifted `jax.value_and_grad`, with respect to the primals and not to variables.

    Args:
      fn: `fn(scope, *primals)`, which returns a scalar.
      scope: a scope or a pytree of them.
      *primals: arrays or pytrees of them.
      has_aux: whether `fn` returns a pair, of which only the first is differentiated.
      reduce_axes: names of mapped axes. Gradients of values that are the same along
        such an axis are summed over it, others are those of single examples.
      variables: the collections that are lifted in.
      rngs: the PRNG streams that are lifted in.

    Returns:
      `(y, grads)`, or `(y, aux, grads)` with `has_aux`. `grads` is a tuple with the
      gradient of each primal. For those of variables, use `vjp`.

    Raises:
      TypeError: the value is no scalar.
      As `pack`, and as `jax.grad`.

    >>> from batiste.core import apply
    >>> weigh = lambda scope, x: scope.get_variable("params", "w") * x**2
    >>> model = lambda scope, x: value_and_grad(weigh, scope, x)
    >>> y, (x_t,) = apply(model)({"params": {"w": 2.0}}, 5.0)
    >>> float(y), float(x_t)
    (50.0, 20.0)
    """

    def inner(
        scope_fn: Lifted,
        repack_fn: Repack,
        variable_groups: VariableGroups,
        rng_groups: RngGroups,
        *primals: Tree,
    ) -> tuple[Tree, VariableGroups]:
        def run(*primals: Tree) -> tuple[Tree, Tree]:
            scope = scope_fn(variable_groups, rng_groups)
            y = fn(scope, *primals)
            y, aux = y if has_aux else (y, None)
            return y, (repack_fn(scope), aux)

        (y, (out_groups, aux)), grads = jax.value_and_grad(
            run, argnums=tuple(range(len(primals))), has_aux=True
        )(*primals)
        if reduce_axes:
            grads = sum_shared(grads, primals, reduce_axes)
        return ((y, aux, grads) if has_aux else (y, grads)), out_groups

    return pack(inner, (variables,), (variables,), (rngs,), name="value_and_grad")(
        scope, *primals
    )


def grad(
    fn: Function,
    scope: Tree,
    *primals: Tree,
    has_aux: bool = False,
    reduce_axes: Sequence[str] = (),
    variables: Filter = True,
    rngs: Filter = True,
) -> Tree:
    """Lifted `jax.grad`, with respect to the primals and not to variables.

    Args:
      fn: `fn(scope, *primals)`, which returns a scalar.
      scope: a scope or a pytree of them.
      *primals: arrays or pytrees of them.
      has_aux: whether `fn` returns a pair, of which only the first is differentiated.
      reduce_axes: names of mapped axes. Gradients of values that are the same along
        such an axis are summed over it, others are those of single examples.
      variables: the collections that are lifted in.
      rngs: the PRNG streams that are lifted in.

    Returns:
      `grads`, or `(grads, aux)` with `has_aux`, where `grads` is a tuple with the
      gradient of each primal.

    Raises:
      As `value_and_grad`.

    >>> from batiste.core import apply
    >>> weigh = lambda scope, x: scope.get_variable("params", "w") * x**2
    >>> model = lambda scope, x: grad(weigh, scope, x)
    >>> (x_t,) = apply(model)({"params": {"w": 2.0}}, 5.0)
    >>> float(x_t)
    20.0
    """
    _, *aux, grads = value_and_grad(
        fn,
        scope,
        *primals,
        has_aux=has_aux,
        reduce_axes=reduce_axes,
        variables=variables,
        rngs=rngs,
    )
    return (grads, *aux) if has_aux else grads


def jvp(
    fn: Function,
    scope: Tree,
    primals: Sequence[Tree],
    tangents: Sequence[Tree],
    variable_tangents: Tree,
    variables: Filter = True,
    rngs: Filter = True,
) -> tuple[Tree, Tree]:
    """Lifted `jax.jvp`: the value of a function, and its tangent.

    Args:
      fn: `fn(scope, *primals)`.
      scope: a scope or a pytree of them.
      primals: arrays or pytrees of them.
      tangents: their tangents.
      variable_tangents: a dict from collections to the tangents of their variables (in
        a pytree like `scope`). Collections that are left out do not vary.
      variables: other collections that are lifted in.
      rngs: the PRNG streams that are lifted in.

    Returns:
      `(y, y_t)`. There are no tangents of variables that are changed: return those
      variables from `fn` to have them.

    Raises:
      As `pack`, and as `jax.jvp`.

    >>> from batiste.core import apply
    >>> weigh = lambda scope, x: scope.get_variable("params", "w") * x
    >>> model = lambda scope: jvp(weigh, scope, (5.0,), (0.0,), {"params": {"w": 1.0}})
    >>> y, y_t = apply(model)({"params": {"w": 2.0}})
    >>> float(y), float(y_t)
    (10.0, 5.0)
    """

    def inner(
        scope_fn: Lifted,
        repack_fn: Repack,
        variable_groups: VariableGroups,
        rng_groups: RngGroups,
        *primals: Tree,
    ) -> tuple[Tree, VariableGroups]:
        group, *others = variable_groups
        group_t = scope_fn.per_scope.pack(variable_tangents)

        def run(group: VariableGroup, *primals: Tree) -> tuple[Tree, Tree]:
            scope = scope_fn((group, *others), rng_groups)
            return fn(scope, *primals), repack_fn(scope)

        y, y_t, out_groups = jax.jvp(
            run,
            (_plain(group), *primals),
            (group_t, *tangents),
            has_aux=True,
        )
        return (y, y_t), out_groups

    per_scope = jax.tree.structure(scope).flatten_up_to(variable_tangents)
    given = {col for collections in per_scope for col in collections}
    groups = (sorted(given), variables)
    return pack(inner, groups, groups, (rngs,), name="jvp")(scope, *primals)


def linearize(
    fn: Function,
    scope: Tree,
    *primals: Tree,
    has_aux: bool = False,
    linearize_variables: Filter = "params",
    variables: Filter = True,
    rngs: Filter = True,
) -> Tree:
    """Lifted `jax.linearize`: the value of a function, and a function of tangents.

    Args:
      fn: `fn(scope, *primals)`.
      scope: a scope or a pytree of them.
      *primals: arrays or pytrees of them.
      has_aux: whether `fn` returns a pair, of which only the first is differentiated.
      linearize_variables: the collections that may vary.
      variables: other collections that are lifted in.
      rngs: the PRNG streams that are lifted in.

    Returns:
      `(y, jvp_fn)`, or `(y, jvp_fn, aux)` with `has_aux`. It takes the tangents of all
      the variables that vary, a dict of collections (in a pytree like `scope`),
      followed by those of the primals: `jvp_fn(variable_tangents, *tangents)`.

    Raises:
      As `pack`, and as `jax.linearize`.

    >>> from batiste.core import apply
    >>> weigh = lambda scope, x: scope.get_variable("params", "w") * x
    >>> def model(scope, x):
    ...     y, jvp_fn = linearize(weigh, scope, x)
    ...     return jvp_fn({"params": {"w": 1.0}}, 0.0)
    >>> float(apply(model)({"params": {"w": 2.0}}, 5.0))
    5.0
    """

    def inner(
        scope_fn: Lifted,
        repack_fn: Repack,
        variable_groups: VariableGroups,
        rng_groups: RngGroups,
        *primals: Tree,
    ) -> tuple[Tree, VariableGroups]:
        group, *others = variable_groups

        def run(group: VariableGroup, *primals: Tree) -> tuple[Tree, Tree]:
            scope = scope_fn((group, *others), rng_groups)
            y = fn(scope, *primals)
            y, aux = y if has_aux else (y, None)
            return y, (repack_fn(scope), aux)

        y, jvp_fn, (out_groups, aux) = jax.linearize(
            run, _plain(group), *primals, has_aux=True
        )
        jvp_fn = jax.tree_util.Partial(_Pushforward(scope_fn.per_scope), jvp_fn)
        return ((y, jvp_fn, aux) if has_aux else (y, jvp_fn)), out_groups

    groups = (linearize_variables, variables)
    return pack(inner, groups, groups, (rngs,), name="linearize")(scope, *primals)


def _plain(group: VariableGroup) -> tuple[Any, ...]:
    """A group in dicts alone, as tangents are packed."""
    return tuple(snapshot(collections) for collections in group)
