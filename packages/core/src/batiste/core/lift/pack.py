"""The engine of lifting: scopes to variables and keys, and back."""

from __future__ import annotations

import contextlib
import functools
import operator
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias, TypeVar

import jax
import numpy as np

from ..config import config
from ..errors import InvalidArgumentError
from ..scope.filters import Filter, NameSet, group_by_names, in_filter
from ..scope.keys import LazyRng, RngCounters
from ..scope.nested_dicts import snapshot
from ..scope.scope import Scope
from ..scope.tree import Origin
from ..scope.tree import Tree as ScopeTree
from ..types import Collection, Function, Path, Tree
from .streams import RngGroups, add_fallbacks, fallback_places

__all__ = [
    "Lifted",
    "PackFilters",
    "PerScope",
    "Repack",
    "VariableGroup",
    "VariableGroups",
    "pack",
    "update_groups",
    "variables_by_name",
]

T = TypeVar("T")

VariableGroup: TypeAlias = tuple[dict[str, Any], ...]
"""For each lifted root scope, its part of the collections that a filter selects."""

VariableGroups: TypeAlias = tuple[VariableGroup, ...]
"""For each filter its group."""

Repack: TypeAlias = Callable[[Tree], VariableGroups]
"""Takes the variables that may have changed out of inner scopes."""


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
    filters = PackFilters.of(in_variable_filters, out_variable_filters, rng_filters)

    def wrapper(scope_tree: Any, *args: Any, **kwargs: Any) -> Any:
        if kwargs and not enable_kwargs:
            raise TypeError(
                f"The lifted {name or 'function'} takes no keyword arguments, but was "
                f"given {sorted(kwargs)}. Pass them by position."
            )
        lifted = Lifted(scope_tree, filters, name)
        try:
            try:
                # Who uses an outer scope from now on has closed over it: he is told so.
                for root in lifted.roots:
                    root.tree.lifted.append(name or "function")
                y, out_groups = fn(
                    lifted,
                    lifted.repack,
                    lifted.variable_groups(),
                    lifted.rng_groups(),
                    *args,
                    **kwargs,
                )
                lifted.commit(out_groups)
            except BaseException:
                lifted.restore_counters()
                raise
            finally:
                lifted.close()
        except BaseException:
            lifted.close()  # an interrupt may have come before or within the above
            raise
        return y

    return wrapper


class PackFilters(NamedTuple):
    """The filters of a lifted function.

    Attributes:
      ins: what collections go in, by groups.
      outs: what collections come out, by groups.
      rngs: what PRNG streams go in, by groups.
      mutable: what collections may be changed inside: those that come out.
      fallbacks: which groups streams belong to that are treated unlike what they fall
        back to where they are not given.

    >>> filters = PackFilters.of([True], ["state", "cache"], [])
    >>> "cache" in filters.mutable, "params" in filters.mutable
    (True, False)
    """

    ins: tuple[NameSet, ...]
    outs: tuple[NameSet, ...]
    rngs: tuple[NameSet, ...]
    mutable: NameSet
    fallbacks: tuple[tuple[str, int], ...]

    @classmethod
    def of(
        cls, ins: Sequence[Filter], outs: Sequence[Filter], rngs: Sequence[Filter]
    ) -> PackFilters:
        """Makes sets of names of the filters, which is remembered for simple ones.

        Raises:
          InvalidFilterError: a filter is none.
        """
        if _REMEMBERED.issuperset(map(type, (*ins, *outs, *rngs))):
            return _remembered_sets(tuple(ins), tuple(outs), tuple(rngs))
        return _sets(ins, outs, rngs)


# Filters of these types are equal only if they select the same names for good.
_REMEMBERED = frozenset({bool, str, tuple})


def _sets(
    ins: Sequence[Filter], outs: Sequence[Filter], rngs: Sequence[Filter]
) -> PackFilters:
    in_sets, out_sets, rng_sets = (
        tuple(map(NameSet.of, filters)) for filters in (ins, outs, rngs)
    )
    mutable = functools.reduce(operator.or_, out_sets, NameSet.of(False))
    return PackFilters(in_sets, out_sets, rng_sets, mutable, fallback_places(rng_sets))


_remembered_sets = functools.lru_cache(maxsize=1024)(_sets)


class _Root(NamedTuple):
    """What an inner scope takes from the outer one.

    A transform may make inner scopes after the call, when the outer scopes are gone.
    """

    name: str | None
    mutable: Filter
    path: Path
    debug_path: Path
    flags: Mapping[str, Any]
    origin: Origin


