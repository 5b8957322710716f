import collections
import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from batiste.serialization import (
    SerializationError,
    current_path,
    from_state_dict,
    register_serialization_state,
    registry,
    to_state_dict,
)

Point = collections.namedtuple("Point", "x y")
Empty = collections.namedtuple("Empty", "")


def test_containers_become_dicts_and_come_back():
    tree = {"a": [1, (2, Point(3, None))], 7: {}, None: (), (1, 2): Empty()}
    state = {
        "a": {"0": 1, "1": {"0": 2, "1": {"x": 3, "y": None}}},
        "7": {},
        "None": {},
        "(1, 2)": {},
    }
    assert to_state_dict(tree) == state
    found = from_state_dict(tree, state)
    assert found == tree
    assert type(found["a"][1][1]) is Point
    assert type(found[(1, 2)]) is Empty


def test_leaves_are_the_same_objects():
    leaves = [np.ones(2), np.float32(1), 1, 1.5, "s", b"s", 1j, None, {1, 2}, object()]
    for leaf in leaves:
        assert to_state_dict(leaf) is leaf
        assert from_state_dict(0, leaf) is leaf


def test_leaves_take_what_the_state_has():
    assert from_state_dict({"a": 1}, {"a": {"b": 2}}) == {"a": {"b": 2}}
    assert from_state_dict(None, {"a": 1}) == {"a": 1}
    found = from_state_dict({"a": np.zeros(2)}, {"a": np.ones((3, 3))})
    assert found["a"].shape == (3, 3)


def test_dicts_keep_their_order_and_leave_other_keys_aside():
    found = from_state_dict({"b": 0, 1: 0}, {"1": 3, "b": 2, "c": 9})
    assert list(found.items()) == [("b", 2), (1, 3)]


def test_target_and_state_are_not_changed():
    target, state = {"a": [0, {"b": 0}]}, {"a": {"0": 1, "1": {"b": 2}}}
    found = from_state_dict(target, state)
    assert found == {"a": [1, {"b": 2}]}
    assert target == {"a": [0, {"b": 0}]}
    assert state == {"a": {"0": 1, "1": {"b": 2}}}
    assert found["a"] is not target["a"]


@pytest.mark.parametrize(
    ("target", "state", "path", "text"),
    [
        ({"a": 1}, {}, "", "a dict. Missing from the state: 'a'. (at the root)"),
        (
            {"params": {"Dense_0": {"kernel": 0, "bias": 0}}},
            {"params": {"Dense_0": {"kernal": 0, "bias": 0}}},
            "params/Dense_0",
            "Missing from the state: 'kernel'; the nearest to 'kernel': 'kernal'. "
            "Unexpected in the state: 'kernal'. (at params/Dense_0)",
        ),
        ({"q": [1, 2]}, {"q": {"0": 1}}, "q", "has 2 items, but the state has 1."),
        ([1], {"0": 1, "1": 2}, "", "has 1 items, but the state has 2."),
        ([1, 2], {"0": 1, "a": 2}, "", "Missing from the state: '1'."),
        ([1], {0: 1}, "", "Missing from the state: '0'. Unexpected in the state: 0."),
        ([1], [1], "", "restored from a dict, but the state holds a value of type 'l"),
        ({"a": {"b": 1}}, {"a": 3}, "a", "but the state holds a value of type 'int'"),
        ({"a": (1,)}, {"a": None}, "a", "a tuple, which is restored from a dict"),
        ({"p": Point(1, 2)}, {"p": {"x": 1}}, "p", "Missing from the state: 'y'"),
        ({"p": Point(1, 2)}, {"p": {"x": 1, "y": 1, "z": 1}}, "p", "Unexpected in t"),
        (Empty(), None, "", "holds a value of type 'NoneType'"),
    ],
)
def test_errors_name_the_branch(target, state, path, text):
    with pytest.raises(SerializationError) as info:
        from_state_dict(target, state)
    assert info.value.path == path
    assert info.value.offset is None
    assert text in str(info.value)


def test_name_is_the_root_of_paths():
    with pytest.raises(SerializationError) as info:
        from_state_dict({"q": {"a": 1}}, {"q": {}}, name="model")
    assert info.value.path == "model/q"
    assert current_path() == ""


def test_named_tuples_of_old_releases():
    old = {"name": "Point", "fields": {"0": "x", "1": "y"}, "values": {"0": 5, "1": 6}}
    assert from_state_dict(Point(0, 0), old) == Point(5, 6)
    Old = collections.namedtuple("Old", "name fields values")
    assert from_state_dict(Old(0, 0, 0), old).name == "Point"
    with pytest.raises(SerializationError, match="Missing from the state: 'x', 'y'"):
        from_state_dict(Point(0, 0), {"name": 1, "fields": 2, "values": 3})


def test_keys_with_the_same_string_are_refused():
    with pytest.raises(SerializationError, match="the same string .*: '1'") as info:
        to_state_dict({"a": [{1: 0, "1": 0}]})
    assert info.value.path == "a/0"


def test_deep_trees_work_and_endless_ones_raise():
    tree = leaf = {}
    for _ in range(500):
        leaf["a"] = {}
        leaf = leaf["a"]
    assert to_state_dict(from_state_dict(tree, to_state_dict(tree))) == tree
    tree = {}
    tree["self"] = tree
    with pytest.raises(SerializationError, match="or contains itself"):
        to_state_dict(tree)
    with pytest.raises(SerializationError, match="or contains itself"):
        from_state_dict(tree, tree)
    assert current_path() == ""


def test_paths_are_per_thread(monkeypatch):
    monkeypatch.setattr(registry, "_REGISTRY", dict(registry._REGISTRY))
    seen = []

    class Probe:
        pass

    def restore(target, state):
        thread = threading.Thread(target=lambda: seen.append(current_path()))
        thread.start()
        thread.join()
        seen.append(current_path())
        return target

    register_serialization_state(Probe, lambda p: {}, restore)
    from_state_dict({"a": Probe()}, {"a": {}})
    assert seen == ["", "./a"]


keys = st.text(max_size=4) | st.integers(-5, 5) | st.booleans() | st.none()
trees = st.recursive(
    st.none() | st.integers() | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(st.text(max_size=3), inner, max_size=3)
        | st.builds(Point, inner, inner)
    ),
    max_leaves=12,
)


@given(trees)
def test_states_restore_what_they_were_taken_from(tree):
    state = to_state_dict(tree)
    assert from_state_dict(tree, state) == tree
    assert to_state_dict(state) == state


@given(st.dictionaries(keys, st.integers(), max_size=5))
def test_any_keys_restore_or_are_refused(tree):
    if len({str(key) for key in tree}) < len(tree):
        with pytest.raises(SerializationError):
            to_state_dict(tree)
    else:
        assert from_state_dict(tree, to_state_dict(tree)) == tree
