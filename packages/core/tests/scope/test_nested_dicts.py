"""Tests of batiste.core.scope.nested_dicts."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batiste.core import FrozenDict, freeze
from batiste.core.config import config
from batiste.core.scope.nested_dicts import as_result, merge_into, snapshot

trees = st.recursive(
    st.dictionaries(st.sampled_from("ab"), st.integers(), max_size=2),
    lambda inner: st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
)


def dicts_of(tree):
    """The identities of all dicts in a tree."""
    below = [part for part in tree.values() if isinstance(part, dict)]
    return {id(tree)}.union(*map(dicts_of, below))


@given(trees)
def test_a_snapshot_is_equal_and_shares_no_dict(tree):
    copy = snapshot(tree)
    assert copy == tree
    assert not dicts_of(copy) & dicts_of(tree)


def test_a_snapshot_has_the_very_leaves_and_is_of_plain_dicts():
    leaf = object()
    copy = snapshot(freeze({"a": {"b": leaf}}))
    assert type(copy) is type(copy["a"]) is dict
    assert copy["a"]["b"] is leaf
    assert snapshot(leaf) is leaf


@pytest.mark.parametrize(
    ("old", "new", "merged"),
    [
        ({}, 1, 1),
        ({"a": 1}, 2, 2),
        ({"a": {"b": 1}}, {"c": 2}, {"b": 1, "c": 2}),
        ({"a": {"b": {"c": 1}}}, {"b": {"d": 2}}, {"b": {"c": 1, "d": 2}}),
        ({"a": 1}, {"c": 2}, {"c": 2}),
        ({"a": {"b": 1}}, 2, 2),
    ],
)
def test_mappings_are_merged_and_all_else_is_replaced(old, new, merged):
    merge_into(old, "a", new)
    assert old == {"a": merged}


def test_results_are_as_configured():
    assert isinstance(as_result({"a": 1}), FrozenDict)
    with config.temp_flip_flag("return_frozendict", False):
        assert type(as_result({"a": 1})) is dict
