"""Lazily derived PRNG keys: a base key and a suffix of static data."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from jax import numpy as jnp

from .config import config

__all__ = ["LazyRng", "RngCounters", "fold_in_static", "is_rng", "is_rng_dict"]


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
    return jax.random.fold_in(rng, _digest(suffix, config.fix_rng_separator))


@jax.tree_util.register_pytree_with_keys_class
class LazyRng:
    """A PRNG key that is derived when it is asked for.

    A pytree with one leaf, the base key; the suffix is static.

    >>> lazy = LazyRng.create(jax.random.key(0), "encoder", 1)
    >>> lazy.suffix
    ('encoder', 1)
    """

    __slots__ = ("rng", "suffix")

    def __init__(self, rng: jax.Array, suffix: tuple[str | int, ...] = ()):
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

    def update(self, other: RngCounters) -> None:
        """Takes over the counts of `other`."""
        self.counts.update(other.counts)
        for name, child in other.children.items():
            self.child(name).update(child)


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