class Lifted:
    """The scopes of one call of a lifted function; calling it makes the inner scopes.

    Args:
      scope_tree: the scopes from outside, a pytree.
      filters: what is lifted.
      name: the transform's name, for debug paths and messages.

    Attributes:
      roots: the scopes given from outside that lie in none of the others.
      counters: for each root, the counters that inner scopes share. They are those of
        the outer scopes, unless a transform puts others in their place for a while.
      per_scope: translates between values for the roots and for all scopes.
    """

    def __init__(self, scope_tree: Tree, filters: PackFilters, name: str | None):
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
            scope.check_usable()
        self._filters = filters
        self._name = name
        self.roots, places = _deduplicate(scopes)
        self.per_scope = PerScope(self._treedef, places)
        self._outside: list[_Root] = []
        self.counters: list[RngCounters] = []
        # What there is to draw keys from can be drawn back; elsewhere nothing is drawn.
        self._saved: list[RngCounters | None] = []
        self._before: list[tuple[ScopeTree, int, bool]] = []
        for root in self.roots:
            tree = root.tree
            self._before.append((tree, len(tree.lifted), tree.closed))
            counters = root.counters
            self.counters.append(counters)
            self._saved.append(counters.copy() if tree.rngs else None)
            mutable = root.mutable
            origin = Origin(
                name or "function",
                mutable,
                tuple(tree.rngs),
                tuple(tree.variables),
                filters.ins,
                tree.origin,
            )
            self._outside.append(
                _Root(
                    root.name, mutable, root.path, root.debug_path, root.flags, origin
                )
            )
        # Weakly, as the variables of inner scopes belong to a JAX trace that must not
        # be kept alive.
        self._trees: list[weakref.ref[ScopeTree]] = []

    @property
    def places(self) -> str:
        """The paths of the roots, quoted, for messages."""
        return ", ".join([f'"{root.path_text}"' for root in self.roots])

    # Stage 2: groups.

    def variable_groups(self) -> VariableGroups:
        """Returns the collections of the roots, by the filters of what goes in."""
        per_root = []
        for root in self.roots:
            parts = root.collections()
            if root.mutable is not False:
                for col, part in parts.items():
                    # What may change is copied: the groups are as it was at the start.
                    if root.is_mutable_collection(col):
                        parts[col] = snapshot(part)
            per_root.append(group_by_names(parts, self._filters.ins))
        return tuple(zip(*per_root, strict=True))

    def rng_groups(self) -> RngGroups:
        """Returns the PRNG streams of the roots, by their filters."""
        per_root = [
            group_by_names(root.rngs, self._filters.rngs) for root in self.roots
        ]
        if self._filters.fallbacks and config.split_fallback and config.rng_fallback:
            for root, groups in zip(self.roots, per_root, strict=True):
                add_fallbacks(groups, root.rngs, self._filters.fallbacks)
        return tuple(zip(*per_root, strict=True))

    # Stage 4: scopes inside.

    def __call__(
        self,
        variable_groups: Sequence[Sequence[Mapping[str, Any]]],
        rng_groups: Sequence[Sequence[Mapping[str, LazyRng]]],
        mutable_filter: Filter = True,
        rename: Callable[[Filter], Filter] | None = None,
    ) -> Any:
        """Makes the inner scopes.

        Args:
          variable_groups: their variables, as `variable_groups` returns them.
          rng_groups: their PRNG streams, as `rng_groups` returns them.
          mutable_filter: what may be changed, of what may be changed outside.
          rename: maps the filter of what is mutable outside to that inside, for a
            transform that renames collections.

        Returns:
          The scopes, in the pytree of the outer ones.
        """
        roots = []
        for index, outside in enumerate(self._outside):
            mutable = outside.mutable if rename is None else rename(outside.mutable)
            if mutable is not False:
                mutable = self._mutable_inside(mutable, mutable_filter)
            variables: dict[str, Any] = {}
            for group in variable_groups:
                variables.update(group[index])
            if mutable is not False:
                for col, part in variables.items():
                    if in_filter(mutable, col):
                        variables[col] = snapshot(part)
            rngs: dict[str, LazyRng] = {}
            for streams in rng_groups:
                rngs.update(streams[index])
            debug_path = outside.debug_path
            if self._name is not None:
                *above, last = debug_path or ("",)
                debug_path = (*above, f"{self._name}({last})")
            inner = Scope(
                variables,
                rngs=rngs,
                name=outside.name,
                mutable=mutable,
                path=outside.path,
                debug_path=debug_path,
                flags=outside.flags,
            )
            inner.tree.origin = outside.origin
            inner.count_on(self.counters[index])
            self._trees.append(weakref.ref(inner.tree))
            roots.append(inner)
        scopes = []
        for index, path in self.per_scope.places:
            scope = roots[index]
            for name in path:
                scope = scope.below(name)
            scopes.append(scope)
        return jax.tree.unflatten(self._treedef, scopes)

    def run(self, fn: Function, scopes: Tree, *args: Tree, **kwargs: Tree) -> Tree:
        """Returns `fn(scopes, *args, **kwargs)`, where no outer scope may be used.

        For transforms that run `fn` at the trace level of the outer scopes. Elsewhere
        these see it by themselves.

        Args:
          fn: the function.
          scopes: the inner scopes.
          *args: other arguments.
          **kwargs: keyword arguments.
        """
        before = [(root.tree, root.tree.closed) for root in self.roots]
        try:
            for tree, _ in before:
                tree.closed = True
            return fn(scopes, *args, **kwargs)
        finally:
            for tree, closed in before:
                tree.closed = closed

    def _mutable_inside(self, outside: Filter, mutable_filter: Filter) -> Filter:
        names = NameSet.of(outside) & self._filters.mutable
        return (names & NameSet.of(mutable_filter)).as_filter()

    # Stage 5: variables out of the inner scopes.

    def repack(self, scope_tree: Tree) -> VariableGroups:
        """Returns the mutable collections, by the filters of what comes out."""
        scopes = self._treedef.flatten_up_to(scope_tree)
        per_root = []
        for scope in self.per_scope.only_roots(scopes):
            parts = {}
            if scope.mutable is not False:
                is_mutable = scope.is_mutable_collection
                parts = {c: p for c, p in scope.collections().items() if is_mutable(c)}
            per_root.append(group_by_names(parts, self._filters.outs))
        return tuple(zip(*per_root, strict=True))

    def only_mutable(self, groups: Sequence[VariableGroup]) -> VariableGroups:
        """Returns groups without the collections that the roots may not change."""
        if not any(map(any, groups)):
            return tuple(groups)
        kept = []
        for group in groups:
            parts = []
            for root, part in zip(self.roots, group, strict=True):
                if root.mutable is False:
                    parts.append({})
                else:
                    is_mutable = root.is_mutable_collection
                    parts.append({c: p for c, p in part.items() if is_mutable(c)})
            kept.append(tuple(parts))
        return tuple(kept)

    def can_change(self, *filters: Filter) -> bool:
        """Returns whether any collection that a filter selects may be changed."""
        for root in self.roots:
            if root.mutable is not False:
                mutable = NameSet.of(root.mutable)
                if any(mutable & NameSet.of(selected) for selected in filters):
                    return True
        return False

    # Stage 6: variables into the outer scopes.

    def commit(self, out_groups: Sequence[Sequence[Mapping[str, Any]]]) -> None:
        """Puts what came out of the transform into the roots."""
        for group in out_groups:
            for root, parts in zip(self.roots, group, strict=True):
                for col, part in parts.items():
                    for name, value in part.items():
                        root.put_variable(col, name, value)

    def close(self) -> None:
        """Ends the life of all inner scopes, and gives the outer ones back."""
        for tree, depth, closed in self._before:
            del tree.lifted[depth:]
            tree.closed = closed
        for ref in self._trees:
            tree = ref()
            if tree is not None:
                tree.invalid = True
        self.roots = []
        self._before = []

    # Counters of keys.

    def restore_counters(self) -> None:
        """Undoes what inner scopes have drawn."""
        for root, saved in zip(self.roots, self._saved, strict=True):
            if saved is not None:
                root.counters.assign(saved)

    @contextlib.contextmanager
    def counting_on(self, counters: list[RngCounters]) -> Iterator[list[RngCounters]]:
        """Gives other counters to the inner scopes that a `with` block makes."""
        before = self.counters
        self.counters = counters
        try:
            yield counters
        finally:
            self.counters = before

    def from_start(self, fn: Function) -> Function:
        """Lets `fn` draw the keys that a first user of the scopes would draw.

        For a function that is one of several of which only one is run, or that JAX
        may call at any time. The outer scopes count on from the highest counts.
        """
        saved = [state or RngCounters() for state in self._saved]

        @functools.wraps(fn)
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            with self.counting_on([state.copy() for state in saved]) as counters:
                result = fn(*args, **kwargs)
                # None are left if JAX calls it after the end of the lifted call.
                for root, state in zip(self.roots, counters, strict=False):
                    root.counters.raise_to(state)
                return result

        return wrapper

    # Checks.

    def check_unchanged(
        self, transform: str, before: VariableGroup, after: VariableGroup
    ) -> None:
        """Raises if the variables of a group changed in their names or shapes.

        Raises:
          InvalidArgumentError: they did.
        """
        old_leaves, old_def = jax.tree.flatten(before)
        new_leaves, new_def = jax.tree.flatten(after)
        old_shapes, new_shapes = map(np.shape, old_leaves), map(np.shape, new_leaves)
        if old_def == new_def and list(old_shapes) == list(new_shapes):
            return
        for root, old_part, new_part in zip(self.roots, before, after, strict=True):
            old, new = variables_by_name(old_part), variables_by_name(new_part)
            for name in sorted({*old} ^ {*new}):
                what = "makes" if name in new else "drops"
                raise InvalidArgumentError(
                    f'The body of the {transform} of scope "{root.path_text}" {what} '
                    f'the variable "{name}", but variables that are carried must be '
                    "there from the start to the end. Make it before the loop."
                )
            for name, leaf in new.items():
                if np.shape(leaf) != np.shape(old[name]):
                    raise InvalidArgumentError(
                        f'The body of the {transform} of scope "{root.path_text}" '
                        f'changes the shape of the variable "{name}" from '
                        f"{np.shape(old[name])} to {np.shape(leaf)}, but variables "
                        "that are carried must keep theirs."
                    )


