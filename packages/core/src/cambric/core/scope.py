"""Scopes: where a model's variables and PRNG streams live while it runs."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Generic, TypeVar

import jax
import numpy as np

from . import errors, meta
from .config import config
from .filters import (
    CollectionFilter,
    DenyList,
    Filter,
    PRNGSequenceFilter,
    filter_to_set,
    group_collections,
    in_filter,
    intersect_filters,
    is_filter_empty,
    subtract_filters,
    union_filters,
)
from .frozen_dict import FrozenDict
from .init_shapes import expected_shapes
from .rngs import LazyRng, RngCounters, is_rng, is_rng_dict
from .tracers import current_trace

__all__ = [
    "CollectionFilter",
    "DenyList",
    "Filter",
    "LazyRng",
    "PRNGSequenceFilter",
    "Scope",
    "Variable",
    "apply",
    "bind",
    "filter_to_set",
    "group_collections",
    "in_filter",
    "init",
    "intersect_filters",
    "is_filter_empty",
    "lazy_init",
    "subtract_filters",
    "union_filters",
]

T = TypeVar("T")

_EMPTY: Mapping[str, Any] = FrozenDict()
_MISSING = object()
no_flag = object()


class Variable(Generic[T]):
    """A handle on one variable: read and assign `value`.

    It is named by its collection (for example `"batch_stats"`) and its name (for
    example `"mean"`) within a scope. With `unbox`, values boxed in `AxisMetadata`
    are read without their box, and assigned into the box that is there.

    >>> def counter(scope):
    ...     count = scope.variable("state", "count", lambda: 0)
    ...     count.value += 1
    ...     return count.value
    >>> init(counter)(jax.random.key(0))[0]
    1
    """

    __slots__ = ("collection", "name", "scope", "unbox")

    def __init__(self, scope: Scope, collection: str, name: str, unbox: bool):
        self.scope = scope
        self.collection = collection
        self.name = name
        self.unbox = unbox

    @property
    def value(self) -> T:
        """The variable's present value.

        Raises:
          ScopeVariableNotFoundError: the variable has no value.
        """
        value = self.scope.get_variable(self.collection, self.name, _MISSING)
        if value is _MISSING:
            raise errors.ScopeVariableNotFoundError(
                self.name, self.collection, self.scope.path_text
            )
        return meta.unbox(value) if self.unbox else value

    @value.setter
    def value(self, value: T) -> None:
        if self.unbox:
            boxed = self.scope.get_variable(self.collection, self.name, _MISSING)
            if boxed is not _MISSING:
                value = meta.replace_boxed(boxed, value)
        self.scope.put_variable(self.collection, self.name, value)

    def is_mutable(self) -> bool:
        """Whether the variable's collection may be changed."""
        return self.scope.is_mutable_collection(self.collection)

    def __repr__(self) -> str:
        where = f"{self.collection}:{self.scope.path_text}/{self.name}"
        return f"Variable({where.replace('//', '/')})"


