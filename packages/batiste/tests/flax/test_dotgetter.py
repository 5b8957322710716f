"""Trees of variables by attribute, as programs of generation 0.6 have them."""

import copy
import pickle

import jax
import jax.numpy as jnp
import pytest

import batiste.flax
from batiste.core import freeze


@pytest.fixture
def flax():
    batiste.flax.install("0.6")
    import flax

    yield flax
    batiste.flax.uninstall()


@pytest.fixture
def DotGetter(flax):
    from flax.linen.dotgetter import DotGetter

    return DotGetter


def test_looking_into_variables(flax, DotGetter):
    model = flax.linen.Sequential([flax.linen.Dense(2)])
    variables = model.init(jax.random.key(0), jnp.ones((1, 3)))
    tree = DotGetter(variables)
    assert tree.params.layers_0.kernel is variables["params"]["layers_0"]["kernel"]
    assert dir(tree.params.layers_0) == ["bias", "kernel"]
    assert repr(tree) == repr(variables)
    assert list(tree) == ["params"]
    assert len(tree) == 1
    y = model.apply(tree, jnp.ones((1, 3)))
    assert y.shape == (1, 2)
    with pytest.raises(AttributeError, match=r"no 'kernel', but \['params'\]"):
        _ = tree.kernel
    with pytest.raises(KeyError):
        tree["kernel"]


def test_setting_items(DotGetter):
    data = {"a": {"b": 1}, "items": 2, "l": [{"c": 3}]}
    tree = DotGetter(data)
    tree.a.b = 7
    tree.n = {"m": 1}
    assert data["a"] == {"b": 7}
    assert tree.n.m == 1
    assert tree["items"] == 2
    assert dict(tree.items())["items"] == 2
    assert tree.l == [{"c": 3}]
    del tree["n"]
    assert "n" not in tree
    assert isinstance(tree, dict)
    assert tree == data


def test_a_frozen_tree_stays(DotGetter):
    tree = DotGetter(freeze({"a": {"b": 1}}))
    with pytest.raises(ValueError, match="Cannot set 'b': the tree is a FrozenDict"):
        tree.a.b = 2
    with pytest.raises(ValueError, match="Cannot delete 'a': the tree is a FrozenDict"):
        del tree["a"]
    assert hash(DotGetter(freeze({"a": 1}))) == hash(DotGetter({"a": 1}))


def test_copies_and_trees_of_jax(flax, DotGetter):
    data = {"a": {"b": 1}, "c": 2}
    tree = DotGetter(data)
    doubled = jax.tree.map(lambda x: 2 * x, tree)
    assert type(doubled) is DotGetter
    assert doubled.a.b == 2
    assert tree.copy(c=3).c == 3
    assert tree.c == 2
    for copied in (
        copy.copy(tree),
        copy.deepcopy(tree),
        pickle.loads(pickle.dumps(tree)),
    ):
        assert type(copied) is DotGetter
        assert copied == data
        copied.c = 5
    assert data["c"] == 2
    state = flax.serialization.to_state_dict(tree)
    assert state == data
    again = flax.serialization.from_state_dict(tree, {"a": {"b": 8}, "c": 9})
    assert type(again) is DotGetter
    assert (again.a.b, again.c, data["c"]) == (8, 9, 2)


def test_is_leaf(flax, DotGetter):
    from flax.linen.dotgetter import is_leaf

    assert all(map(is_leaf, (3, {}, [], (), "a", None, jnp.ones(2))))
    assert not any(map(is_leaf, ([1], {"a": 1}, (None,), DotGetter({}))))
