"""A place in a tree of scopes: name, path, life, names below it, and PRNG streams."""

from __future__ import annotations

import contextlib
import operator
from collections.abc import Iterator
from typing import Any, Final, Self

from .. import errors
from ..config import config
from ..initializer_calls import ignores_key
from ..tracers import current_trace, eager_trace, staged_type
from ..types import Function, Key, Path
from .keys import (
    FALLBACK,
    LazyRng,
    RngCounters,
    counted_as,
    fallbacks_of,
    fold_in_static,
)
from .tree import Tree

__all__ = ["BY_LIFTED", "Place", "Streams"]

BY_LIFTED: Final = "(lifted)"
"""Who has a name that a variable has on the other side of a lifted call.

A variable may take it, whatever its collection, as it may be the same one.
"""

_CHILD: Any = frozenset({None})  # who has the name of a child scope: no collection


class Place:
    """A place in a tree. References go up only: to the place above, and to the tree.

    Attributes:
      name: the place's own name, None at a root without one.
      parent: the place above, None at the root.
      tree: what all places of the tree share.
      reservations: who has each name that is taken below: the collections of variables,
        or None for a place.
      trace_level: what `current_trace` was where the tree was made.

    >>> from batiste.core import Scope
    >>> scope = Scope({}, name=None).push("encoder").push("layer0")
    >>> scope.path, scope.path_text
    (('encoder', 'layer0'), '/encoder/layer0')
    """

    __slots__ = (
        "_cursors",
        "_debug_path",
        "_path",
        "name",
        "parent",
        "reservations",
        "trace_level",
        "tree",
    )

    name: str | None
    parent: Any
    tree: Tree
    reservations: dict[str, set[str | None]]
    trace_level: Any
    _cursors: dict[str, int] | None
    _path: Path | None
    _debug_path: Path | None

    def __eq__(self, other: object) -> bool:
        """Two scopes are equal when they are handles on the same place of one tree."""
        if self is other:
            return True
        if not isinstance(other, Place):
            return NotImplemented
        return self.tree is other.tree and self.path == other.path

    def __hash__(self) -> int:
        return hash((id(self.tree), self.path))

    @property
    def root(self) -> Self:
        """The scope at the top of the tree."""
        place: Any = self
        while place.parent is not None:
            place = place.parent
        return place

    @property
    def path(self) -> Path:
        """The names from the root to this scope."""
        if self._path is None:
            self._path = self._names("_path")
        return self._path

    @property
    def debug_path(self) -> Path:
        """The path to show to people."""
        if self._debug_path is None:
            self._debug_path = self._names("_debug_path")
        return self._debug_path

    def _names(self, attribute: str) -> Path:
        names: list[Any] = []
        place: Any = self
        while (known := getattr(place, attribute)) is None:
            names.append(place.name)
            place = place.parent
        return (*known, *reversed(names))

    @property
    def path_text(self) -> str:
        """The path for people to read, `/` at the root."""
        return "/" + "/".join(self.debug_path)

    # Lifetime.

    # Asked for whenever a module is used, and so without a Python function.
    invalid = property(
        operator.attrgetter("tree.invalid"),
        doc="Whether the call that this scope belongs to has ended.",
    )

    @contextlib.contextmanager
    def temporary(self) -> Iterator[Self]:
        """Gives the scope to a `with` block and invalidates it at its end."""
        try:
            yield self
        finally:
            self.invalidate()

    def invalidate(self) -> None:
        """Ends the life of the whole tree: later use raises `InvalidScopeError`."""
        self.tree.invalid = True

    def check_alive(self) -> None:
        """Raises if the call that the tree was made for has ended.

        Raises:
          InvalidScopeError: it has.
        """
        if self.tree.invalid:
            raise errors.InvalidScopeError(self.path_text)

    def check_usable(self) -> None:
        """Raises unless the scope lives and JAX is at the scope's own trace level.

        Raises:
          InvalidScopeError: the call that the scope belongs to has ended.
          JaxTransformError: the scope comes from outside of a JAX transformation.
        """
        if self.tree.invalid:
            raise errors.InvalidScopeError(self.path_text)
        if self.tree.closed or current_trace() != self.trace_level:
            if not config.documented_checks:
                return
            raise errors.JaxTransformError(
                scope_path=self.path_text, closed_over=bool(self.tree.lifted)
            )

    # Names of what is below.

    def name_reserved(self, name: str, col: str | None = None) -> bool:
        """Returns whether `name` is taken by a child scope, or by a variable in `col`.

        With `col` None, whether anything has the name.
        """
        taken = self.reservations.get(name)
        # Who has a name that only children may take is false, and holds None.
        return taken is not None and (
            None in taken
            or (
                bool(taken)
                and (
                    col is None
                    or col in taken
                    or not (config.relaxed_naming or BY_LIFTED in taken)
                )
            )
        )

    def reserve(self, name: str, col: str | None = None) -> None:
        """Takes a name for a child scope (`col` None) or for a variable in `col`.

        Raises:
          TypeError: the name is not a string.
          ValueError: the name is taken.
        """
        try:
            taken = self.reservations.get(name)
        except TypeError:  # it has no hash, and so is no string
            taken = None
        if not taken:
            if not isinstance(name, str):
                raise errors.InvalidArgumentError(
                    "A scope or variable name must be a string, but "
                    f'{errors.short_repr(name)} in "{self.path_text}" is of type '
                    f"{type(name).__name__}.",
                    argument="name",
                )
            self.reservations[name] = _CHILD if col is None else {col}
        elif (
            col is None
            or None in taken
            or col in taken
            or not (config.relaxed_naming or BY_LIFTED in taken)
        ):
            raise ValueError(
                f'Duplicate use of scope name: "{name}" in "{self.path_text}". Give '
                f"the second child or variable another name, or reuse the first."
            )
        else:
            taken.add(col)
            taken.discard(BY_LIFTED)

    def default_name(self, prefix: str) -> str:
        """Returns the first of `prefix0`, `prefix1`, ... that is not taken."""
        # The search starts where it ended; names of children are never given back.
        if self._cursors is None:
            self._cursors = {}
        index = self._cursors.get(prefix, 0)
        while f"{prefix}{index}" in self.reservations:
            index += 1
        self._cursors[prefix] = index
        return f"{prefix}{index}"