def update_groups(
    old: Sequence[Mapping[str, Any]], new: Sequence[Mapping[str, Any]]
) -> VariableGroup:
    """Returns a group with the collections of `new` in place of those of `old`.

    >>> update_groups(({"params": 1, "state": 2},), ({"state": 3},))
    ({'params': 1, 'state': 3},)
    """
    return tuple([{**a, **b} for a, b in zip(old, new, strict=True)])


def variables_by_name(collections: Collection) -> dict[str, Any]:
    """Returns all variables by their names, as `params/layer/kernel`.

    >>> variables_by_name({"params": {"layer": {"kernel": 1}}})
    {'params/layer/kernel': 1}
    """
    leaves = jax.tree_util.tree_leaves_with_path(collections)
    return {
        jax.tree_util.keystr(path, simple=True, separator="/"): leaf
        for path, leaf in leaves
    }


class PerScope:
    """Translates between values for root scopes and a pytree like that of all scopes.

    It is static data of what `vjp` returns, equal for equal pytrees and places.

    Attributes:
      treedef: the structure of the pytree.
      places: for each scope the index of its root, and the path from there.

    >>> per_scope = PerScope(jax.tree.structure((1, 2)), ((0, ()), (0, ("layer",))))
    >>> per_scope.unpack([{"params": {"layer": {"w": 1}}}])
    ({'params': {'layer': {'w': 1}}}, {'params': {'w': 1}})
    """

    def __init__(self, treedef: Any, places: tuple[tuple[int, Path], ...]):
        self.treedef = treedef
        self.places = places

    def only_roots(self, leaves: Sequence[T]) -> list[T]:
        """Returns of values for all scopes those for the roots."""
        if len(leaves) == 1:
            return list(leaves)
        found: dict[int, T] = {}
        for (index, path), leaf in zip(self.places, leaves, strict=True):
            if not path:
                found.setdefault(index, leaf)
        return [found[index] for index in range(len(found))]

    def pack(self, tree: Tree) -> VariableGroup:
        """Returns a group from a pytree of collections, without empty ones."""
        leaves = self.treedef.flatten_up_to(tree)
        return tuple(
            {col: snapshot(part) for col, part in collections.items() if part}
            for collections in self.only_roots(leaves)
        )

    def unpack(self, group: Sequence[Mapping[str, Any]]) -> Any:
        """Returns a pytree of collections from a group of variables."""
        parts = []
        for index, path in self.places:
            part: Any = group[index]
            for name in path:
                part = {c: v[name] for c, v in part.items() if name in v}
            parts.append(part)
        return jax.tree.unflatten(self.treedef, parts)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, PerScope):
            return NotImplemented
        return (self.treedef, self.places) == (other.treedef, other.places)

    def __hash__(self) -> int:
        return hash((self.treedef, self.places))


def _deduplicate(
    scopes: Sequence[Scope],
) -> tuple[list[Scope], tuple[tuple[int, Path], ...]]:
    """The scopes without any above them, and where from those all scopes are found."""
    if len(scopes) == 1:
        return list(scopes), ((0, ()),)
    given = {(scope.tree, scope.path) for scope in scopes}
    roots: list[Scope] = []
    index: dict[tuple[ScopeTree, Path], int] = {}
    tops = []
    for scope in scopes:
        tree, path = scope.tree, scope.path
        depth = 0
        while (tree, path[:depth]) not in given:
            depth += 1
        tops.append((tree, path[:depth]))
        if depth == len(path) and (tree, path) not in index:
            index[tree, path] = len(roots)
            roots.append(scope)
    places = [
        (index[top], scope.path[len(top[1]) :])
        for scope, top in zip(scopes, tops, strict=True)
    ]
    return roots, tuple(places)
