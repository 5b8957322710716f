"""Tests of batiste.core.scope.keys."""

import hashlib

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from batiste.core import apply
from batiste.core.config import config
from batiste.core.scope import LazyRng
from batiste.core.scope.keys import RngCounters, fold_in_static

KEY = jax.random.key(0)
items = st.lists(st.text(max_size=4) | st.integers(0, 2**40), max_size=4)


def data(key):
    return np.asarray(jax.random.key_data(key)).tolist()


@given(items)
def test_keys_fold_in_a_hash_of_the_suffix(suffix):
    joined = b"".join(
        item.encode()
        if isinstance(item, str)
        else item.to_bytes((item.bit_length() + 7) // 8, "big")
        for item in suffix
    )
    word = np.uint32(int.from_bytes(hashlib.sha1(joined).digest()[:4], "big"))
    expected = jax.random.fold_in(KEY, word) if suffix else KEY
    assert data(fold_in_static(KEY, tuple(suffix))) == data(expected)
    lazy = LazyRng.create(KEY, *suffix)
    assert data(lazy.as_jax_rng()) == data(lazy.clear_suffix().rng) == data(expected)


def test_separators_tell_names_apart():
    together = [fold_in_static(KEY, s) for s in [("ab",), ("a", "b")]]
    assert data(together[0]) == data(together[1])
    with config.temp_flip_flag("fix_rng_separator", True):
        apart = [fold_in_static(KEY, s) for s in [("ab",), ("a", "b")]]
    assert len({str(data(key)) for key in [*together, *apart]}) == 3


@pytest.mark.parametrize("item", [1.5, None, ("a",)])
def test_only_strings_and_integers_fold_in(item):
    with pytest.raises(ValueError, match="Only str and int fold into a key"):
        fold_in_static(KEY, (item,))


def test_raw_and_typed_keys_agree():
    def draw(scope):
        return scope.push("a").make_rng()

    raw = apply(draw)({}, rngs=jax.random.PRNGKey(3))
    typed = apply(draw)({}, rngs=jax.random.key(3))
    assert raw.dtype == np.uint32
    assert data(typed) == raw.tolist()


def test_lazy_rng_is_a_pytree_of_its_key():
    lazy = LazyRng.create(LazyRng.create(KEY, "a"), "b", 1)
    assert lazy.suffix == ("a", "b", 1)
    leaves, treedef = jax.tree.flatten(lazy)
    assert leaves == [KEY]
    assert jax.tree.unflatten(treedef, leaves).suffix == lazy.suffix
    assert treedef != jax.tree.structure(LazyRng.create(KEY, "a"))


def counts(state):
    children = {name: counts(child) for name, child in state.children.items()}
    return dict(state.counts), {n: c for n, c in children.items() if c != ({}, {})}


def test_counters():
    state = RngCounters()
    state.at(("a", "b")).counts["x"] = 3
    state.counts["x"] = 1
    assert state.child("a") is state.at(("a",))
    copy = state.copy()
    copy.at(("a", "b")).counts["x"] = 2
    copy.at(("c",)).counts["y"] = 5
    state.raise_to(copy)
    expected = {"a": ({}, {"b": ({"x": 3}, {})}), "c": ({"y": 5}, {})}
    assert counts(state) == ({"x": 1}, expected)
    inner = state.at(("c",))
    state.assign(RngCounters())
    assert counts(state) == ({}, {})
    # The same objects count on, as scopes hold them.
    assert state.at(("c",)) is inner
    assert inner.counts == {}
