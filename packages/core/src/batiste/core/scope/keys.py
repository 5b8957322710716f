"""Lazily derived PRNG keys: a base key and a suffix of static data."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from jax import numpy as jnp

from ..config import config

__all__ = [
    "LazyRng",
    "RngCounters",
    "RequestedPrefix",
    "SuffixRequests",
    "draw",
    "fold_in_static",
    "is_rng",
    "is_rng_dict",
    "suffix_hash",
]


@functools.lru_cache(maxsize=65536)
def _digest(suffix: tuple[str | int, ...], separator: bool) -> np.uint32:
    sha = hashlib.sha1(usedforsecurity=False)
    for item in suffix:
        if separator:
            sha.update(b"\0")
        if isinstance(item, str):
            sha.update(item.encode("utf-8"))
        elif isinstance(item, int):
            sha.update(item.to_bytes((item.bit_length() + 7) // 8, byteorder="big"))
        else:
            raise ValueError(f"Only str and int fold into a key, not {item!r}.")
    return np.uint32(int.from_bytes(sha.digest()[:4], byteorder="big"))


def fold_in_static(rng: jax.Array, suffix: tuple[str | int, ...]) -> jax.Array:
    """Derives the key that belongs to `suffix` from the key `rng`.

    The first four bytes of the SHA-1 of the concatenated suffix (strings as UTF-8,
    integers as their minimal big-endian bytes) are folded in with
    `jax.random.fold_in`. An empty suffix leaves the key as it is. With the config
    value `fix_rng_separator`, a zero byte precedes each item, so that `("ab",)` and
    `("a", "b")` differ.

    Raises:
      ValueError: an item is neither a string nor an integer.

    >>> key = jax.random.key(0)
    >>> bool(fold_in_static(key, ()) == key)
    True
    """
    if not suffix:
        return rng
    if type(suffix[0]) is RequestedPrefix:
        return suffix[0].fold_in(rng, suffix[1:])
    return jax.random.fold_in(rng, _digest(suffix, config.fix_rng_separator))


def draw(lazy: LazyRng, count: int) -> jax.Array:
    """The key number `count` of a stream at one place."""
    suffix = lazy.suffix
    if suffix and type(suffix[0]) is RequestedPrefix:
        return suffix[0].fold_in(lazy.rng, suffix[1:], count)
    return fold_in_static(lazy.rng, (*suffix, count))


@jax.tree_util.register_pytree_with_keys_class
class LazyRng:
    """A PRNG key that is derived when it is asked for.

    A pytree with one leaf, the base key; the suffix is static.

    >>> lazy = LazyRng.create(jax.random.key(0), "encoder", 1)
    >>> lazy.suffix
    ('encoder', 1)
    """

    __slots__ = ("rng", "suffix")

    def __init__(self, rng: jax.Array, suffix: tuple[Any, ...] = ()):
        self.rng = rng
        self.suffix = suffix

    @staticmethod
    def create(rng: LazyRng | jax.Array, *suffix: str | int) -> LazyRng:
        """Appends `suffix` to a lazy key, or starts one from an ordinary key."""
        if isinstance(rng, LazyRng):
            return LazyRng(rng.rng, rng.suffix + suffix)
        return LazyRng(rng, suffix)

    def as_jax_rng(self) -> jax.Array:
        """The ordinary JAX key: the suffix folded into the base key."""
        return fold_in_static(self.rng, self.suffix)

    def clear_suffix(self) -> LazyRng:
        """An equal stream whose suffix has been folded into its base key."""
        return LazyRng(self.as_jax_rng(), ())

    def tree_flatten_with_keys(self):
        return ((jax.tree_util.GetAttrKey("rng"), self.rng),), self.suffix

    def tree_flatten(self):
        return (self.rng,), self.suffix

    @classmethod
    def tree_unflatten(cls, suffix, children):
        return cls(children[0], suffix)

    def __repr__(self) -> str:
        return f"LazyRng(rng={self.rng!r}, suffix={self.suffix!r})"


class SuffixRequests:
    """The suffixes that a compiled program wants folded into keys, by their order.

    A program that holds for several places in a tree of scopes cannot have the hash
    of one place's path in it. It takes the hashes as inputs, and this notes what each
    of them stands for.

    Args:
      hashes: the array to take hashes from.
    """

    def __init__(self, hashes: jax.Array):
        self.hashes = hashes
        self.index: dict[tuple[Any, ...], int] = {}

    def get(self, request: tuple[Any, ...]) -> jax.Array:
        index = self.index.setdefault(request, len(self.index))
        # Too few of them: the caller sees it by the index, and comes again with more.
        return self.hashes[min(index, len(self.hashes) - 1)]


class RequestedPrefix:
    """Stands in a suffix for the part that is known only where the program is called.

    Args:
      requests: where to note what is asked for.
      stream: says whose prefix this is.
      empty: whether the prefix has no items.
    """

    __slots__ = ("empty", "requests", "stream")

    def __init__(self, requests: SuffixRequests, stream: Any, empty: bool):
        self.requests = requests
        self.stream = stream
        self.empty = empty

    def value(self, rest: tuple[str | int, ...], count: int | None) -> jax.Array:
        return self.requests.get((self.stream, rest, count))

    def fold_in(
        self, rng: jax.Array, rest: tuple[str | int, ...], count: int | None = None
    ) -> jax.Array:
        if self.empty and not rest and count is None:
            return rng
        return jax.random.fold_in(rng, self.value(rest, count))


def suffix_hash(suffix: tuple[Any, ...], count: int | None) -> Any:
    """What folds into a key for a suffix, and a count after it if there is one."""
    if suffix and type(suffix[0]) is RequestedPrefix:
        return suffix[0].value(suffix[1:], count)
    if count is not None:
        suffix = (*suffix, count)
    return _digest(suffix, config.fix_rng_separator) if suffix else np.uint32(0)


class RngCounters:
    """How many keys a scope has drawn per stream, and the same for its children.

    It belongs to a place in the tree of scopes rather than to a `Scope` object, so
    that a child pushed again under its name goes on counting.
    """

    __slots__ = ("children", "counts")

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}
        self.children: dict[str, RngCounters] = {}

    def child(self, name: str) -> RngCounters:
        counters = self.children.get(name)
        if counters is None:
            counters = self.children[name] = RngCounters()
        return counters

    def copy(self) -> RngCounters:
        new = RngCounters()
        new.counts = dict(self.counts)
        new.children = {name: child.copy() for name, child in self.children.items()}
        return new

    def at(self, path: tuple[str, ...]) -> RngCounters:
        found = self
        for name in path:
            found = found.child(name)
        return found

    def assign(self, other: RngCounters) -> None:
        """Takes over the counts of `other`, which counts the same place."""
        self.counts.clear()
        self.counts.update(other.counts)
        for name in set(self.children) - set(other.children):
            self.children[name].assign(RngCounters())
        for name, child in other.children.items():
            self.child(name).assign(child)

    def raise_to(self, other: RngCounters) -> None:
        """Takes over those counts of `other` that are higher."""
        for stream, count in other.counts.items():
            self.counts[stream] = max(count, self.counts.get(stream, 0))
        for name, child in other.children.items():
            self.child(name).raise_to(child)


def is_rng(rng: Any) -> bool:
    """Whether `rng` is one PRNG key: typed, raw `uint32`, or lazy.

    >>> is_rng(jax.random.key(0)), is_rng(jax.random.PRNGKey(0)), is_rng(0)
    (True, True, False)
    """
    if isinstance(rng, LazyRng):
        return is_rng(rng.rng)
    if not isinstance(rng, (jax.Array, np.ndarray)):
        return False
    if jnp.issubdtype(rng.dtype, jax.dtypes.prng_key):
        return rng.ndim == 0
    # A raw key is a vector of words; 2 for threefry, 4 for the others.
    return rng.dtype == np.uint32 and rng.ndim == 1


def is_rng_dict(rngs: Any) -> bool:
    """Whether `rngs` maps stream names (str) to PRNG keys.

    >>> is_rng_dict({"dropout": jax.random.key(0)}), is_rng_dict({"dropout": 0})
    (True, False)
    """
    return isinstance(rngs, Mapping) and all(
        isinstance(name, str) and is_rng(rng) for name, rng in rngs.items()
    )
