"""FrozenDict and the functions for both kinds of dictionary."""

import copy
import pickle
import types
from collections import OrderedDict

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batiste.core import frozen_dict as fd
from batiste.core.frozen_dict import FrozenDict, freeze, unfreeze

keys = st.text(max_size=4)
trees = st.recursive(
    st.dictionaries(keys, st.integers(), max_size=3),
    lambda inner: st.dictionaries(keys, inner | st.integers(), max_size=3),
    max_leaves=12,
)


@settings(max_examples=60, deadline=None)
@given(trees)
def test_round_trips(tree):
    frozen = freeze(tree)
    assert unfreeze(frozen) == tree
    assert frozen == tree
    assert tree == frozen
    assert pickle.loads(pickle.dumps(frozen)) == frozen
    assert copy.deepcopy(frozen) == frozen == copy.copy(frozen)
    leaves, structure = jax.tree.flatten(frozen)
    assert leaves == jax.tree.leaves(tree)
    rebuilt = jax.tree.unflatten(structure, leaves)
    assert type(rebuilt) is FrozenDict
    assert rebuilt == frozen
    assert hash(rebuilt) == hash(frozen)
    assert freeze(frozen) == frozen


@settings(max_examples=60, deadline=None)
@given(trees)
def test_key_paths_are_those_of_a_dict(tree):
    ours, _ = jax.tree_util.tree_flatten_with_path(freeze(tree))
    theirs, _ = jax.tree_util.tree_flatten_with_path(tree)
    assert ours == theirs


@settings(max_examples=60, deadline=None)
@given(trees, trees)
def test_copy_and_pop_are_those_of_a_dict(tree, other):
    before = copy.deepcopy(tree)
    frozen = freeze(tree)
    assert frozen.copy(other) == {**tree, **other}
    assert fd.copy(tree, other) == {**tree, **other}
    for key in tree:
        rest, value = frozen.pop(key)
        plain_rest, plain_value = fd.pop(tree, key)
        assert rest == plain_rest == {k: v for k, v in tree.items() if k != key}
        assert value == plain_value == tree[key]
    assert frozen == tree == before


def test_assignment_is_refused():
    frozen = FrozenDict(a=1)
    with pytest.raises(ValueError, match=r"^FrozenDict is immutable\.$"):
        frozen["a"] = 2  # type: ignore[index]
    with pytest.raises(ValueError, match=r"^FrozenDict is immutable\.$"):
        del frozen["a"]  # type: ignore[attr-defined]
    with pytest.raises(AttributeError):
        frozen.extra = 1  # type: ignore[attr-defined]
    assert frozen == {"a": 1}
    assert not hasattr(frozen, "update")


def test_source_can_change_without_effect():
    source = {"a": {"b": 1}}
    frozen = freeze(source)
    thawed = unfreeze(frozen)
    source["a"]["b"] = 2
    thawed["a"]["b"] = 3
    assert frozen == {"a": {"b": 1}}
    plain = {"a": {"b": 1}}
    fd.copy(plain)["a"]["b"] = 4
    fd.pop(plain | {"c": 1}, "c")[0]["a"]["b"] = 5
    unfreeze(plain)["a"]["b"] = 6
    assert plain == {"a": {"b": 1}}


def test_skipping_the_copy_uses_the_dictionary_itself():
    source = {"a": {"b": 1}}
    frozen = FrozenDict(source, __unsafe_skip_copy__=True)
    source["a"]["b"] = 2
    assert frozen["a"]["b"] == 2


def test_nested_dictionaries_are_shared_views():
    frozen = FrozenDict({"a": {"b": {"c": [1]}}})
    inner = frozen["a"]
    assert type(inner) is type(inner["b"]) is FrozenDict
    assert inner["b"]["c"] is frozen["a"]["b"]["c"]
    assert type(frozen.get("a")) is FrozenDict
    assert [type(v) for v in frozen.values()] == [FrozenDict]
    assert [(k, type(v)) for k, v in frozen.items()] == [("a", FrozenDict)]
    assert frozen.pop("a")[1] == inner


def test_reading():
    frozen = FrozenDict([("b", 1), ("a", {})], c=2)
    assert list(frozen) == list(frozen.keys()) == ["b", "a", "c"]
    assert len(frozen) == 3
    assert "b" in frozen
    assert "z" not in frozen
    assert frozen.get("z") is None
    assert frozen.get("z", 4) == 4
    default = {}
    assert frozen.get("z", default) is default
    with pytest.raises(KeyError, match="^'z'$"):
        frozen["z"]
    with pytest.raises(KeyError, match="^'z'$"):
        frozen.pop("z")
    assert frozen.keys() & {"a", "z"} == {"a"}
    assert len(frozen.items()) == 3
    assert ("b", 1) in frozen.items()
    assert dict(**FrozenDict(x=1)) == {"x": 1}
    match frozen:
        case {"b": value}:
            assert value == 1


def test_subclasses_of_dict_become_plain():
    frozen = freeze({"a": OrderedDict(x=1)})
    assert type(frozen["a"]) is FrozenDict
    assert type(unfreeze(frozen)["a"]) is dict


def test_equality_and_hash():
    frozen = FrozenDict({"a": {"b": 1}, "c": 2})
    assert hash(frozen) == hash(FrozenDict({"c": 2, "a": FrozenDict(b=1)}))
    assert frozen != {"a": {"b": 2}, "c": 2}
    assert frozen != 3
    assert frozen == types.MappingProxyType({"a": {"b": 1}, "c": 2})
    assert frozen["a"] == {"b": 1}
    assert hash(frozen["a"]) == hash(FrozenDict(b=1))
    assert hash(FrozenDict(a=1, b=2)) != hash(FrozenDict(a=2, b=1))
    with pytest.raises(TypeError, match="unhashable"):
        hash(FrozenDict(a=[1]))


