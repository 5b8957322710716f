"""Lazily derived PRNG keys: a base key and a suffix of static data."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Hashable, Mapping, Sequence
from typing import Any, Final

import jax
import numpy as np
from jax import numpy as jnp
from jax.core import Tracer

from ..config import config
from ..tracers import staged_type
from ..types import Array, Key, Path

__all__ = [
    "FALLBACK",
    "LazyRng",
    "RngCounters",
    "counted_as",
    "fallback_for",
    "fallbacks_of",
    "fold_in_static",
    "is_rng",
    "is_rng_dict",
]

FALLBACK: Final = "params"
"""The stream that others fall back to, where they are not given."""

_FOR: Final = f"{FALLBACK} for "


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


def fold_in_static(rng: Key, suffix: tuple[str | int, ...]) -> Key:
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
    word = _digest(suffix, config.fix_rng_separator)
    if not isinstance(rng, jax.Array) or isinstance(rng.dtype, np.dtype):
        return jax.random.fold_in(rng, word)
    if type(rng) is staged_type() and rng.ndim == 0:
        return _fold_in_primitive().bind(rng, word)
    return (
        jax.random.fold_in(rng, word)
        if isinstance(rng, Tracer)
        else _fold_in(rng, word)
    )


# JAX checks arguments, and looks for what to do, at each call.
_fold_in = jax.jit(jax.random.fold_in)


@functools.cache
def _fold_in_primitive() -> Any:
    """The operation that `jax.random.fold_in` comes down to for a typed key."""
    jaxpr = jax.make_jaxpr(jax.random.fold_in)(jax.random.key(0), np.uint32(0)).jaxpr
    return jaxpr.eqns[-1].primitive


@jax.tree_util.register_pytree_with_keys_class
class LazyRng:
    """A PRNG key that is derived when it is asked for.

    A pytree with one leaf, the base key; the suffix is static.

    Attributes:
      rng: the base key.
      suffix: what is to be folded into it: the path of a scope, and what follows.

    >>> lazy = LazyRng.create(jax.random.key(0), "encoder", 1)
    >>> lazy.suffix
    ('encoder', 1)
    """

    __slots__ = ("rng", "suffix")

    def __init__(self, rng: Key, suffix: tuple[str | int, ...] = ()):
        self.rng = rng
        self.suffix = suffix

    @staticmethod
    def create(rng: LazyRng | Key, *suffix: str | int) -> LazyRng:
        """Appends `suffix` to a lazy key, or starts one from an ordinary key."""
        return rng.below(*suffix) if isinstance(rng, LazyRng) else LazyRng(rng, suffix)

    def below(self, *names: str | int) -> LazyRng:
        """Returns the stream of a place below, its suffix longer by `names`."""
        return LazyRng(self.rng, self.suffix + names)

    def draw(self, count: int) -> Key:
        """Returns the key number `count` of the stream."""
        return fold_in_static(self.rng, (*self.suffix, count))

    def as_jax_rng(self) -> Key:
        """Returns the ordinary JAX key: the suffix folded into the base key."""
        return fold_in_static(self.rng, self.suffix)

    def clear_suffix(self) -> LazyRng:
        """Returns an equal stream whose suffix has been folded into its base key."""
        return LazyRng(self.as_jax_rng(), ())

    @property
    def folds_nothing(self) -> bool:
        """Whether there is no suffix, so that the base key is the key itself."""
        return not self.suffix

    def word(self, path: tuple[str | int, ...], count: int | None) -> np.uint32 | Array:
        """Returns what folds into the base key for a place, or a key drawn there.

        Args:
          path: the names from this stream's scope down to the place.
          count: the number of the key, or None for the place itself.
        """
        suffix = (*self.suffix, *path)
        if count is not None:
            suffix = (*suffix, count)
        return _digest(suffix, config.fix_rng_separator) if suffix else np.uint32(0)

    def tree_flatten_with_keys(self) -> tuple[tuple[tuple[Any, Key]], Hashable]:
        """Returns the base key with its name, and the static data."""
        (key,), static = self.tree_flatten()
        return ((jax.tree_util.GetAttrKey("rng"), key),), static

    def tree_flatten(self) -> tuple[tuple[Key], Hashable]:
        """Returns the base key, and the static data."""
        return (self.rng,), self.suffix

    @classmethod
    def tree_unflatten(cls, static: Any, children: Sequence[Any]) -> LazyRng:
        """Makes a lazy key of what `tree_flatten` returns."""
        return cls(children[0], static)

    def __repr__(self) -> str:
        return f"LazyRng(rng={self.rng!r}, suffix={self.suffix!r})"


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
        """Returns the counters of the place `name` below, made if it is new."""
        counters = self.children.get(name)
        if counters is None:
            counters = self.children[name] = RngCounters()
        return counters

    def copy(self) -> RngCounters:
        """Returns counters of their own with the same counts, here and below."""
        new = RngCounters()
        new.counts = dict(self.counts)
        new.children = {name: child.copy() for name, child in self.children.items()}
        return new

    def at(self, path: Path) -> RngCounters:
        """Returns the counters of the place at `path` below, made if it is new."""
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


def fallback_for(name: str) -> str:
    """The name within a transform of what a stream that was not given falls back to.

    It is apart from what others fall back to, as the transform may split it.

    Args:
      name: the stream's name; empty for all that have no fallback of their own.

    >>> fallback_for("dropout")
    'params for dropout'
    """
    return f"{_FOR}{name}"


def fallbacks_of(name: str) -> tuple[str, str, str]:
    """The streams to look for in the place of one that was not given, in order.

    >>> fallbacks_of("dropout")
    ('params for dropout', 'params for ', 'params')
    """
    return fallback_for(name), _FOR, FALLBACK


def counted_as(name: str) -> str:
    """The name that keys of a stream are counted by.

    A fallback counts with the stream that it stems from, so that no key of one is also
    drawn from the other.

    >>> counted_as("dropout"), counted_as("params for dropout")
    ('dropout', 'params')
    """
    return FALLBACK if name.startswith(_FOR) else name


def is_rng(rng: Any) -> bool:
    """Returns whether `rng` is one PRNG key: typed, raw `uint32`, or lazy.

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
    """Returns whether `rngs` maps stream names (str) to PRNG keys.

    >>> is_rng_dict({"dropout": jax.random.key(0)}), is_rng_dict({"dropout": 0})
    (True, False)
    """
    if not isinstance(rngs, Mapping):
        return False
    for name, rng in rngs.items():
        if not isinstance(name, str) or not is_rng(rng):
            return False
    return True
