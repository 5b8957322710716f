"""The engine of lifting: scopes to variables and keys, and back."""

from __future__ import annotations

import functools
import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import jax
import numpy as np

from ..partial_eval import path_name
from ..scope.filters import (
    Filter,
    group_collections,
    in_filter,
    intersect_filters,
    is_filter_empty,
    union_filters,
)
from ..scope.keys import RngCounters
from ..scope.nested_dicts import snapshot
from ..scope.scope import Scope

__all__ = [
    "Lifted",
    "PerScope",
    "pack",
    "tree_map_rngs",
    "update_groups",
    "variable_names",
]

T = TypeVar("T")

# For each filter, for each lifted root scope, its part of the collections.
VariableGroups = tuple[tuple[dict[str, Any], ...], ...]


def tree_map_rngs(fn: Callable[[Any], Any], tree: T) -> T:
    """Applies `fn` to the base key of every PRNG stream in a tree.

    Suffixes stay as they are, so that the keys that are drawn from a stream go on
    being told apart by the path of the scope and by their count.

    >>> import jax
    >>> from batiste.core.scope import LazyRng
    >>> streams = {"dropout": LazyRng.create(jax.random.key(0), "encoder")}
    >>> tree_map_rngs(lambda key: jax.random.split(key, 3), streams)["dropout"].suffix
    ('encoder',)
    """
    return jax.tree.map(fn, tree)


def pack(
    fn: Callable[..., Any],
    in_variable_filters: Sequence[Filter],
    out_variable_filters: Sequence[Filter],
    rng_filters: Sequence[Filter],
    name: str | None = None,
    enable_kwargs: bool = False,
) -> Callable[..., Any]:
    """Lifts a transform of functions of arrays to functions of scopes.

    The function that is returned takes a scope, or any pytree of scopes, and
    arguments. It (1) finds the scopes that lie in none of the others, (2) splits
    their variables and PRNG streams into groups, (3) calls `fn`, which moves the
    groups into a JAX transform, where it (4) makes scopes of them again, uses them,
    and (5) takes the changed variables out of them; (6) those are put back into the
    scopes from outside.

    Args:
      fn: called as `fn(scope_fn, repack_fn, variable_groups, rng_groups, *args)`.
        `variable_groups` has for each filter, and in it for each scope of step 1, a
        dict of collections; `rng_groups` likewise dicts from streams to `LazyRng`.
        `scope_fn(variable_groups, rng_groups, mutable_filter=True)` makes the scopes,
        in the pytree that was given. `repack_fn(scopes)` gives groups for the out
        filters, of the mutable collections only. `fn` returns a pair: the result, and
        what `repack_fn` returned, as it came out of the transform.
      in_variable_filters: what collections to lift in. A collection is in the group
        of the first filter that selects it; those that none selects are not there
        inside.
      out_variable_filters: what collections may be changed or made inside.
      rng_filters: what PRNG streams to lift in, grouped in the same way.
      name: the transform's name, shown in the paths of errors.
      enable_kwargs: whether keyword arguments are passed on to `fn`.

    Raises:
      InvalidFilterError: a filter is none.
      TypeError: (when called) no scope is given, or something that is none; or
        keyword arguments without `enable_kwargs`.
      InvalidScopeError: (when called) a scope's call has ended.
      JaxTransformError: (when called) a scope comes from outside of a transform.

    >>> import jax, numpy as np
    >>> from batiste.core import init
    >>> def lift_negate(fn):
    ...     def inner(scope_fn, repack_fn, variable_groups, rng_groups):
    ...         variable_groups = jax.tree.map(lambda x: -x, variable_groups)
    ...         return fn(scope_fn(variable_groups, rng_groups)), ()
    ...     return pack(inner, ["params"], [], [True])
    >>> def model(scope):
    ...     scope.param("w", jax.nn.initializers.ones, (2,))
    ...     return lift_negate(lambda scope: scope.get_variable("params", "w"))(scope)
    >>> print(init(model)(jax.random.key(0))[0])
    [-1. -1.]
    """
    in_filters = tuple(in_variable_filters)
    out_filters = tuple(out_variable_filters)
    rng_filters = tuple(rng_filters)
    mutable = functools.reduce(union_filters, out_filters, False)
    for filter_like in (*in_filters, *out_filters, *rng_filters):
        is_filter_empty(filter_like)  # raises if it is no filter

    def wrapper(scope_tree: Any, *args: Any, **kwargs: Any) -> Any:
        if kwargs and not enable_kwargs:
            raise TypeError(
                f"The lifted {name or 'function'} takes no keyword arguments, but was "
                f"given {sorted(kwargs)}. Pass them by position."
            )
        lifted = Lifted(scope_tree, mutable, out_filters, name)
        lifted.suspend_outside(1)
        try:
            y, out_groups = fn(
                lifted,
                lifted.repack,
                lifted.variable_groups(in_filters),
                lifted.rng_groups(rng_filters),
                *args,
                **kwargs,
            )
            lifted.commit(out_groups)
        except BaseException:
            lifted.restore_counters()
            raise
        finally:
            lifted.suspend_outside(-1)
            lifted.close()
        return y

    return wrapper


