"""Names of types: what of them is there at run time."""

import pickle
import typing

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from batiste.flax import typing as types


def test_annotations_resolve():
    def f(key: types.PRNGKey, shape: types.Shape, axes: types.InOutScanAxis): ...

    assert typing.get_type_hints(f)["key"] is jax.Array


@pytest.mark.parametrize(
    ("x", "expected"),
    [("a", True), (3, True), ((1, "b"), True), ([1], False), ({}, False)],
)
def test_what_can_be_a_key(x, expected):
    assert types.is_key_like(x) == expected


def test_sizes():
    tree = {"a": np.ones((2, 3), np.float32), "b": jax.ShapeDtypeStruct((4,), np.int8)}
    assert types.SizeBytes.from_any(tree) == types.SizeBytes(10, 28)
    assert types.SizeBytes.from_any("text") == types.SizeBytes(0, 0)
    assert not types.SizeBytes(0, 0)
    assert types.has_shape_dtype(tree["b"])
    assert not types.has_shape_dtype([1])


def test_deques_are_trees():
    deque = types.PytreeDeque([1, (2, 3)], maxlen=4)
    leaves, treedef = jax.tree.flatten(deque)
    assert leaves == [1, 2, 3]
    again = jax.tree.unflatten(treedef, leaves)
    assert type(again) is types.PytreeDeque
    assert again == deque
    assert again.maxlen == 4


@given(st.dictionaries(st.text(), st.integers()), st.dictionaries(st.text(), st.none()))
def test_hashable_mappings(a, b):
    mapping = types.HashableMapping(a)
    assert dict(mapping) == a
    assert len(mapping) == len(a)
    assert mapping == types.HashableMapping(list(reversed(a.items())))
    assert hash(mapping) == hash(types.HashableMapping(list(reversed(a.items()))))
    assert dict(mapping.update(b)) == {**a, **b}
    assert repr(mapping) == f"HashableMapping({a!r})"


def test_a_hashable_mapping_is_a_copy_unless_told():
    source = {"a": 1}
    own, same = types.HashableMapping(source), types.HashableMapping(source, copy=False)
    source["b"] = 2
    assert dict(own) == {"a": 1}
    assert dict(same) == {"a": 1, "b": 2}


def test_missing_is_one_value():
    assert repr(types.MISSING) == "MISSING"
    assert pickle.loads(pickle.dumps(types.In(0))) == types.In(0)