def test_unfreezing_copies_pytrees_and_sorts():
    inner = [1, {"b": 1, "a": 2}]
    thawed = unfreeze(FrozenDict({"b": inner, "a": 0}))
    assert list(thawed) == ["a", "b"]
    assert thawed["b"] == inner
    assert thawed["b"] is not inner
    assert unfreeze({"b": FrozenDict(x=1), "a": {"n": FrozenDict(y=2)}}) == {
        "b": {"x": 1},
        "a": {"n": {"y": 2}},
    }
    assert unfreeze(3) == 3


def test_keys_of_several_types():
    frozen = FrozenDict({1: 10, "a": {2: 20, "b": 30}, 0: 40})
    assert unfreeze(frozen) == {1: 10, "a": {2: 20, "b": 30}, 0: 40}
    assert hash(frozen) == hash(FrozenDict({0: 40, "a": {"b": 30, 2: 20}, 1: 10}))
    assert pickle.loads(pickle.dumps(frozen)) == frozen
    flat = FrozenDict({1: 10, "a": 20, 0: 30})
    assert jax.tree.leaves(flat) == [30, 10, 20]
    assert jax.tree.map(lambda x: x, flat) == flat


def test_maps_that_put_dictionaries_at_the_leaves():
    frozen = FrozenDict({"q": {"a": 1}})
    boxed = jax.tree.map(lambda x: FrozenDict(a=x), frozen)
    assert boxed == {"q": {"a": {"a": 1}}}
    assert hash(boxed) == hash(freeze({"q": {"a": {"a": 1}}}))
    assert repr(boxed) == repr(freeze({"q": {"a": {"a": 1}}}))
    assert type(boxed["q"]["a"]) is FrozenDict


def test_transforms_take_and_return_it():
    frozen = FrozenDict({"w": np.arange(3.0), "n": {"b": np.ones(3)}})
    doubled = jax.jit(lambda d: d.copy({"w": d["w"] * 2}))(frozen)
    assert type(doubled) is FrozenDict
    np.testing.assert_array_equal(doubled["w"], [0.0, 2.0, 4.0])
    grads = jax.grad(lambda d: (d["w"] * d["n"]["b"]).sum())(frozen)
    np.testing.assert_array_equal(grads["n"]["b"], [0.0, 1.0, 2.0])
    np.testing.assert_array_equal(frozen["w"], [0.0, 1.0, 2.0])


def test_repr():
    frozen = FrozenDict({"b": {"x": 1, "e": {}}, "a": (1, {"z": 2}), 3: "s"})
    text = """FrozenDict({
    b: {
        x: 1,
        e: {},
    },
    a: (1, {'z': 2}),
    3: 's',
})"""
    assert repr(frozen) == str(frozen) == frozen.pretty_repr() == text
    plain = {"b": {"x": 1, "e": {}}, "a": (1, {"z": 2}), 3: "s"}
    assert fd.pretty_repr(plain) == text[len("FrozenDict(") : -1]
    assert fd.pretty_repr({"a": {"b": 1}}, 1) == "{\n a: {\n  b: 1,\n },\n}"
    assert fd.pretty_repr({"a": 1}, -1) == "{\na: 1,\n}"
    assert repr(FrozenDict()) == "FrozenDict({})"
    assert fd.pretty_repr("s") == "'s'"
    assert repr(FrozenDict(a=1).keys()) == "frozen_dict_keys(['a'])"
    assert repr(FrozenDict(a=1).values()) == "frozen_dict_values([1])"
    assert repr(FrozenDict(a=1).items()) == "frozen_dict_items([('a', 1)])"


def test_repr_of_arrays():
    frozen = FrozenDict({"a": {"w": np.eye(2, dtype=int)}})
    assert (
        repr(frozen)
        == """FrozenDict({
    a: {
        w: array([[1, 0],
               [0, 1]]),
    },
})"""
    )


def test_treedef_text():
    structure = jax.tree.structure(FrozenDict({"b": {"x": 1}, "a": 2}))
    assert "FrozenDict[('a', 'b')], [*, {'x': *}]" in str(structure)


def test_other_types_are_refused():
    message = r"^Expected FrozenDict or dict, got <class 'int'>$"
    with pytest.raises(TypeError, match=message):
        fd.copy(3, {})  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=message):
        fd.pop(3, "a")  # type: ignore[arg-type]


def test_deep_nesting():
    tree = leaf = {}
    for _ in range(900):
        leaf["k"] = leaf = {}
    leaf["k"] = 1
    frozen = freeze(tree)
    assert jax.tree.leaves(frozen) == [1]
    assert hash(frozen) == hash(freeze(unfreeze(tree)))
    assert repr(frozen).count("k: ") == 901
    node = unfreeze(frozen)
    for _ in range(901):
        node = node["k"]
    assert node == 1


def test_state_dict_protocol():
    frozen = FrozenDict({"b": {"x": 1}, 3: 2})
    state = frozen.__to_state_dict__()
    assert list(state) == ["b", "3"]
    assert state == {"b": {"x": 1}, "3": 2}
    restored = frozen.__from_state_dict__({"3": 5, "b": {"x": 4}})
    assert type(restored) is FrozenDict
    assert restored == {"b": {"x": 4}, 3: 5}
    with pytest.raises(ValueError, match=r"differ as strings.*\['1'\] occur more"):
        FrozenDict({1: 2, "1": 3}).__to_state_dict__()
