"""Keys of programs that hold for several places in a tree of scopes.

A key depends on the path of its scope and on how many were drawn there before: a hash
of both, a word, is folded into the base key. A program that is compiled once for many
places cannot have the words of one of them in it. It takes words as an input, and notes
what each of them stands for (`WordRequests`); its streams are `RequestedRng`. Whoever
calls the program looks up the words of the place that it is called for.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Hashable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from ..scope.keys import LazyRng, RngCounters, counted_as
from ..types import Array, Key, Path

__all__ = ["Draws", "Request", "RequestedRng", "StreamId", "WordRequests", "counted"]


class StreamId(NamedTuple):
    """Which of the streams that go into a program.

    Attributes:
      root: the index of the scope that has the stream.
      name: the stream's name.
    """

    root: int
    name: str


class Request(NamedTuple):
    """What a word stands for.

    Attributes:
      stream: the stream whose base key it is folded into.
      path: the path from the stream's scope down.
      number: the number of the key, from where the call began, or None for the place.
    """

    stream: StreamId
    path: tuple[str | int, ...]
    number: int | None


class WordRequests:
    """The words that a program wants to fold into keys, by their order.

    Args:
      words: the array to take words from.

    >>> requests = WordRequests(jax.numpy.array([7, 8], "uint32"))
    >>> request = Request(StreamId(0, "params"), ("layer",), 1)
    >>> int(requests.get(request)), requests.index[request]
    (7, 0)
    """

    def __init__(self, words: Array):
        self.words = words
        self.index: dict[Request, int] = {}

    def get(self, request: Request) -> Array:
        """Returns the word that stands for `request`, from the input."""
        index = self.index.setdefault(request, len(self.index))
        # Too few of them: the caller sees it by the index, and comes again with more.
        return self.words[min(index, len(self.words) - 1)]


@jax.tree_util.register_pytree_with_keys_class
class RequestedRng(LazyRng):
    """A lazy key within a program that is compiled for several places.

    Its suffix is what follows the path at which the program is called.

    Attributes:
      requests: where to note what is asked for.
      stream: which stream it stems from.
      at_root: whether the path at which the program is called has no items.

    >>> requests = WordRequests(jax.numpy.zeros(2, "uint32"))
    >>> stream = StreamId(0, "params")
    >>> lazy = RequestedRng(jax.random.key(0), requests, stream, at_root=False)
    >>> key = lazy.below("layer").draw(1)
    >>> list(requests.index)[0].path
    ('layer',)
    """

    __slots__ = ("at_root", "requests", "stream")

    def __init__(
        self,
        rng: Key,
        requests: WordRequests,
        stream: StreamId,
        at_root: bool,
        suffix: tuple[str | int, ...] = (),
    ):
        super().__init__(rng, suffix)
        self.requests = requests
        self.stream = stream
        self.at_root = at_root

    def below(self, *names: str | int) -> RequestedRng:
        """Returns the stream of a place below, its suffix longer by `names`."""
        suffix = self.suffix + names
        return RequestedRng(self.rng, self.requests, self.stream, self.at_root, suffix)

    def draw(self, count: int) -> Key:
        """Returns the key number `count` of the stream."""
        return jax.random.fold_in(self.rng, self.word((), count))

    def as_jax_rng(self) -> Key:
        """Returns the ordinary JAX key: the suffix folded into the base key."""
        if self.folds_nothing:
            return self.rng
        return jax.random.fold_in(self.rng, self.word((), None))

    @property
    def folds_nothing(self) -> bool:
        """Whether there is no suffix, nor a path before it."""
        return self.at_root and not self.suffix

    def word(self, path: tuple[str | int, ...], count: int | None) -> Array:
        """Returns what folds into the base key, noted as a request."""
        return self.requests.get(Request(self.stream, (*self.suffix, *path), count))

    def tree_flatten(self) -> tuple[tuple[Key], Hashable]:
        """Returns the base key, and the static data."""
        return (self.rng,), (self.requests, self.stream, self.at_root, self.suffix)

    @classmethod
    def tree_unflatten(cls, static: Any, children: Sequence[Any]) -> RequestedRng:
        """Makes a lazy key of what `tree_flatten` returns."""
        return cls(children[0], *static)


def counted(
    counters: RngCounters, since: RngCounters | None = None, path: Path = ()
) -> Iterator[tuple[Path, str, int]]:
    """Yields how many keys were drawn at each place, as path, stream and number.

    Args:
      counters: the counters of a scope.
      since: what they were before; keys that were drawn until then do not count.
      path: put before the paths.

    >>> counters = RngCounters()
    >>> counters.child("layer").counts["params"] = 2
    >>> list(counted(counters))
    [(('layer',), 'params', 2)]
    """
    for stream, count in counters.counts.items():
        drawn = count if since is None else count - since.counts.get(stream, 0)
        if drawn:
            yield path, stream, drawn
    for name, child in counters.children.items():
        before = None if since is None else since.children.get(name)
        yield from counted(child, before, (*path, name))


@jax.tree_util.register_static
@dataclasses.dataclass(frozen=True)
class Draws:
    """The keys that a program draws: static data among its results.

    Attributes:
      requests: what each of its words stands for.
      counts: for each root scope how many keys are drawn: path, stream and number.
    """

    requests: tuple[Request, ...]
    counts: tuple[tuple[tuple[Path, str, int], ...], ...]

    def words(
        self,
        rngs: Sequence[Mapping[str, LazyRng]],
        counters: Sequence[RngCounters],
        size: int,
    ) -> np.ndarray | Array:
        """Looks up the words for one place.

        Args:
          rngs: for each root scope its streams, there.
          counters: for each root scope its counters, there.
          size: how many words the program takes.

        Returns:
          The words, and zeros after them: `uint32[size]`.
        """
        words: list[Any] = []
        for (root, stream), path, count in self.requests:
            if count is not None:
                names = tuple([name for name in path if isinstance(name, str)])
                count += counters[root].at(names).counts.get(counted_as(stream), 0)
            words.append(rngs[root][stream].word(path, count))
        words += [np.uint32(0)] * (size - len(words))
        if all(type(word) is np.uint32 for word in words):
            return np.array(words, np.uint32)
        return jax.numpy.stack(words)  # some stem from a jit around this one

    def count(self, counters: Sequence[RngCounters]) -> None:
        """Counts the keys that the program has drawn at one place."""
        for state, drawn in zip(counters, self.counts, strict=True):
            for path, stream, number in drawn:
                counts = state.at(path).counts
                counts[stream] = counts.get(stream, 0) + number