class Lifted:
    """The scopes of one call of a lifted function; calling it makes the inner scopes.

    Attributes:
      roots: the scopes given from outside that lie in none of the others.
      counters: for each root, the counters that inner scopes share. They are those of
        the outer scopes, unless a transform puts others in their place for a while.
    """

    def __init__(
        self,
        scope_tree: Any,
        mutable: Filter,
        out_filters: tuple[Filter, ...],
        name: str | None,
    ):
        scopes, self._treedef = jax.tree.flatten(scope_tree)
        if not scopes:
            raise TypeError("A lifted function needs at least one scope, but got none.")
        for scope in scopes:
            if not isinstance(scope, Scope):
                raise TypeError(
                    f"The first argument of the lifted {name or 'function'} must be a "
                    f"scope or a pytree of scopes, but holds a {type(scope).__name__}. "
                    "Pass arrays as further arguments."
                )
            scope._check_usable()
        self._mutable = mutable
        self._out_filters = out_filters
        self._name = name
        self.roots, places = _deduplicate(scopes)
        self.per_scope = PerScope(self._treedef, tuple(places))
        # All that inner scopes take from the outer ones. A transform may make them
        # after the call, when the outer scopes are gone.
        self._static = [
            (scope.name, scope.mutable, scope.path, scope.debug_path, scope.flags)
            for scope in self.roots
        ]
        self.counters = [scope._rng_state for scope in self.roots]
        self._saved = [
            state.copy() if scope.rngs else RngCounters()
            for scope, state in zip(self.roots, self.counters, strict=True)
        ]
        # Weakly, as the variables of inner scopes belong to a JAX trace that must not
        # be kept alive.
        self._trees: list[weakref.ref[Any]] = []

    # Stage 2: groups.

    def variable_groups(self, filters: tuple[Filter, ...]) -> VariableGroups:
        # What may change is copied: the groups are as it was when the call began.
        per_root = [
            group_collections(
                {
                    col: snapshot(part) if scope.is_mutable_collection(col) else part
                    for col, part in scope._own_variables().items()
                },
                filters,
            )
            for scope in self.roots
        ]
        return tuple(zip(*per_root, strict=True))

    def rng_groups(self, filters: tuple[Filter, ...]) -> tuple[Any, ...]:
        per_root = [group_collections(scope.rngs, filters) for scope in self.roots]
        return tuple(zip(*per_root, strict=True))

    # Stage 4: scopes inside.

    def __call__(
        self,
        variable_groups: Sequence[Sequence[Mapping[str, Any]]],
        rng_groups: Sequence[Sequence[Mapping[str, Any]]],
        mutable_filter: Filter = True,
        rename: Callable[[Filter], Filter] | None = None,
    ) -> Any:
        """The inner scopes, in the pytree of the outer ones.

        `rename` maps the filter of what is mutable outside to that inside, for a
        transform that renames collections.
        """
        roots = []
        for i, (name, mutable, path, debug_path, flags) in enumerate(self._static):
            if rename is not None:
                mutable = rename(mutable)
            mutable = intersect_filters(mutable, self._mutable)
            mutable = intersect_filters(mutable, mutable_filter)
            variables = {
                col: snapshot(part) if in_filter(mutable, col) else part
                for group in variable_groups
                for col, part in group[i].items()
            }
            rngs = {k: v for group in rng_groups for k, v in group[i].items()}
            inner = Scope(
                variables,
                rngs=rngs,
                name=name,
                mutable=mutable,
                path=path,
                debug_path=self._debug_path(debug_path),
                flags=flags,
            )
            inner._rng_state = self.counters[i]
            self._trees.append(weakref.ref(inner._tree))
            roots.append(inner)
        scopes = []
        for index, path in self.per_scope.places:
            scope = roots[index]
            for name in path:
                scope = scope._below(name)
            scopes.append(scope)
        return jax.tree.unflatten(self._treedef, scopes)

    def _debug_path(self, path: tuple[str, ...]) -> tuple[str, ...]:
        if self._name is None:
            return path
        return (*path[:-1], f"{self._name}({''.join(path[-1:])})")

    # Stage 5: variables out of the inner scopes.

    def repack(self, scope_tree: Any) -> VariableGroups:
        scopes = self._treedef.flatten_up_to(scope_tree)
        per_root = [
            group_collections(
                {
                    col: part
                    for col, part in scope._own_variables().items()
                    if scope.is_mutable_collection(col)
                },
                self._out_filters,
            )
            for scope in self.per_scope.only_roots(scopes)
        ]
        return tuple(zip(*per_root, strict=True))

    def only_mutable(self, groups: VariableGroups) -> VariableGroups:
        """Groups without the collections that the outer scopes may not change."""
        return tuple(
            tuple(
                {c: p for c, p in part.items() if scope.is_mutable_collection(c)}
                for scope, part in zip(self.roots, group, strict=True)
            )
            for group in groups
        )

    def can_change(self, filter_like: Filter) -> bool:
        """Whether any collection that the filter selects may be changed inside."""
        return not all(
            is_filter_empty(intersect_filters(scope.mutable, filter_like))
            for scope in self.roots
        )

    # Stage 6: variables into the outer scopes.

    def commit(self, out_groups: Sequence[Sequence[Mapping[str, Any]]]) -> None:
        for group in out_groups:
            for scope, collections in zip(self.roots, group, strict=True):
                for col, part in collections.items():
                    for name, value in part.items():
                        scope.put_variable(col, name, value)

    def suspend_outside(self, change: int) -> None:
        """Counts the lifted functions that run on the outer scopes' trees.

        Meanwhile, who uses an outer scope has closed over it, and is told so.
        """
        for scope in self.roots:
            scope._tree.lifted += change

    def close(self) -> None:
        """Ends the life of all inner scopes, and lets go of the outer ones."""
        for ref in self._trees:
            tree = ref()
            if tree is not None:
                tree.invalid = True
        self.roots = []

    # Counters of keys.

    def restore_counters(self) -> None:
        """Undoes what inner scopes have drawn."""
        for scope, saved in zip(self.roots, self._saved, strict=True):
            scope._rng_state.assign(saved)

    def from_start(self, fn: Callable[..., Any]) -> Callable[..., Any]:
        """Lets `fn` draw the keys that a first user of the scopes would draw.

        For a function that is one of several of which only one is run, or that JAX
        may call at any time. The outer scopes count on from the highest counts.
        """
        saved = self._saved

        @functools.wraps(fn)
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            before = self.counters
            self.counters = [state.copy() for state in saved]
            try:
                result = fn(*args, **kwargs)
                # None are left if JAX calls it after the end of the lifted call.
                for scope, state in zip(self.roots, self.counters, strict=False):
                    scope._rng_state.raise_to(state)
                return result
            finally:
                self.counters = before

        return wrapper

    # Checks.

    def has_new(self, before: Any, after: Any) -> bool:
        """Whether a group of variables has others than it had."""
        return jax.tree.structure(before) != jax.tree.structure(after)

    def check_unchanged(self, transform: str, before: Any, after: Any) -> None:
        """Raises if the variables of a group changed in their names or shapes."""
        for scope, old, new in zip(self.roots, before, after, strict=True):
            old, new = _flat(old), _flat(new)
            for name in sorted({*old} ^ {*new}):
                what = "makes" if name in new else "drops"
                raise TypeError(
                    f'The body of the {transform} of scope "{scope.path_text}" {what} '
                    f'the variable "{name}", but variables that are carried must be '
                    "there from the start to the end. Make it before the loop."
                )
            for name, leaf in new.items():
                if np.shape(leaf) != np.shape(old[name]):
                    raise TypeError(
                        f'The body of the {transform} of scope "{scope.path_text}" '
                        f'changes the shape of the variable "{name}" from '
                        f"{np.shape(old[name])} to {np.shape(leaf)}, but variables "
                        "that are carried must keep theirs."
                    )

    @property
    def path_text(self) -> str:
        """The paths of the outer scopes, for messages."""
        return ", ".join(scope.path_text for scope in self.roots)


