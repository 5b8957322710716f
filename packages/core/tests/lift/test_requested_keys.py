"""Tests of batiste.core.lift.requested_keys."""

import jax
import jax.numpy as jnp
import numpy as np

from batiste.core import init, lift
from batiste.core.lift.requested_keys import (
    Draws,
    Request,
    RequestedRng,
    StreamId,
    WordRequests,
    counted,
)
from batiste.core.scope import LazyRng
from batiste.core.scope.keys import RngCounters

KEY = jax.random.key(0)
STREAM = StreamId(0, "params")


def data(key):
    return np.asarray(jax.random.key_data(key)).tolist()


def requested(words=8, at_root=False):
    requests = WordRequests(jnp.zeros(words, jnp.uint32))
    return requests, RequestedRng(KEY, requests, STREAM, at_root)


def test_each_request_has_one_word():
    requests, lazy = requested()
    for _ in range(2):
        lazy.below("a").draw(1)
        lazy.below("a", "b").draw(1)
        lazy.draw(2)
    assert list(requests.index) == [
        Request(STREAM, ("a",), 1),
        Request(STREAM, ("a", "b"), 1),
        Request(STREAM, (), 2),
    ]


def test_too_few_words_are_noticed_by_the_requests():
    requests, lazy = requested(words=1)
    assert data(lazy.draw(1)) == data(lazy.draw(2))
    assert len(requests.index) == 2


def test_with_the_words_of_a_place_the_keys_are_those_drawn_there():
    requests, lazy = requested()
    lazy.below("a").draw(1)
    lazy.draw(2)
    lazy.below("b").as_jax_rng()
    there = LazyRng.create(KEY, "place")
    counters = RngCounters()
    counters.child("a").counts["params"] = 3
    draws = Draws(tuple(requests.index), ())
    words = draws.words([{"params": there}], [counters], 8)
    assert words.shape == (8,)
    assert words.dtype == np.uint32
    lazy = RequestedRng(KEY, WordRequests(words), STREAM, at_root=False)
    assert data(lazy.below("a").draw(1)) == data(there.below("a").draw(4))
    assert data(lazy.draw(2)) == data(there.draw(2))
    assert data(lazy.below("b").as_jax_rng()) == data(there.below("b").as_jax_rng())


def test_nothing_is_folded_in_at_the_root():
    requests, lazy = requested(at_root=True)
    assert lazy.folds_nothing
    assert lazy.as_jax_rng() is KEY
    assert not lazy.below("a").folds_nothing
    assert not requested()[1].folds_nothing
    assert not requests.index


def test_it_is_a_pytree_of_its_key_that_knows_its_requests():
    requests, lazy = requested()
    lazy = LazyRng.create(lazy, "a")
    leaves, treedef = jax.tree.flatten(lazy)
    assert leaves == [KEY]
    again = jax.tree.unflatten(treedef, leaves)
    assert isinstance(again, RequestedRng)
    assert again.suffix == ("a",)
    assert again.requests is requests
    assert treedef == jax.tree.structure(again)
    assert treedef != jax.tree.structure(LazyRng(KEY, ("a",)))
    assert type(again.clear_suffix()) is LazyRng


def test_counts_are_added_at_their_places():
    inside = RngCounters()
    inside.counts["params"] = 1
    inside.at(("a", "b")).counts["dropout"] = 2
    draws = Draws((), (tuple(counted(inside)),))
    outside = RngCounters()
    outside.counts["params"] = 5
    draws.count([outside])
    assert outside.counts == {"params": 6}
    assert outside.at(("a", "b")).counts == {"dropout": 2}


def test_the_key_itself_is_the_same_in_nested_programs():
    def model(scope):
        return scope.rngs["params"].as_jax_rng()

    nested = lift.jit(lift.jit(model))
    assert data(init(nested)(KEY)[0]) == data(init(model)(KEY)[0])

    def below(fn):
        return lambda scope: fn(scope.push("a"))

    assert data(init(below(nested))(KEY)[0]) == data(init(below(model))(KEY)[0])
