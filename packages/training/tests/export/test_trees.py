"""Plain trees: every container becomes dicts, lists and tuples, and finds back."""

from collections import OrderedDict
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
import pytest
from hypothesis import given
from hypothesis import strategies as st

from batiste.core import freeze, struct
from batiste.training.errors import ExportError
from batiste.training.export import trees
from batiste.training.train_state import TrainState


class Pair(NamedTuple):
    second: Any
    first: Any


@struct.dataclass
class Record:
    zeta: Any
    alpha: Any
    name: str = struct.field(pytree_node=False, default="")


LEAVES = st.integers() | st.none()
TREES = st.recursive(
    LEAVES,
    lambda t: (
        st.lists(t, max_size=3)
        | st.lists(t, max_size=3).map(tuple)
        | st.dictionaries(st.text(max_size=2), t, max_size=3)
        | st.dictionaries(st.text(max_size=2), t, max_size=3).map(OrderedDict)
        | st.dictionaries(st.text(max_size=2), t, max_size=3).map(freeze)
        | st.dictionaries(st.integers(0, 20), t, max_size=3)
        | st.tuples(t, t).map(lambda pair: Pair(*pair))
        | st.tuples(t, t).map(lambda pair: Record(*pair, name="r"))
    ),
    max_leaves=12,
)


def is_plain(tree):
    if type(tree) is dict:
        return all(type(k) is str and is_plain(v) for k, v in tree.items())
    if type(tree) in (list, tuple):
        return all(map(is_plain, tree))
    return tree is None or type(tree) is int


@given(TREES)
def test_all_containers_become_plain_and_come_back(tree):
    plain = trees.plain(tree)
    assert is_plain(plain)
    assert trees.plain(plain) == plain
    assert len(jax.tree.leaves(plain)) == len(jax.tree.leaves(tree))
    back = trees.rebuilder(tree)(plain)
    assert jax.tree.structure(back) == jax.tree.structure(tree)
    assert jax.tree.leaves(back) == jax.tree.leaves(tree)


def test_what_each_container_becomes():
    assert trees.plain(Pair(1, 2)) == (1, 2)
    assert trees.plain(Record(1, (2,), "x")) == {"zeta": 1, "alpha": (2,)}
    assert trees.plain({3: 1, 10: 2}) == {"3": 1, "10": 2}
    assert trees.plain(jax.tree_util.Partial(len, 1, a=2)) == [(1,), {"a": 2}]
    assert type(trees.plain(freeze({}))) is dict


def test_a_train_state_becomes_a_dict_and_is_found_again():
    state = TrainState.create(
        apply_fn=len, params={"w": jnp.ones(2)}, tx=optax.adam(0.1)
    )
    plain = trees.plain(state)
    assert set(plain) == {"step", "params", "opt_state"}
    assert isinstance(plain["opt_state"], tuple)
    back = trees.rebuilder(state)(plain)
    assert isinstance(back, TrainState)
    assert back.apply_fn is len
    assert jax.tree.structure(back) == jax.tree.structure(state)


def test_keys_that_are_the_same_text():
    @jax.tree_util.register_pytree_with_keys_class
    class Odd:
        def tree_flatten_with_keys(self):
            key = jax.tree_util.DictKey
            return [(key(1), "a"), (key("1"), "b")], None

        @classmethod
        def tree_unflatten(cls, aux, children):
            return cls()

    with pytest.raises(ExportError, match=r"A Odd has the keys 1, '1', which are not"):
        trees.plain(Odd())


@pytest.mark.parametrize(
    ("given_tree", "expected", "text"),
    [
        ({"a": 1}, {"a": 1, "b": 2}, '"x" has the keys "a", and takes "a", "b"'),
        ({}, {"b": 2}, '"x" has the keys none, and takes "b"'),
        ({"a": [1]}, {"a": [1, 2]}, '"x/a" has 1 items, and takes 2'),
        ([(1,)], [[1]], '"x/0" is a tuple, and takes a list'),
        ([None], [1], '"x/0" is None, and takes an array'),
        (1, {"a": 1}, '"x" is an array, and takes a dict'),
        ({"a": (1, [2, None])}, {"a": (3, [4, None])}, None),
    ],
)
def test_the_first_difference(given_tree, expected, text):
    assert trees.difference(given_tree, expected, "x") == text


def test_paths_of_leaves():
    found = list(trees.leaf_paths({"a": (1, Pair(2, 3))}, "x"))
    assert found == [("x/a/0", 1), ("x/a/1/second", 2), ("x/a/1/first", 3)]
    assert list(trees.leaf_paths(4, "x")) == [("x", 4)]
    assert list(trees.leaf_paths([5])) == [("0", 5)]