def update_groups(old: Any, new: Any) -> tuple[dict[str, Any], ...]:
    """A group of variables with the collections of `new` in place of those of `old`."""
    return tuple({**a, **b} for a, b in zip(old, new, strict=True))


def variable_names(collections: Mapping[str, Any]) -> set[str]:
    """The names of all variables, as `params/layer/kernel`."""
    return set(_flat(collections))


def _flat(collections: Mapping[str, Any]) -> dict[str, Any]:
    leaves = jax.tree_util.tree_flatten_with_path(collections)[0]
    return {path_name(path): leaf for path, leaf in leaves}


class PerScope:
    """Translates between values for root scopes and a pytree like that of all scopes.

    Attributes:
      places: for each scope the index of its root, and the path from there.
    """

    def __init__(self, treedef: Any, places: tuple[tuple[int, tuple[str, ...]], ...]):
        self.treedef = treedef
        self.places = places

    def only_roots(self, leaves: Sequence[Any]) -> list[Any]:
        """Of values for all scopes, those for the roots."""
        count = 1 + max(index for index, _ in self.places)
        return [leaves[self.places.index((index, ()))] for index in range(count)]

    def pack(self, tree: Any) -> tuple[Any, ...]:
        """A group of variables from a pytree of collections, without empty ones."""
        leaves = self.treedef.flatten_up_to(tree)
        return tuple(
            {col: snapshot(part) for col, part in collections.items() if part}
            for collections in self.only_roots(leaves)
        )

    def unpack(self, group: Sequence[Mapping[str, Any]]) -> Any:
        """A pytree of collections from a group of variables."""
        parts = []
        for index, path in self.places:
            part: Any = group[index]
            for name in path:
                part = {c: v[name] for c, v in part.items() if name in v}
            parts.append(part)
        return jax.tree.unflatten(self.treedef, parts)

    # Part of the static data of what `vjp` returns.

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, PerScope):
            return NotImplemented
        return (self.treedef, self.places) == (other.treedef, other.places)

    def __hash__(self) -> int:
        return hash((self.treedef, self.places))


def _deduplicate(
    scopes: Sequence[Scope],
) -> tuple[list[Scope], list[tuple[int, tuple[str, ...]]]]:
    """The scopes without any above them, and where from those all scopes are found."""
    given = {(scope._tree, scope.path) for scope in scopes}
    roots: list[Scope] = []
    index: dict[Any, int] = {}
    tops = []
    for scope in scopes:
        tree, path = scope._tree, scope.path
        depth = next(d for d in range(len(path) + 1) if (tree, path[:d]) in given)
        tops.append((tree, path[:depth]))
        if depth == len(path) and (tree, path) not in index:
            index[tree, path] = len(roots)
            roots.append(scope)
    places = [
        (index[top], scope.path[len(top[1]) :])
        for scope, top in zip(scopes, tops, strict=True)
    ]
    return roots, places
