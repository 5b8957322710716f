"""Lifted `jax.lax.while_loop`, `jax.lax.cond` and `jax.lax.switch`."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping, Sequence

import jax
from jax import lax
from jax import numpy as jnp

from ..compiled_once import call_compiled_once
from ..config import config
from ..errors import InvalidArgumentError, short_repr
from ..scope.filters import Filter
from ..types import ArrayLike, Function, Tree
from .axes import values_of
from .pack import (
    Lifted,
    Repack,
    VariableGroups,
    pack,
    update_groups,
    variables_by_name,
)
from .streams import RngGroups, tree_map_rngs
from .unequal_types import explain_branches, explain_carry, explain_scalar

__all__ = ["cond", "switch", "while_loop"]


def while_loop(
    cond_fn: Function,
    body_fn: Function,
    scope: Tree,
    init: Tree,
    carry_variables: Filter = False,
    broadcast_variables: Filter = True,
    split_rngs: Mapping[Filter, bool] = {},
) -> Tree:
    """Lifted `jax.lax.while_loop`: repeats a function of a scope as long as needed.

    Args:
      cond_fn: `cond_fn(scope, carry)` says whether to go on; it may change nothing.
      body_fn: `body_fn(scope, carry)` returns the next carry.
      scope: a scope or a pytree of them.
      init: the first carry.
      carry_variables: collections that the body may change. Their variables must be
        there before the loop, and keep their shapes and dtypes.
      broadcast_variables: collections that are only read.
      split_rngs: from filters of PRNG streams to whether each iteration gets keys of
        its own. Streams that are not named are not there inside the loop.

    Returns:
      The last carry.

    Raises:
      InvalidArgumentError: the carry, or a variable, changes its structure, shape or
        dtype; or `cond_fn` returns no boolean.
      ModifyScopeVariableError: another collection is changed, or any in `cond_fn`.
      As `pack`.

    >>> import jax.numpy as jnp
    >>> from batiste.core import apply
    >>> def count(scope, x):
    ...     scope.put_variable("state", "n", scope.get_variable("state", "n") + 1)
    ...     return 2 * x
    >>> def model(scope, x):
    ...     return while_loop(lambda _, x: x < 9, count, scope, x, "state")
    >>> y, state = apply(model, mutable="state")({"state": {"n": jnp.array(0)}}, 1)
    >>> int(y), int(state["state"]["n"])
    (16, 4)
    """
    splits = values_of("split_rngs", split_rngs)

    def inner(
        scope_fn: Lifted,
        repack_fn: Repack,
        variable_groups: VariableGroups,
        rng_groups: RngGroups,
    ) -> tuple[Tree, VariableGroups]:
        carry_group, broadcast_group = variable_groups
        in_user_code = False

        def open_scope(state: Tree, mutable: bool) -> Tree:
            index, group, _ = state
            rngs = tuple(
                tree_map_rngs(lambda key: jax.random.fold_in(key, index), streams)
                if split
                else streams
                for streams, split in zip(rng_groups, splits, strict=True)
            )
            return scope_fn((group, broadcast_group), rngs, mutable)

        def cond_wrapper(state: Tree) -> Tree:
            nonlocal in_user_code
            in_user_code = True
            is_to_go_on = cond_fn(open_scope(state, mutable=False), state[2])
            in_user_code = False
            return is_to_go_on

        def body_wrapper(state: Tree) -> Tree:
            nonlocal in_user_code
            in_user_code = True
            index, group, carry = state
            scope = open_scope(state, mutable=True)
            carry = body_fn(scope, carry)
            (changed,) = repack_fn(scope)
            new_group = update_groups(group, changed)
            scope_fn.check_unchanged("while_loop", group, new_group)
            in_user_code = False
            return index + 1, new_group, carry

        start = (jnp.int32(0), carry_group, init)
        loop = functools.partial(lax.while_loop, cond_wrapper, body_wrapper)
        try:
            _, group, carry = call_compiled_once(loop, start)
        except (TypeError, ValueError) as error:
            if in_user_code:
                raise

            def run(note: Function) -> None:
                def body(state: Tree) -> None:
                    note(state[1:], body_wrapper(state)[1:])

                jax.eval_shape(body, start)

            explain_carry("while_loop", scope_fn, error, run)
            what = f"The condition of the while_loop of scope {scope_fn.places}"
            trace = functools.partial(jax.eval_shape, cond_wrapper, start)
            explain_scalar(what, trace, "b", "a boolean scalar", error)
            raise
        return carry, scope_fn.only_mutable((group,))

    return pack(
        inner,
        (carry_variables, broadcast_variables),
        (carry_variables,),
        tuple(split_rngs),
        name="while_loop",
    )(scope)


def cond(
    pred: ArrayLike,
    true_fun: Function,
    false_fun: Function,
    scope: Tree,
    *operands: Tree,
    variables: Filter = True,
    rngs: Filter = True,
) -> Tree:
    """Lifted `jax.lax.cond`: runs one of two functions of a scope.

    Each of them draws the keys that it would draw without the other; with config
    `branches_count_on`, `false_fun` draws those that follow.

    Args:
      pred: a boolean scalar that decides.
      true_fun: `true_fun(scope, *operands)`, run if `pred` is true.
      false_fun: `false_fun(scope, *operands)`, run otherwise.
      scope: a scope or a pytree of them.
      *operands: passed to the functions.
      variables: the collections that are lifted in.
      rngs: the PRNG streams that are lifted in.

    Returns:
      What the function that ran returned.

    Raises:
      InvalidArgumentError: the functions' results, or the variables that they make,
        differ in structure, shapes or dtypes; or `pred` cannot decide.
      As `pack`.

    >>> import jax.numpy as jnp
    >>> from batiste.core import init, nn
    >>> def model(scope, x, is_linear):
    ...     layer = lambda scope, x: nn.dense(scope.push("layer"), x, 3)
    ...     relu_layer = lambda scope, x: jax.nn.relu(layer(scope, x))
    ...     return cond(is_linear, layer, relu_layer, scope, x)
    >>> init(model)(jax.random.key(0), jnp.ones((1, 2)), True)[0].shape
    (1, 3)
    """
    return _branch(
        "cond",
        pred,
        lambda branches, pred, *args: lax.cond(pred, *branches, *args),
        {"true_fun": true_fun, "false_fun": false_fun},
        (scope, *operands),
        variables,
        rngs,
    )


def switch(
    index: ArrayLike,
    branches: Sequence[Function],
    scope: Tree,
    *operands: Tree,
    variables: Filter = True,
    rngs: Filter = True,
) -> Tree:
    """Lifted `jax.lax.switch`: runs one of several functions of a scope.

    Each of them draws the keys that it would draw without the others; with config
    `branches_count_on`, those that follow the keys of the branches before.

    Args:
      index: an integer scalar that decides; it is clamped to what there is.
      branches: the functions, called as `branches[index](scope, *operands)`.
      scope: a scope or a pytree of them.
      *operands: passed to the functions.
      variables: the collections that are lifted in.
      rngs: the PRNG streams that are lifted in.

    Returns:
      What the function that ran returned.

    Raises:
      ValueError: there are no branches.
      InvalidArgumentError: the functions' results, or the variables that they make,
        differ in structure, shapes or dtypes; or `index` cannot decide.
      As `pack`.

    >>> from batiste.core import apply
    >>> weigh = lambda scope, x: scope.get_variable("params", "w") * x
    >>> model = lambda scope, i: switch(i, [weigh, lambda _, x: -x], scope, 3.0)
    >>> [float(apply(model)({"params": {"w": 2.0}}, i)) for i in range(2)]
    [6.0, -3.0]
    """
    if not isinstance(branches, Iterable):
        raise InvalidArgumentError(
            f"switch: branches={short_repr(branches)} (of type "
            f"{type(branches).__name__}) cannot be used; it must be a sequence of "
            "functions.",
            argument="branches",
        )
    return _branch(
        "switch",
        index,
        lambda branches, index, *args: lax.switch(index, branches, *args),
        {f"branch {i}": fn for i, fn in enumerate(branches)},
        (scope, *operands),
        variables,
        rngs,
    )


def _branch(
    transform: str,
    decides: ArrayLike,
    choose: Function,
    branches: Mapping[str, Function],
    args: tuple[Tree, ...],
    variables: Filter,
    rngs: Filter,
) -> Tree:
    def inner(
        scope_fn: Lifted,
        repack_fn: Repack,
        variable_groups: VariableGroups,
        rng_groups: RngGroups,
        *operands: Tree,
    ) -> tuple[Tree, VariableGroups]:
        made: dict[str, list[set[str]]] = {}

        def lifted(name: str, fn: Function) -> Function:
            def run(
                variable_groups: VariableGroups, rng_groups: RngGroups, operands: Tree
            ) -> tuple[Tree, Tree]:
                scope = scope_fn(variable_groups, rng_groups)
                y = fn(scope, *operands)
                out_groups = repack_fn(scope)
                made[name] = [set(variables_by_name(part)) for part in out_groups[0]]
                return y, out_groups

            return run if config.branches_count_on else scope_fn.from_start(run)

        functions = [lifted(name, fn) for name, fn in branches.items()]
        inputs = variable_groups, rng_groups, operands
        try:
            return call_compiled_once(
                functools.partial(choose, functions), decides, *inputs
            )
        except (TypeError, ValueError) as error:
            _explain_deciding(transform, scope_fn, branches, decides, error)
            if len(made) == len(branches):  # the error is none of theirs
                _explain_names(transform, scope_fn, made, error)

                def run(fn: Function, note: Function) -> None:
                    def branch(*inputs: Tree) -> None:
                        y, (group,) = fn(*inputs)
                        note((group, y))

                    jax.eval_shape(branch, *inputs)

                runs = [functools.partial(run, fn) for fn in functions]
                by_name = dict(zip(branches, runs, strict=True))
                explain_branches(transform, scope_fn, error, by_name)
            raise

    return pack(inner, (variables,), (variables,), (rngs,), name=transform)(*args)


def _explain_deciding(
    transform: str,
    lifted: Lifted,
    branches: Mapping[str, Function],
    decides: ArrayLike,
    error: Exception,
) -> None:
    """Raises a better error if there is nothing to choose from, or to decide by."""
    path = lifted.roots[0].path_text if lifted.roots else "/"
    if not branches:
        raise InvalidArgumentError(
            f'The {transform} of scope "{path}" has no branches to choose from: '
            "branches=[] cannot be used; give at least one function.",
            argument="branches",
        ) from error
    for name, fn in branches.items():
        if not callable(fn):
            raise InvalidArgumentError(
                f'The {transform} of scope "{path}": {name}={short_repr(fn)} (of type '
                f"{type(fn).__name__}) cannot be used; it must be a function of a "
                "scope and the operands.",
                argument=name,
            ) from error
    argument, kinds, wanted = "pred", "biuf", "a boolean scalar"
    if transform == "switch":
        argument, kinds, wanted = "index", "iu", "an integer scalar"
    what = f'The {transform} of scope "{path}": {argument}'
    explain_scalar(what, lambda: decides, kinds, wanted, error)


def _explain_names(
    transform: str, lifted: Lifted, made: Mapping[str, list[set[str]]], error: Exception
) -> None:
    """Raises a better error if the branches made different variables."""
    (first, expected), *others = made.items()
    for other, found in others:
        for scope, a, b in zip(lifted.roots, expected, found, strict=True):
            only = sorted(a ^ b)
            if only:
                names = ", ".join(f'"{name}"' for name in only)
                which = first if only[0] in a else other
                raise InvalidArgumentError(
                    f'The branches of the {transform} of scope "{scope.path_text}" '
                    f"must make the same variables, but {names} are not made by both "
                    f'"{first}" and "{other}" ("{only[0]}" only by "{which}"). Make '
                    "them before, or run all branches once when initializing."
                ) from error
