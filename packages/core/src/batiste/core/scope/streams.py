"""The PRNG streams of a place in a tree of scopes, and how many keys it has drawn."""

from __future__ import annotations

from .. import errors
from ..config import config
from ..tracers import eager_trace, staged_type
from ..types import Key
from .keys import (
    FALLBACK,
    LazyRng,
    RngCounters,
    counted_as,
    fallbacks_of,
    fold_in_static,
)
from .place import Place

__all__ = ["Streams"]


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
        rng, count = self._next(name)
        if type(rng) is LazyRng:  # a call less than by way of its method
            return fold_in_static(rng.rng, (*rng.suffix, count))
        return rng.draw(count)

    def _any_key(self, name: str) -> Key:
        """As `make_rng`, for who does not look at the key: the cheapest there is."""
        rng, count = self._next(name)
        if type(rng) is LazyRng:
            base = rng.rng
            # Elsewhere the key tells that what is made is to be traced.
            if type(base) is staged_type() or self.trace_level == eager_trace():
                return base
        return rng.draw(count)

    def _next(self, name: str) -> tuple[LazyRng, int]:
        """Counts a key that is drawn from a stream: the stream, and which key it is.

        Raises:
          As `make_rng`.
        """
        stream, rngs = name, self._rngs
        if rngs is None:
            rngs = self.rngs
        if name not in rngs:
            stream = self._fallback(name)
            name = FALLBACK
        self.check_usable()
        counts = (self._counters or self.counters).counts
        count = counts[name] = counts.get(name, 0) + 1
        return rngs[stream], count

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
            found = RngCounters()
            if self.parent is not None:
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