class Scope:
    """A place in a tree of variables, with the PRNG streams that feed it.

    A scope offers its own part of each variable collection, and child scopes
    (`push`, `child`) for the parts below it. A functional model is a function whose
    first argument is a scope; `init` and `apply` make the root scope, run the
    function and return what became of the variables.

    Args:
      variables: the collections, a mapping from collection names to nested dicts.
      rngs: a PRNG key for each stream.
      name: the scope's own name.
      mutable: a filter that selects the collections that may change.
      parent: the scope above, or None for a root.
      path: the names from the root to this scope.
      debug_path: the path to show to people, `path` when not given.
      flags: static data that every scope of the tree can read.

    >>> def dense(scope, x, features):
    ...     init_fn = jax.nn.initializers.ones
    ...     kernel = scope.param("kernel", init_fn, (x.shape[-1], features))
    ...     return x @ kernel
    >>> y, variables = init(dense)(jax.random.key(0), np.ones((1, 2)), 3)
    >>> y.shape, variables["params"]["kernel"].shape
    ((1, 3), (2, 3))
    """

    __slots__ = (
        "__weakref__",
        "_cursors",
        "_invalid",
        "_mutable_memo",
        "_rng_state",
        "_rngs",
        "_root",
        "_variables",
        "debug_path",
        "flags",
        "mutable",
        "name",
        "parent",
        "path",
        "reservations",
        "trace_level",
    )

    def __init__(
        self,
        variables: Mapping[str, Any],
        rngs: Mapping[str, Any] | None = None,
        name: str | None = None,
        mutable: CollectionFilter = False,
        parent: Scope | None = None,
        path: tuple[str, ...] = (),
        debug_path: tuple[str, ...] = (),
        flags: Mapping[str, Any] | None = None,
    ):
        self._variables: dict[str, Any] = dict(variables)
        self._rngs: dict[str, LazyRng] | None = {
            stream: rng if isinstance(rng, LazyRng) else LazyRng(rng)
            for stream, rng in (rngs or {}).items()
        }
        self._rng_state = RngCounters()
        self._cursors: dict[str, int] | None = None
        self._mutable_memo: dict[str, bool] = {}
        self._invalid = False
        self.name = name
        self.mutable = mutable
        self.parent = parent
        self.path = tuple(path)
        self.debug_path = tuple(debug_path) or self.path
        self.flags = flags if flags is not None else {}
        self.reservations: dict[str, set[str | None]] = {}
        self._root: Scope = self if parent is None else parent._root
        self.trace_level = current_trace()

    def _handle(self, name, parent, path, debug_path) -> Scope:
        """A bare scope of the same tree; the caller sets variables and streams."""
        new = Scope.__new__(Scope)
        new._cursors = None
        new._mutable_memo = self._mutable_memo
        new._invalid = False
        new._root = self._root
        new.name = name
        new.mutable = self.mutable
        new.parent = parent
        new.path = path
        new.debug_path = debug_path
        new.flags = self.flags
        new.reservations = {}
        new.trace_level = self.trace_level
        return new

    def __eq__(self, other: object) -> bool:
        """Two scopes are equal when they are handles on the same place of one tree."""
        if self is other:
            return True
        if not isinstance(other, Scope):
            return NotImplemented
        return self._root is other._root and self.path == other.path

    def __hash__(self) -> int:
        return hash((id(self._root), self.path))

    def __repr__(self) -> str:
        return f"Scope({self.path_text!r}, mutable={self.mutable!r})"

    # Place in the tree and lifetime.

    @property
    def root(self) -> Scope:
        """The scope at the top of the tree."""
        return self._root

    @property
    def path_text(self) -> str:
        """The path for people to read, `/` at the root."""
        return "/" + "/".join(self.debug_path)

    @property
    def invalid(self) -> bool:
        """Whether the call that this scope belongs to has ended."""
        return self._root._invalid

    @contextlib.contextmanager
    def temporary(self) -> Iterator[Scope]:
        """Gives the scope to a `with` block and invalidates it at its end."""
        try:
            yield self
        finally:
            self.invalidate()

    def invalidate(self) -> None:
        """Ends the life of the whole tree: later use raises `InvalidScopeError`."""
        self._root._invalid = True

    def _check_valid(self) -> None:
        if self._root._invalid:
            raise errors.InvalidScopeError(self.path_text)

    def _check_usable(self) -> None:
        """Raises unless the scope lives and JAX is at the scope's own trace level."""
        if self._root._invalid:
            raise errors.InvalidScopeError(self.path_text)
        if current_trace() != self.trace_level:
            raise errors.JaxTransformError(scope_path=self.path_text)

    def rewound(self, rewind_rngs: bool = False) -> Scope:
        """A scope at the same place with no names reserved.

        Names may be used a second time in it, which shares their variables. PRNG
        counters go on, or start again with `rewind_rngs`.

        Raises:
          InvalidScopeError: the call that the scope belongs to has ended.
        """
        self._check_valid()
        new = self._handle(self.name, self.parent, self.path, self.debug_path)
        new._variables = self._variables
        new._rngs = self._rngs
        new._rng_state = RngCounters() if rewind_rngs else self._rng_state
        return new

    # Names.

    def name_reserved(self, name: str, col: str | None = None) -> bool:
        """Whether `name` is taken by a child scope, or by a variable in `col`.

        With `col` None, whether anything has the name.
        """
        taken = self.reservations.get(name)
        return bool(taken) and (col is None or None in taken or col in taken)

    def reserve(self, name: str, col: str | None = None) -> None:
        """Takes a name for a child scope (`col` None) or for a variable in `col`.

        Raises:
          TypeError: the name is not a string.
          ValueError: the name is taken.
        """
        taken = self.reservations.get(name)
        if not taken:
            if not isinstance(name, str):
                raise TypeError(
                    f"A scope or variable name must be a string, but {name!r} in "
                    f'"{self.path_text}" is of type {type(name).__name__}.'
                )
            self.reservations[name] = {col}
        elif col is None or None in taken or col in taken:
            raise ValueError(
                f'Duplicate use of scope name: "{name}" in "{self.path_text}". Give '
                f"the second child or variable another name, or reuse the first."
            )
        else:
            taken.add(col)

    def default_name(self, prefix: str) -> str:
        """The first of `prefix0`, `prefix1`, ... that is not taken."""
        # Names are never given back, so that the search can start where it ended.
        if self._cursors is None:
            self._cursors = {}
        index = self._cursors.get(prefix, 0)
        while f"{prefix}{index}" in self.reservations:
            index += 1
        self._cursors[prefix] = index
        return f"{prefix}{index}"

    # Children.

    def push(
        self, name: str | None = None, prefix: str = "", reuse: bool = False
    ) -> Scope:
        """Opens a child scope.

        Args:
          name: the child's name; by default the first free one with `prefix`.
          prefix: what default names start with.
          reuse: whether the name may be taken already, which shares its variables.

        Raises:
          InvalidScopeError: the call that the scope belongs to has ended.
          JaxTransformError: the scope comes from outside of a JAX transformation.
          TypeError: the name is not a string.
          ValueError: the name is taken.
        """
        self._check_usable()
        if name is None:
            name = self.default_name(prefix)
        if not reuse or name not in self.reservations:
            self.reserve(name)
        new = self._handle(name, self, (*self.path, name), (*self.debug_path, name))
        new._variables = {}
        new._rngs = None
        new._rng_state = self._rng_state.child(name)
        return new

    def child(
        self,
        fn: Callable[..., Any],
        name: str | None = None,
        prefix: str | None = None,
        named_call: bool = True,
        **partial_kwargs: Any,
    ) -> Callable[..., Any]:
        """Gives `fn` a child scope of its own as its first argument.

        Each call of the result runs `fn` on the same variables.

        Args:
          fn: a function whose first argument is a scope.
          name: the child's name; by default made from `prefix` and a number.
          prefix: what the default name starts with, by default `fn`'s name.
          named_call: whether the name shows in JAX's profiles.
          **partial_kwargs: keyword arguments to pass to `fn`.

        Raises:
          As `push`.
        """
        if name is None:
            if prefix is None:
                prefix = getattr(fn, "__name__", type(fn).__name__) + "_"
            name = self.default_name(prefix)
        scope = self.push(name)

        def wrapper(*args: Any, **kwargs: Any) -> Any:
            kwargs = {**partial_kwargs, **kwargs}
            if not named_call:
                return fn(scope.rewound(), *args, **kwargs)
            with jax.named_scope(name):
                return fn(scope.rewound(), *args, **kwargs)

        return wrapper

    # Collections.

    def is_mutable_collection(self, col: str) -> bool:
        """Whether variables of the collection may be made and changed."""
        known = self._mutable_memo.get(col)
        if known is None:
            known = self._mutable_memo[col] = in_filter(self.mutable, col)
        return known

    def is_collection_empty(self, col: str) -> bool:
        """Whether no scope of the tree has a variable in the collection."""
        return not self._root._variables.get(col)

    def _collection(self, col: str) -> Mapping[str, Any]:
        """This scope's part of a collection, to read."""
        found = self._variables.get(col)
        if found is not None:
            return found
        if self.parent is None:
            return _EMPTY
        found = self.parent._collection(col).get(self.name, _MISSING)
        if not isinstance(found, Mapping):
            return _EMPTY
        self._variables[col] = found
        return found

    def _writable(self, col: str) -> dict[str, Any]:
        """This scope's part of a mutable collection, made if it is not there."""
        found = self._variables.get(col)
        if found is None:
            if self.parent is None:
                found = {}
            else:
                above = self.parent._writable(col)
                assert self.name is not None
                found = above.get(self.name)
                if not isinstance(found, dict):
                    found = above[self.name] = {}
            self._variables[col] = found
        return found

    def _own_variables(self) -> dict[str, Mapping[str, Any]]:
        own = {}
        for col in self._root._variables:
            part = self._collection(col)
            if part:
                own[col] = part
        return own

    def variables(self) -> Mapping[str, Any]:
        """This scope's part of every collection, as immutable nested dicts."""
        return _result(_snapshot(self._own_variables()))

    def mutable_variables(self) -> Mapping[str, Any]:
        """This scope's part of the mutable collections, as immutable nested dicts."""
        return _result(
            {
                col: _snapshot(part)
                for col, part in self._own_variables().items()
                if self.is_mutable_collection(col)
            }
        )

    # Variables.

    def has_variable(self, col: str, name: str) -> bool:
        """Whether the collection has a variable of this name in this scope."""
        return name in self._collection(col)

    def get_variable(self, col: str, name: str, default: Any = None) -> Any:
        """The variable's value, boxed if it is, or `default` if there is none."""
        found = self._collection(col)
        value = found.get(name, default)
        if type(value) is dict and type(found) is dict:
            if not self.is_mutable_collection(col):
                return FrozenDict(value, __unsafe_skip_copy__=True)
        return value

    def put_variable(self, col: str, name: str, value: Any) -> None:
        """Sets a variable; a mapping is merged into the mapping that is there.

        Raises:
          InvalidScopeError: the call that the scope belongs to has ended.
          JaxTransformError: the scope comes from outside of a JAX transformation.
          ModifyScopeVariableError: the collection is not mutable.
        """
        self._check_usable()
        if not self.is_mutable_collection(col):
            raise errors.ModifyScopeVariableError(col, name, self.path_text)
        _put(self._writable(col), name, value)

    def variable(
        self,
        col: str,
        name: str,
        init_fn: Callable[..., T] | None = None,
        *init_args: Any,
        unbox: bool = True,
        **init_kwargs: Any,
    ) -> Variable[T]:
        """Declares a variable and returns a handle on it.

        Args:
          col: the collection.
          name: the variable's name.
          init_fn: makes the first value, from `init_args` and `init_kwargs`. Called
            only if there is no value yet. None if there must be one.
          unbox: whether the handle hides `AxisMetadata` boxes.

        Raises:
          ScopeCollectionNotFound: there is no value, none can be made, and the
            collection is empty.
          ScopeVariableNotFoundError: there is no value and none can be made.
          ValueError: the name is taken in this scope.
          JaxTransformError: the scope comes from outside of a JAX transformation.
        """
        self.reserve(name, col)
        if name not in self._collection(col):
            if init_fn is None or not self.is_mutable_collection(col):
                if self.is_collection_empty(col):
                    raise errors.ScopeCollectionNotFound(
                        col, name, self.path_text, available=self._root._variables
                    )
                raise errors.ScopeVariableNotFoundError(
                    name, col, self.path_text, available=self._collection(col)
                )
            self._check_usable()
            self.put_variable(col, name, init_fn(*init_args, **init_kwargs))
        return Variable(self, col, name, unbox=unbox)

    def param(
        self,
        name: str,
        init_fn: Callable[..., T],
        *init_args: Any,
        unbox: bool = True,
        **init_kwargs: Any,
    ) -> T:
        """Declares a parameter and returns its value.

        Args:
          name: the parameter's name.
          init_fn: makes the value, from a fresh key of the stream "params",
            `init_args` and `init_kwargs`. When there is a value already, only its
            shape is compared with what `init_fn` would make.
          unbox: whether to return the value without its `AxisMetadata` box.

        Raises:
          InvalidRngError: there is no value and no "params" stream to make it from.
          ScopeCollectionNotFound: there are no parameters at all.
          ScopeParamNotFoundError: there is no value and "params" is immutable.
          ScopeParamShapeError: the value has another shape than `init_fn` makes.
          ValueError: the name is taken in this scope.
          JaxTransformError: the scope comes from outside of a JAX transformation.
        """
        self.reserve(name, "params")
        value = self._collection("params").get(name, _MISSING)
        if value is not _MISSING:
            if type(value) is dict:
                value = self.get_variable("params", name)
            shapes = expected_shapes(init_fn, init_args, init_kwargs)
            if len(shapes) != 1 or getattr(value, "shape", _MISSING) != shapes[0]:
                self._check_shapes(name, value, shapes)
        elif self.is_mutable_collection("params"):
            value = init_fn(self.make_rng("params"), *init_args, **init_kwargs)
            self.put_variable("params", name, value)
        elif self.is_collection_empty("params"):
            raise errors.ScopeCollectionNotFound(
                "params", name, self.path_text, available=self._root._variables
            )
        else:
            raise errors.ScopeParamNotFoundError(
                name, self.path_text, available=self._collection("params")
            )
        return meta.unbox(value) if unbox else value

    def _check_shapes(self, name: str, value: Any, shapes: tuple[Any, ...]) -> None:
        for leaf, shape in zip(jax.tree.leaves(value), shapes):
            if shape is not None and np.shape(leaf) != shape:
                raise errors.ScopeParamShapeError(
                    name, self.path_text, np.shape(leaf), shape
                )

    # PRNG streams.

    @property
    def rngs(self) -> dict[str, LazyRng]:
        """The scope's PRNG streams: base keys, and suffixes down to this scope."""
        if self._rngs is None:
            assert self.parent is not None and self.name is not None
            name = self.name
            self._rngs = {
                stream: LazyRng(rng.rng, (*rng.suffix, name))
                for stream, rng in self.parent.rngs.items()
            }
        return self._rngs

    @property
    def rng_counters(self) -> dict[str, int]:
        """How many keys this scope has drawn from each stream."""
        counts = self._rng_state.counts
        return {stream: counts.get(stream, 0) for stream in self._root.rngs}

    def has_rng(self, name: str) -> bool:
        """Whether there is a PRNG stream of this name."""
        root_rngs = self._root._rngs
        return root_rngs is not None and name in root_rngs

    def make_rng(self, name: str = "params") -> jax.Array:
        """Draws a fresh PRNG key from a stream.

        The key depends on the stream's base key, the path of this scope and the
        number of keys drawn here before. A stream that was not given falls back to
        "params", if there is that.

        Raises:
          InvalidRngError: there is no such stream, nor a stream "params".
          InvalidScopeError: the call that the scope belongs to has ended.
          JaxTransformError: the scope comes from outside of a JAX transformation.
        """
        rngs = self.rngs
        if name not in rngs:
            if "params" not in rngs:
                raise errors.InvalidRngError(
                    f'"{self.path_text}" needs a PRNG key for the stream "{name}", but '
                    f"the call was given {sorted(rngs) or 'no streams'}. Pass "
                    f'rngs={{"{name}": key}} to init or apply.'
                )
            name = "params"
        self._check_usable()
        counts = self._rng_state.counts
        count = counts[name] = counts.get(name, 0) + 1
        lazy = rngs[name]
        return LazyRng(lazy.rng, (*lazy.suffix, count)).as_jax_rng()

    # Flags.

    def has_flag(self, key: str) -> bool:
        """Whether the call that made the root set this flag."""
        return key in self.flags

    def get_flag(self, key: str, default: Any = no_flag) -> Any:
        """The flag's value, or `default`.

        Raises:
          ValueError: the flag is not set and there is no default.
        """
        value = self.flags.get(key, default)
        if value is no_flag:
            raise ValueError(
                f'The flag "{key}" is not set on the scope "{self.path_text}". Flags '
                f"that are set: {sorted(self.flags) or 'none'}."
            )
        return value


