"""The tree of scopes: where variables and PRNG streams live while a model runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, TypeVar

import jax
import numpy as np

from .. import errors
from ..frozen_dict import FrozenDict
from ..initializer_calls import initialize
from ..meta import array_types
from ..tracers import current_trace
from ..types import Collection, Key, Path, Variables
from .filters import CollectionFilter, in_filter
from .init_shapes import expected_shapes
from .initial_values import check_made, check_sizes, why_not_initialized
from .keys import LazyRng, RngCounters
from .nested_dicts import as_result, merge_into, snapshot
from .place import Streams
from .tree import Tree
from .variables import Variable, unboxed

__all__ = ["Scope"]

T = TypeVar("T")

_EMPTY: Mapping[str, Any] = MappingProxyType({})
_MISSING = object()
no_flag = object()


class Scope(Streams):
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
      debug_path: the path to show to people, `path` when not given. By position it may
        be left out, as documented.
      flags: static data that every scope of the tree can read.

    >>> import jax, numpy as np
    >>> from batiste.core import init
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
        "_variables",
        "flags",
        "mutable",
    )

    parent: Scope | None

    def __init__(
        self,
        variables: Variables,
        rngs: Mapping[str, LazyRng | Key] | None = None,
        name: str | None = None,
        mutable: CollectionFilter = False,
        parent: Scope | None = None,
        path: Path = (),
        debug_path: Path = (),
        flags: Mapping[str, Any] | None = None,
    ):
        self._variables: dict[str, Any] = dict(variables)
        lazy_rngs: dict[str, LazyRng] = {}
        if rngs:
            for stream, rng in rngs.items():
                lazy_rngs[stream] = rng if isinstance(rng, LazyRng) else LazyRng(rng)
        self._rngs: dict[str, LazyRng] | None = lazy_rngs
        self._counters: RngCounters | None = None if parent is None else RngCounters()
        self._cursors: dict[str, int] | None = None
        self.name = name
        self.mutable = mutable
        self.parent = parent
        self._path = tuple(path)
        if flags is None and debug_path and isinstance(debug_path, Mapping):
            # By position as documented, without `debug_path`.
            debug_path, flags = (), debug_path
        self._debug_path = tuple(debug_path or ()) or self._path
        self.flags = flags if flags is not None else {}
        self.reservations: dict[str, set[str | None]] = {}
        self.tree = Tree(self._variables, lazy_rngs) if parent is None else parent.tree
        self.trace_level = current_trace()

    def _set_up(
        self,
        new: Scope,
        name: str | None,
        parent: Scope | None,
        path: Path | None,
        debug_path: Path | None,
        variables: dict[str, Any],
        rngs: dict[str, LazyRng] | None,
        counters: RngCounters | None,
    ) -> Scope:
        """Makes of a bare scope one of the same tree.

        What is None is made when asked for; a path is as long as deep.
        """
        new._variables = variables
        new._rngs = rngs
        new._counters = counters
        new._cursors = None
        new.tree = self.tree
        new.name = name
        new.mutable = self.mutable
        new.parent = parent
        new._path = path
        new._debug_path = debug_path
        new.flags = self.flags
        new.reservations = {}
        new.trace_level = self.trace_level
        return new

    def __repr__(self) -> str:
        return f"Scope({self.path_text!r}, mutable={self.mutable!r})"

    def rewound(self, rewind_rngs: bool = False) -> Scope:
        """A scope at the same place with no names reserved.

        Names may be used a second time in it, which shares their variables. PRNG
        counters go on, or start again with `rewind_rngs`.

        Raises:
          InvalidScopeError: the call that the scope belongs to has ended.
        """
        self.check_alive()
        return self._set_up(
            Scope.__new__(Scope),
            self.name,
            self.parent,
            self._path,
            self._debug_path,
            self._variables,
            self._rngs,
            RngCounters() if rewind_rngs else self.counters,
        )

    def folded(self) -> Scope:
        """A scope at the same place whose streams start from keys drawn here.

        The path and the number of keys drawn so far are folded into the base keys, and
        the counts go on. For transforms that start the streams of a scope anew.

        Raises:
          As `make_rng`.
        """
        return self._set_up(
            Scope.__new__(Scope),
            self.name,
            self.parent,
            self._path,
            self._debug_path,
            self._variables,
            {stream: LazyRng(self.make_rng(stream)) for stream in self.rngs},
            self.counters,
        )

    def moved_from(self, other: Scope) -> Scope:
        """This place with the streams, the counts and the shown path of another.

        Args:
          other: a scope of the same tree.
        """
        self.tree.moved[self.path] = other.shown_path
        return self._set_up(
            Scope.__new__(Scope),
            self.name,
            self.parent,
            self._path,
            other.debug_path,
            self._variables,
            other.rngs,
            other.counters,
        )

    @property
    def shown_path(self) -> Path:
        """The path, with that of where it was before in place of what was moved."""
        path = self.path
        moved = self.tree.moved
        for depth in range(len(path), 0, -1) if moved else ():
            before = moved.get(path[:depth])
            if before is not None:
                return (*before, *path[depth:])
        return path

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
        self.check_usable()
        if name is None:
            name = self.default_name(prefix)
        if not reuse or name not in self.reservations:
            self.reserve(name)
        bare = Scope.__new__(Scope)
        return self._set_up(bare, name, self, None, None, {}, None, None)

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
            default = getattr(fn, "__name__", type(fn).__name__) + "_"
            name = self.default_name(default if prefix is None else prefix)
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
        """Returns whether variables of the collection may be made and changed."""
        known = self.tree.mutable.get(col)
        if known is None:
            known = self.tree.mutable[col] = in_filter(self.mutable, col)
        return known

    def has_collection(self, col: str) -> bool:
        """Returns whether the call was given the collection, or has made it.

        It may be empty.
        """
        return col in self.tree.variables

    def is_collection_empty(self, col: str) -> bool:
        """Returns whether no scope of the tree has a variable in the collection."""
        return not self.tree.variables.get(col)

    def variables(self) -> Mapping[str, Any]:
        """Returns this scope's part of every collection, as immutable nested dicts."""
        return as_result(snapshot(self.collections()))

    def mutable_variables(self) -> Mapping[str, Any]:
        """Returns this scope's part of the mutable collections, as `variables`."""
        own = {}
        for col in self.tree.variables:
            if self.is_mutable_collection(col):
                part = self.collection(col)
                if part:
                    own[col] = snapshot(part)
        return as_result(own)

    # Variables.

    def has_variable(self, col: str, name: str) -> bool:
        """Returns whether the collection has a variable of this name in this scope."""
        return name in self.collection(col)

    def get_variable(self, col: str, name: str, default: Any = None) -> Any:
        """Returns the variable's value, in its box if it has one, or `default`."""
        found = self.collection(col)
        value = found.get(name, default)
        if type(value) is not dict or type(found) is not dict:
            return value
        if self.is_mutable_collection(col):
            return value
        return FrozenDict(value, __unsafe_skip_copy__=True)

    def put_variable(self, col: str, name: str, value: Any) -> None:
        """Sets a variable; a mapping is merged into the mapping that is there.

        Raises:
          InvalidScopeError: the call that the scope belongs to has ended.
          JaxTransformError: the scope comes from outside of a JAX transformation.
          ModifyScopeVariableError: the collection is not mutable.
        """
        self.check_usable()
        if not self.is_mutable_collection(col):
            raise errors.ModifyScopeVariableError(
                col, name, self.path_text, transform=self.tree.keeps_changes(col)
            )
        merge_into(self.writable(col), name, value)

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
          *init_args: arguments of `init_fn`.
          unbox: whether the handle hides `AxisMetadata` boxes.
          **init_kwargs: keyword arguments of `init_fn`.

        Raises:
          ScopeCollectionNotFound: there is no value, none can be made, and the
            collection is empty.
          ScopeVariableNotFoundError: there is no value and none can be made.
          ValueError: the name is taken in this scope.
          JaxTransformError: the scope comes from outside of a JAX transformation.
        """
        if self.tree.lifted:
            self.check_usable()
        self.reserve(name, col)
        try:
            if name not in self.collection(col):
                if init_fn is None or not self.is_mutable_collection(col):
                    raise self._not_found(col, name)
                self.check_usable()
                self.put_variable(col, name, init_fn(*init_args, **init_kwargs))
        except BaseException:
            self.reservations[name].discard(col)
            raise
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
          *init_args: arguments of `init_fn` after the key.
          unbox: whether to return the value without its `AxisMetadata` box.
          **init_kwargs: keyword arguments of `init_fn`.

        Raises:
          InvalidRngError: there is no value and no "params" stream to make it from.
          ScopeCollectionNotFound: there are no parameters at all.
          ScopeParamNotFoundError: there is no value and "params" is immutable.
          ScopeParamShapeError: the value has another shape than `init_fn` makes.
          ValueError: the name is taken in this scope.
          JaxTransformError: the scope comes from outside of a JAX transformation.
        """
        if self.tree.lifted:
            self.check_usable()
        self.reserve(name, "params")
        try:
            params = self._variables.get("params")
            if params is None:
                params = self.collection("params")
            value = params.get(name, _MISSING)
            if value is not _MISSING:
                if type(value) is dict:
                    value = self.get_variable("params", name)
                shapes = expected_shapes(init_fn, init_args, init_kwargs)
                if len(shapes) != 1 or getattr(value, "shape", _MISSING) != shapes[0]:
                    if _first_other(value, shapes) is not None:
                        # What is remembered of the initializer may be outdated.
                        shapes = expected_shapes(init_fn, init_args, init_kwargs, True)
                    self._check_shapes(name, value, shapes)
            elif self.is_mutable_collection("params"):
                counts = (self._counters or self.counters).counts
                drawn = counts.get("params", 0)
                try:
                    check_sizes(self, name, init_args)
                    key = self._draw("params", init_fn)
                    if init_kwargs:
                        value = init_fn(key, *init_args, **init_kwargs)
                    else:
                        value = initialize(init_fn, key, *init_args)
                    made: Any = value
                    if callable(made):
                        check_made(self, name, init_fn, made)
                    self.writable("params")[name] = value
                except BaseException:
                    counts["params"] = drawn
                    raise
            elif self.is_collection_empty("params"):
                raise self._not_found("params", name)
            else:
                raise errors.ScopeParamNotFoundError(
                    name,
                    self.path_text,
                    available=params,
                    transform=self.tree.keeps_changes("params"),
                    missing=self._missing_branch("params"),
                )
        except BaseException as error:
            self.reservations[name].discard("params")
            found = why_not_initialized(self, name, init_fn, init_args, error)
            if found is not None:
                raise found from error
            raise
        if not unbox or type(value) in array_types:
            return value
        return unboxed(self, "params", name, value)

    def _not_found(self, col: str, name: str) -> Exception:
        if self.is_collection_empty(col):
            return errors.ScopeCollectionNotFound(
                col,
                name,
                self.path_text,
                available=self.tree.variables,
                transform=self.tree.keeps_collection(col),
                maker=self.tree.keeps_changes(col),
            )
        return errors.ScopeVariableNotFoundError(
            name,
            col,
            self.path_text,
            available=self.collection(col),
            transform=self.tree.keeps_changes(col),
            missing=self._missing_branch(col),
        )

    def _missing_branch(self, col: str) -> tuple[str, str, list[str]] | None:
        """The branch of a collection on the way here that does not exist.

        Its name, the path of the scope where it should be, and what is there.
        """
        missing = None
        scope: Scope | None = self
        while scope is not None and scope.parent is not None:
            above = scope.parent.collection(col)
            if scope.name in above:
                return missing
            missing = str(scope.name), scope.parent.path_text, list(above)
            scope = scope.parent
        return missing

    def _check_shapes(self, name: str, value: Any, shapes: tuple[Any, ...]) -> None:
        if value is None and shapes:
            raise errors.InvalidArgumentError(
                f'Parameter "{name}" in scope "{self.path_text}" is None, but its '
                f"initializer gives it the shape {shapes[0]}. Pass the variables that "
                "`init` or the last update returned, and leave out of a copy what is "
                "to be made again.",
                where=self.path_text,
                argument=name,
            )
        other = _first_other(value, shapes)
        if other is not None:
            raise errors.ScopeParamShapeError(name, self.path_text, *other)

    # Flags.

    def has_flag(self, key: str) -> bool:
        """Returns whether the call that made the root set this flag."""
        return key in self.flags

    def get_flag(self, key: str, default: Any = no_flag) -> Any:
        """Returns the flag's value, or `default`.

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

    # What lifting needs: the parts as they are, not copied nor wrapped.

    def below(self, name: str) -> Scope:
        """Returns the scope at `name` below, whether the name is reserved or not."""
        bare = Scope.__new__(Scope)
        return self._set_up(bare, name, self, None, None, {}, None, None)

    def collection(self, col: str) -> Collection:
        """Returns this scope's part of a collection, to read."""
        found = self._variables.get(col)
        if found is not None:
            return found
        if self.parent is None:
            return _EMPTY
        assert self.name is not None
        found = self.parent.collection(col).get(self.name, _MISSING)
        if not isinstance(found, Mapping):
            return _EMPTY
        self._variables[col] = found
        return found

    def writable(self, col: str) -> dict[str, Any]:
        """Returns this scope's part of a mutable collection, made if it is new."""
        found = self._variables.get(col)
        if found is None:
            if self.parent is None:
                found = {}
            else:
                above = self.parent.writable(col)
                assert self.name is not None
                found = above.get(self.name)
                if not isinstance(found, dict):
                    if found is not None and not isinstance(found, Mapping):
                        raise self._is_variable(col)
                    found = above[self.name] = {}
            self._variables[col] = found
        return found

    def _is_variable(self, col: str) -> Exception:
        assert self.parent is not None
        return errors.InvalidArgumentError(
            f'Duplicate use of scope name: "{self.name}" in "{self.parent.path_text}" '
            f'is a variable of the collection "{col}", which a child of that name '
            f"would replace. Give one of the two another name.",
            argument="name",
        )

    def collections(self) -> dict[str, Collection]:
        """Returns this scope's part of every collection that has one here."""
        own = {}
        for col in self.tree.variables:
            part = self._variables.get(col) or self.collection(col)
            if part:
                own[col] = part
        return own


def _first_other(
    value: Any, shapes: tuple[Any, ...]
) -> tuple[tuple[int, ...], tuple[int, ...]] | None:
    """The first shape of a value that is not the expected one, and that one."""
    for leaf, shape in zip(jax.tree.leaves(value), shapes, strict=False):
        if shape is not None and np.shape(leaf) != shape:
            return np.shape(leaf), shape
    return None
