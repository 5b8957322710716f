"""Lifted `jax.checkpoint`, and deep stacks of checkpointed layers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
from jax.core import Tracer

from ..scope.filters import Filter
from ..static_args import as_tuple, static_args
from ..types import Function, Tree
from .pack import Lifted, Repack, VariableGroups, pack
from .scan import scan
from .streams import RngGroups

__all__ = ["checkpoint", "remat", "remat_scan"]


def checkpoint(
    fn: Function,
    variables: Filter = True,
    rngs: Filter = True,
    concrete: bool = False,
    prevent_cse: bool = True,
    static_argnums: int | tuple[int, ...] = (),
    policy: Callable[..., bool] | None = None,
    static_argnames: str | Sequence[str] = (),
) -> Function:
    """Lifted `jax.checkpoint`: computes values anew when gradients need them.

    Args:
      fn: a function whose first argument is a scope or a pytree of them.
      variables: the collections that are lifted in.
      rngs: the PRNG streams that are lifted in.
      concrete: whether values that nothing is traced of stay as they are, so that
        control flow can depend on them: Python scalars and constants, and everything
        outside of other transformations (where nothing is then checkpointed).
      prevent_cse: whether to keep the compiler from merging what is computed twice.
        Not needed inside a loop.
      static_argnums: what arguments are static, counted without the scope; also
        where they are passed by keyword, or left to their defaults.
      policy: what values to keep, one of `jax.checkpoint_policies`.
      static_argnames: the names of static arguments; those in `static_argnums` need
        not be named if the function has a signature.

    Returns:
      A function of the same arguments and results.

    Raises:
      InvalidArgumentError: the function has no such static argument.
      As `pack`.

    >>> import numpy as np
    >>> from batiste.core import init, nn
    >>> dense = checkpoint(nn.dense, static_argnums=1)
    >>> y, variables = init(dense)(jax.random.key(0), np.ones((1, 2)), 3)
    >>> y.shape
    (1, 3)
    """
    numbers, names = static_args(
        "remat", fn, as_tuple(static_argnums), as_tuple(static_argnames), skipped=1
    )

    def inner(
        scope_fn: Lifted,
        repack_fn: Repack,
        variable_groups: VariableGroups,
        rng_groups: RngGroups,
        *args: Tree,
        **kwargs: Tree,
    ) -> tuple[Tree, VariableGroups]:
        static = {name: kwargs.pop(name) for name in names if name in kwargs}
        # Before them come the groups of variables and of PRNG streams. What is not
        # passed by position is passed by keyword, or has its default.
        count = len(args)
        static_argnums = tuple([2 + n % count for n in numbers if -count <= n < count])

        def run(
            variable_groups: VariableGroups,
            rng_groups: RngGroups,
            *args: Tree,
            **kwargs: Tree,
        ) -> tuple[Tree, Tree]:
            scope = scope_fn(variable_groups, rng_groups)
            y = fn(scope, *args, **kwargs, **static)
            return y, repack_fn(scope)

        options = {"prevent_cse": prevent_cse, "policy": policy}
        if concrete:
            inputs = (variable_groups, rng_groups, *args), kwargs
            return _checkpoint_traced(run, inputs, options)
        run = jax.checkpoint(run, static_argnums=static_argnums, **options)
        return run(variable_groups, rng_groups, *args, **kwargs)

    return pack(
        inner, (variables,), (variables,), (rngs,), name="remat", enable_kwargs=True
    )


remat = checkpoint


def _checkpoint_traced(
    run: Function, inputs: tuple[tuple[Tree, ...], dict[str, Tree]], options: Any
) -> Any:
    """Runs a function, checkpointed with respect to those leaves that are traced."""
    leaves, treedef = jax.tree.flatten(inputs)
    traced = [i for i, leaf in enumerate(leaves) if isinstance(leaf, Tracer)]

    def run_on(values: list[Any]) -> Any:
        filled = list(leaves)
        for i, value in zip(traced, values, strict=True):
            filled[i] = value
        args, kwargs = jax.tree.unflatten(treedef, filled)
        return run(*args, **kwargs)

    if not traced:
        return run_on([])
    return jax.checkpoint(run_on, **options)([leaves[i] for i in traced])


def remat_scan(
    body_fn: Function,
    lengths: Sequence[int],
    policy: Callable[..., bool] | None = None,
    variable_broadcast: Filter = False,
    variable_carry: Filter = False,
    variable_axes: Mapping[Filter, Any] = {True: 0},
    split_rngs: Mapping[Filter, bool] = {True: True},
    metadata_params: Mapping[Any, Any] | Sequence[Mapping[Any, Any]] = {},
) -> Function:
    """Repeats a layer many times, with nested loops of checkpointed loops.

    The time to compile does not depend on the number of layers. With `d` loops of the
    same length, gradients of `n` layers need memory for about `n ** (1 / d)`.

    Args:
      body_fn: the layer, `body_fn(scope, x) -> x`.
      lengths: the lengths of the loops, from the outermost. Their product is the
        number of layers, and each gives variables an axis in front.
      policy: what values to keep, one of `jax.checkpoint_policies`.
      variable_broadcast: as in `scan`.
      variable_carry: as in `scan`.
      variable_axes: as in `scan`.
      split_rngs: as in `scan`.
      metadata_params: as in `scan`, for all loops; or a sequence with those of each
        loop, from the outermost, as every loop gives variables an axis of its own.

    Returns:
      A function `(scope, x) -> x`.

    Raises:
      ValueError: `lengths` is empty, or `metadata_params` has not as many entries.
      As `scan`.

    >>> import jax.numpy as jnp
    >>> from batiste.core import init, nn
    >>> def layer(scope, x):
    ...     return nn.dense(scope, x, x.shape[-1])
    >>> deep = remat_scan(layer, lengths=(4, 5))
    >>> y, variables = init(deep)(jax.random.key(0), jnp.ones((1, 2)))
    >>> variables["params"]["kernel"].shape
    (4, 5, 2, 2)
    """
    if not lengths:
        raise ValueError("remat_scan needs the length of at least one loop.")

    def step(scope: Tree, x: Tree) -> tuple[Tree, None]:
        return body_fn(scope, x), None

    if isinstance(metadata_params, Mapping):
        metadata_params = [metadata_params] * len(lengths)
    if len(metadata_params) != len(lengths):
        raise ValueError(
            f"remat_scan has {len(lengths)} loops, but metadata_params has "
            f"{len(metadata_params)} entries. Give one for each loop, from the "
            "outermost, or a single mapping for all of them."
        )
    for length, params in zip(reversed(lengths), reversed(metadata_params)):
        layer = checkpoint(step, prevent_cse=False, policy=policy)
        layer.loop_name = "remat_scan"  # type: ignore[attr-defined]
        step = scan(
            layer,
            variable_axes,
            variable_broadcast,
            variable_carry,
            split_rngs,
            length=length,
            metadata_params=params,
        )
    loops = step

    def inner(scope: Tree, x: Tree) -> Tree:
        return loops(scope, x)[0]

    return inner