def _put(target: dict[str, Any], key: str, value: Any) -> None:
    old = target.get(key)
    if isinstance(old, dict) and isinstance(value, Mapping):
        for name, part in value.items():
            _put(old, name, part)
    else:
        target[key] = value


def _snapshot(tree: Any) -> Any:
    """A copy of the dicts of a tree, not of its leaves."""
    if isinstance(tree, Mapping):
        return {key: _snapshot(value) for key, value in tree.items()}
    return tree


def _entries(col: Mapping[str, Any]) -> Mapping[str, Any]:
    # Nested dicts read faster than a FrozenDict, which wraps what it gives out.
    return col._dict if type(col) is FrozenDict else col


def _result(tree: dict[str, Any]) -> Any:
    if config.return_frozendict:
        return FrozenDict(tree, __unsafe_skip_copy__=True)
    return tree


def _check_variables(variables: Any) -> None:
    if not isinstance(variables, Mapping) or not all(
        isinstance(name, str) and isinstance(col, Mapping)
        for name, col in variables.items()
    ):
        raise errors.ApplyScopeInvalidVariablesTypeError(found=variables)
    params = variables.get("params")
    if params is not None and "params" in params:
        if isinstance(params["params"], Mapping):
            raise errors.ApplyScopeInvalidVariablesStructureError(variables)


