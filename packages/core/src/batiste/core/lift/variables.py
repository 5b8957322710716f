"""Lifted changes of variables: `map_variables`, `swap_collection`, `fold_rngs`, ..."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from ..config import config
from ..scope.filters import Filter, in_filter, subtract_filters, union_filters
from ..scope.keys import LazyRng
from ..scope.nested_dicts import snapshot
from ..types import Function, Tree
from .axes import VariableAxes
from .pack import Lifted, Repack, VariableGroup, VariableGroups, pack
from .streams import RngGroups, without_suffix

__all__ = ["add_metadata_axis", "fold_rngs", "map_variables", "swap_collection"]

T = TypeVar("T")


def id_fn(x: T) -> T:
    """Returns its argument.

    >>> id_fn(3)
    3
    """
    return x


def map_variables(
    fn: Function,
    mapped_collections: Filter,
    map_in_fn: Callable[[Tree], Tree] = id_fn,
    map_out_fn: Callable[[Tree], Tree] = id_fn,
    init: bool = False,
    mutable: bool = False,
    rngs: Filter = True,
    variables: Filter = True,
) -> Function:
    """Lets a function of a scope see variables through a function.

    Args:
      fn: a function whose first argument is a scope or a pytree of them.
      mapped_collections: the collections that are mapped.
      map_in_fn: takes a dict of the collections, and returns what `fn` shall see.
      map_out_fn: takes what `fn` left behind, and returns what to store. Used only with
        `init` or `mutable`.
      init: whether to run `fn` once beforehand, on variables that are not mapped, and
        store what it makes through `map_out_fn`. For use while initializing.
      mutable: whether `fn` may change the collections.
      rngs: the PRNG streams that are lifted in.
      variables: the other collections that are lifted in.

    Returns:
      A function of the same arguments.

    Raises:
      As `pack`.

    >>> import jax, jax.numpy as jnp
    >>> from batiste.core import apply, nn
    >>> def transposed(variables):
    ...     return {"params": {"kernel": variables["params"]["kernel"].T}}
    >>> decode = map_variables(nn.dense, "params", transposed)
    >>> params = {"params": {"kernel": jnp.ones((4, 3))}}
    >>> apply(decode)(params, jnp.ones((1, 3)), 4, bias=False).shape
    (1, 4)
    """
    changes = init or mutable
    others = subtract_filters(variables, mapped_collections)

    def inner(
        scope_fn: Lifted,
        repack_fn: Repack,
        variable_groups: VariableGroups,
        rng_groups: RngGroups,
        *args: Tree,
        **kwargs: Tree,
    ) -> tuple[Tree, VariableGroups]:
        target, rest = variable_groups
        # The functions may change the dicts that they get.
        target = tuple(snapshot(collections) for collections in target)
        if init and scope_fn.can_change(mapped_collections):
            scopes = scope_fn((target, rest), rng_groups)
            scope_fn.run(fn, scopes, *args, **kwargs)
            made, _ = repack_fn(scopes)
            target = tuple(
                {**old, **map_out_fn(snapshot(new))}
                for old, new in zip(target, made, strict=True)
            )
        target = tuple(map_in_fn(snapshot(collections)) for collections in target)
        scopes = scope_fn((target, rest), rng_groups)
        y = scope_fn.run(fn, scopes, *args, **kwargs)
        changed, rest = repack_fn(scopes)
        if changes:
            changed = tuple(map_out_fn(collections) for collections in changed)
        return y, scope_fn.only_mutable((changed, rest))

    return pack(
        inner,
        (mapped_collections, others),
        (mapped_collections if changes else False, others),
        (rngs,),
        name="map_variables",
        enable_kwargs=True,
    )


def swap_collection(fn: Function, col_a: str, col_b: str) -> Function:
    """Lets a function of a scope see two collections under each other's name.

    Args:
      fn: a function whose first argument is a scope or a pytree of them.
      col_a: one collection.
      col_b: the other collection.

    Returns:
      A function of the same arguments. What may be changed is swapped as well.

    Raises:
      As `pack`.

    >>> from batiste.core import apply
    >>> read = lambda scope: scope.get_variable("params", "w")
    >>> apply(swap_collection(read, "params", "ema"))({"ema": {"w": 3}})
    3
    """
    names = {col_a: col_b, col_b: col_a}

    def swap(group: VariableGroup) -> VariableGroup:
        return tuple({names[c]: p for c, p in part.items()} for part in group)

    def rename(mutable: Filter) -> Filter:
        swapped = {names[col] for col in names if in_filter(mutable, col)}
        return union_filters(subtract_filters(mutable, list(names)), swapped)

    def inner(
        scope_fn: Lifted,
        repack_fn: Repack,
        variable_groups: VariableGroups,
        rng_groups: RngGroups,
        *args: Tree,
        **kwargs: Tree,
    ) -> tuple[Tree, VariableGroups]:
        swapped, rest = variable_groups
        scopes = scope_fn((swap(swapped), rest), rng_groups, rename=rename)
        y = scope_fn.run(fn, scopes, *args, **kwargs)
        swapped, rest = repack_fn(scopes)
        return y, (swap(swapped), rest)

    groups = ([col_a, col_b], True)
    return pack(
        inner, groups, groups, (True,), name="swap_collection", enable_kwargs=True
    )


def add_metadata_axis(
    fn: Function,
    variable_axes: Mapping[Filter, Any] = {},
    metadata_params: Mapping[Any, Any] = {},
) -> Function:
    """Tells boxes of an axis that variables have outside of a function of a scope.

    For arrays that have an axis which no lifted transform gave them: only the boxes
    (`AxisMetadata`) change, as `vmap` and `scan` would change them.

    Args:
      fn: a function whose first argument is a scope or a pytree of them.
      variable_axes: from filters of collections to the axis; `In(axis)` or `Out(axis)`
        for collections whose boxes lose the axis on the way in, or gain it on the way
        out, and not both.
      metadata_params: what the boxes are told about the axis.

    Returns:
      A function of the same arguments.

    Raises:
      PartitioningUnspecifiedError: a partitioned variable gains or loses the axis,
        and `metadata_params` does not say what it is called.
      As `pack`.

    >>> from batiste.core import init
    >>> init(add_metadata_axis(lambda scope: 1, {"params": 0}))({})[0]
    1
    """
    axes = VariableAxes(variable_axes, metadata_params)

    def inner(
        scope_fn: Lifted,
        repack_fn: Repack,
        variable_groups: VariableGroups,
        rng_groups: RngGroups,
        *args: Tree,
        **kwargs: Tree,
    ) -> tuple[Tree, VariableGroups]:
        *groups, rest = variable_groups
        scopes = scope_fn((*axes.enter(groups, scope_fn.roots), rest), rng_groups)
        y = scope_fn.run(fn, scopes, *args, **kwargs)
        *groups, rest = repack_fn(scopes)
        return y, (*axes.leave(groups, scope_fn.roots), rest)

    return pack(
        inner,
        (*axes.in_filters, True),
        (*axes.out_filters, True),
        (True,),
        name="add_metadata_axis",
        enable_kwargs=True,
    )


def fold_rngs(fn: Function, variables: Filter = True, rngs: Filter = True) -> Function:
    """Starts the PRNG streams of a function of a scope from keys of its own.

    For each stream a key is drawn, which is the base key inside: the path of the
    scope and the count are folded in at once, and inside, keys are told apart by what
    follows. They differ from those without `fold_rngs`. With config `jit_folds_rngs`
    nothing is drawn or folded in here: the streams start from the base keys that the
    scopes have. Give it `scope.folded()` to tell them apart.

    Args:
      fn: a function whose first argument is a scope or a pytree of them.
      variables: the collections that are lifted in.
      rngs: the PRNG streams that are lifted in.

    Returns:
      A function of the same arguments.

    Raises:
      As `pack`.

    >>> import jax
    >>> from batiste.core import init
    >>> suffix = lambda scope: scope.rngs["params"].suffix
    >>> def model(scope):
    ...     child = scope.push("child")
    ...     return suffix(child), fold_rngs(suffix)(child)
    >>> init(model)(jax.random.key(0))[0]
    (('child',), ())
    """

    def inner(
        scope_fn: Lifted,
        repack_fn: Repack,
        variable_groups: VariableGroups,
        rng_groups: RngGroups,
        *args: Tree,
        **kwargs: Tree,
    ) -> tuple[Tree, VariableGroups]:
        if config.jit_folds_rngs:
            folded = without_suffix(rng_groups)
        else:
            folded = tuple(
                tuple(
                    {stream: LazyRng(root.make_rng(stream)) for stream in streams}
                    for root, streams in zip(scope_fn.roots, group, strict=True)
                )
                for group in rng_groups
            )
        scopes = scope_fn(variable_groups, folded)
        y = scope_fn.run(fn, scopes, *args, **kwargs)
        return y, repack_fn(scopes)

    return pack(
        inner,
        (variables,),
        (variables,),
        (rngs,),
        name="fold_rngs",
        enable_kwargs=True,
    )