class Streams(Place):
    """A place that draws keys. Its streams and counts are made when asked for.

    >>> import jax
    >>> from batiste.core import Scope
    >>> scope = Scope({}, {"dropout": jax.random.key(0)}).push("layer")
    >>> isinstance(scope, Streams), scope.rngs["dropout"].suffix
    (True, ('layer',))
    >>> key = scope.make_rng("dropout")
    >>> scope.rng_counters
    {'dropout': 1}
    """

    __slots__ = ("_counters", "_rngs")

    _counters: RngCounters | None
    _rngs: dict[str, LazyRng] | None

    @property
    def rngs(self) -> dict[str, LazyRng]:
        """The scope's PRNG streams: base keys, and suffixes down to this scope."""
        if self._rngs is None:
            assert self.parent is not None
            assert self.name is not None
            name = self.name
            self._rngs = {
                stream: rng.below(name) for stream, rng in self.parent.rngs.items()
            }
        return self._rngs

    @property
    def rng_counters(self) -> dict[str, int]:
        """How many keys this scope has drawn from each stream."""
        counts = self.counters.counts
        return {
            stream: counts.get(stream, 0)
            for stream in self.tree.rngs
            if counted_as(stream) == stream
        }

    def has_rng(self, name: str) -> bool:
        """Returns whether there is a PRNG stream of this name."""
        return name in self.tree.rngs

    def make_rng(self, name: str = "params") -> Key:
        """Draws a fresh PRNG key from a stream.

        The key depends on the stream's base key, the path of this scope and the
        number of keys drawn here before. A stream that was not given falls back to
        "params", if there is that; with config `rng_fallback=False` it does not.

        Raises:
          InvalidRngError: there is no such stream, nor one to fall back to.
          InvalidScopeError: the call that the scope belongs to has ended.
          JaxTransformError: the scope comes from outside of a JAX transformation.
        """
        return self._draw(name)

    def _draw(self, name: str, init_fn: Function | None = None) -> Key:
        """As `make_rng`: a key for `init_fn`, any one if that does not look at it."""
        stream, rngs = name, self._rngs
        if rngs is None:
            rngs = self.rngs
        if name not in rngs:
            stream = self._fallback(name)
            name = FALLBACK
        self.check_usable()
        counts = (self._counters or self.counters).counts
        count = counts[name] = counts.get(name, 0) + 1
        rng = rngs[stream]
        if type(rng) is not LazyRng:
            return rng.draw(count)
        base = rng.rng
        if (
            init_fn is not None
            and ignores_key(init_fn)
            # Elsewhere the key tells that what is made is to be traced.
            and (type(base) is staged_type() or self.trace_level == eager_trace())
        ):
            return base
        return fold_in_static(base, (*rng.suffix, count))  # as `draw`, a call less

    def _fallback(self, name: str) -> str:
        """The stream in the place of one that was not given.

        Raises:
          InvalidRngError: there is none.
        """
        rngs = self.rngs
        if config.rng_fallback:
            for stream in fallbacks_of(name):
                if stream in rngs:
                    return stream
        raise errors.InvalidRngError(self._no_stream(name))

    def _no_stream(self, name: str) -> str:
        needs = f'"{self.path_text}" needs a PRNG key for the stream "{name}"'
        for stream in (name, FALLBACK) if config.rng_fallback else (name,):
            transform = self.tree.keeps_stream(stream)
            if transform is not None:
                return (
                    f"{needs}, but the {transform} around it does not let the stream "
                    f'"{stream}" in, which the call was given. Give the {transform} '
                    f"{errors.passing_on(transform, 'rngs', stream)}."
                )
        streams = self.tree.given_streams()
        given = [stream for stream in streams if counted_as(stream) == stream]
        return (
            f"{needs}, but the call was given {given or 'no streams'}. Pass "
            f'rngs={{"{name}": key}} to init or apply.'
        )

    # What lifting needs.

    @property
    def counters(self) -> RngCounters:
        """The counters of this place; most scopes draw nothing, and make none."""
        found = self._counters
        if found is None:
            if self.parent is None:
                found = RngCounters()
            else:
                assert self.name is not None
                found = self.parent.counters.child(self.name)
            self._counters = found
        return found

    def draw_from(self, rngs: dict[str, LazyRng]) -> None:
        """Draws keys from here on from these streams, as its new children do."""
        self._rngs = rngs

    def count_on(self, counters: RngCounters) -> None:
        """Draws keys from here on as the scopes do that have these counters."""
        self._counters = counters