def _as_rngs(rngs: Any, call: str) -> Mapping[str, Any]:
    if rngs is None:
        return {}
    if is_rng(rngs):
        return {"params": rngs}
    if not is_rng_dict(rngs):
        raise errors.InvalidRngError(
            f"The rngs passed to {call} must be one PRNG key, as jax.random.key(0) "
            f"makes it, or a dict from stream names (str) to such keys, but they are "
            f"of type {type(rngs).__name__}{_first_bad_rng(rngs)}."
        )
    return rngs


def _first_bad_rng(rngs: Any) -> str:
    if not isinstance(rngs, Mapping):
        return ""
    for name, rng in rngs.items():
        if not isinstance(name, str) or not is_rng(rng):
            return f" with the entry {name!r} of type {type(rng).__name__}"
    return ""


def bind(
    variables: Mapping[str, Any],
    rngs: Any = None,
    mutable: CollectionFilter = False,
    flags: Mapping[str, Any] | None = None,
) -> Scope:
    """Makes a root scope over variables, with an unlimited life.

    The variables are not changed, nor copied unless they are mutable.

    Args:
      variables: a mapping from collection names to nested dicts of arrays.
      rngs: a PRNG key for each stream, or one key for the stream "params".
      mutable: a filter that selects the collections that may change.
      flags: static data that every scope of the tree can read.

    Raises:
      ApplyScopeInvalidVariablesTypeError: `variables` is no such mapping.
      ApplyScopeInvalidVariablesStructureError: it has a "params" within "params".
      InvalidRngError: `rngs` is neither a key nor a dict of keys.
      InvalidFilterError: `mutable` is no filter.

    >>> scope = bind({"params": {"w": np.ones(2)}})
    >>> scope.get_variable("params", "w").shape
    (2,)
    """
    _check_variables(variables)
    rngs = _as_rngs(rngs, "apply")
    is_filter_empty(mutable)
    collections = {
        name: _snapshot(col) if in_filter(mutable, name) else _entries(col)
        for name, col in variables.items()
    }
    return Scope(collections, rngs=rngs, mutable=mutable, flags=flags)


def apply(
    fn: Callable[..., Any],
    mutable: CollectionFilter = False,
    flags: Mapping[str, Any] | None = None,
) -> Callable[..., Any]:
    """Makes a pure function of variables out of a function of a scope.

    Args:
      fn: a function whose first argument is a scope.
      mutable: a filter that selects the collections that may change.
      flags: static data that every scope of the tree can read.

    Returns:
      A function `(variables, *args, rngs=None, **kwargs)` that returns what `fn`
      returns or, if `mutable` is not False, that and the mutable collections.

    Raises:
      As `bind`, when the returned function is called.

    >>> double = apply(lambda scope: 2 * scope.get_variable("params", "w"))
    >>> double({"params": {"w": 4}})
    8
    """

    def wrapper(
        variables: Mapping[str, Any], *args: Any, rngs: Any = None, **kwargs: Any
    ) -> Any:
        root = bind(variables, rngs=rngs, mutable=mutable, flags=flags)
        try:
            y = fn(root, *args, **kwargs)
            if mutable is False:
                return y
            return y, root.mutable_variables()
        finally:
            root.invalidate()

    return wrapper


def init(
    fn: Callable[..., Any],
    mutable: CollectionFilter = True,
    flags: Mapping[str, Any] | None = None,
) -> Callable[..., Any]:
    """Makes a function that initializes the variables of a function of a scope.

    Args:
      fn: a function whose first argument is a scope.
      mutable: a filter that selects the collections to initialize.
      flags: static data that every scope of the tree can read.

    Returns:
      A function `(rngs, *args, **kwargs)` that returns what `fn` returns and the
      variables. `rngs` is a PRNG key, or a dict of them by stream.

    Raises:
      InvalidRngError: `rngs` is neither (when the returned function is called).

    >>> model = lambda scope: scope.param("b", jax.nn.initializers.zeros, (3,))
    >>> init(model)(jax.random.key(0))[1]["params"]["b"].shape
    (3,)
    """
    run = apply(fn, mutable=mutable, flags={**(flags or {}), "initializing": True})

    def wrapper(rngs: Any, *args: Any, **kwargs: Any) -> Any:
        if rngs is None:
            raise errors.InvalidRngError(
                "init needs a PRNG key, as jax.random.key(0) makes it, or a dict from "
                "stream names to such keys, but was given None."
            )
        return run({}, *args, rngs=_as_rngs(rngs, "init"), **kwargs)

    return wrapper


def lazy_init(
    fn: Callable[..., Any],
    mutable: CollectionFilter = True,
    flags: Mapping[str, Any] | None = None,
) -> Callable[..., Any]:
    """As `init`, but runs only what the variables need.

    Arguments may be `jax.ShapeDtypeStruct`s: their values must not decide over any
    variable.

    Returns:
      A function `(rngs, *args, **kwargs)` that returns the variables.

    Raises:
      LazyInitError: a variable depends on the value of such an argument.

    >>> model = lambda scope, x: scope.param("b", jax.nn.initializers.zeros, x.shape)
    >>> x = jax.ShapeDtypeStruct((3,), "float32")
    >>> lazy_init(model)(jax.random.key(0), x)["params"]["b"].shape
    (3,)
    """
    from . import partial_eval

    run = init(fn, mutable=mutable, flags=flags)
    return partial_eval.lazy_init(lambda *args, **kwargs: run(*args, **kwargs)[1])
