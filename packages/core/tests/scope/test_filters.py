"""Tests of batiste.core.scope.filters: the algebra against that of sets."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batiste.core import DenyList, errors
from batiste.core.scope import (
    filter_to_set,
    group_collections,
    in_filter,
    intersect_filters,
    is_filter_empty,
    subtract_filters,
    union_filters,
)
from batiste.core.scope.filters import NameSet

# A name that no filter names stands for all the others.
NAMES = ["a", "b", "c", "params"]
UNIVERSE = {*NAMES, "unnamed"}
finite = (
    st.booleans()
    | st.sampled_from(NAMES)
    | st.lists(st.sampled_from(NAMES))
    | st.frozensets(st.sampled_from(NAMES))
    | st.tuples(st.sampled_from(NAMES))
)
filters = st.recursive(finite, lambda inner: st.builds(DenyList, inner), max_leaves=3)


def selected(filter_like):
    return {name for name in UNIVERSE if in_filter(filter_like, name)}


@given(filters, filters)
def test_the_algebra_is_that_of_sets(a, b):
    assert selected(union_filters(a, b)) == selected(a) | selected(b)
    assert selected(intersect_filters(a, b)) == selected(a) & selected(b)
    assert selected(subtract_filters(a, b)) == selected(a) - selected(b)


@given(filters, filters)
def test_sets_of_names_agree_with_the_filters(a, b):
    x, y = NameSet.of(a), NameSet.of(b)
    assert {name for name in UNIVERSE if name in x} == selected(a)
    assert selected((x | y).as_filter()) == selected(a) | selected(b)
    assert selected((x & y).as_filter()) == selected(a) & selected(b)
    assert selected((x - y).as_filter()) == selected(a) - selected(b)
    assert selected((~x).as_filter()) == UNIVERSE - selected(a)
    assert NameSet.of(x.as_filter()) == x
    assert bool(x) != is_filter_empty(a)
    assert hash(NameSet.of(x.as_filter())) == hash(x)


def test_results_are_filters_in_their_simplest_form():
    assert union_filters(DenyList("a"), "a") is True
    assert union_filters(False, ["a", "a"]) == {"a"}
    assert intersect_filters("a", True) == "a"
    assert intersect_filters(DenyList("a"), "a") == set()
    assert subtract_filters("a", True) is False
    assert subtract_filters(True, ["a"]) == DenyList("a")
    assert subtract_filters(True, ["a", "b"]) == DenyList(frozenset("ab"))


@given(filters)
def test_deny_list_is_the_complement(a):
    assert selected(DenyList(a)) == UNIVERSE - selected(a)


@given(filters)
def test_only_finite_filters_are_sets(a):
    if a is True or isinstance(a, DenyList):
        with pytest.raises(errors.InvalidFilterError):
            filter_to_set(a)
    else:
        assert filter_to_set(a) == selected(a)


@given(finite)
def test_a_filter_is_empty_if_it_selects_nothing(a):
    assert is_filter_empty(a) == (not selected(a))
    assert is_filter_empty(DenyList(a)) == (a is True)
    assert is_filter_empty(DenyList(DenyList(a))) == is_filter_empty(a)


@settings(max_examples=50)
@given(st.lists(filters, max_size=3))
def test_groups_take_each_collection_once(many):
    collections = {name: object() for name in UNIVERSE}
    groups = group_collections(collections, many)
    assert len(groups) == len(many)
    for name, value in collections.items():
        matching = [i for i, f in enumerate(many) if in_filter(f, name)]
        places = [i for i, group in enumerate(groups) if name in group]
        assert places == matching[:1]
        assert all(groups[i][name] is value for i in places)


@pytest.mark.parametrize("bad", [3, None, 2.5, object])
def test_what_is_no_filter_is_refused_by_all(bad):
    message = "is no filter. A filter is True, False, a name"
    calls = [
        lambda: in_filter(bad, "a"),
        lambda: in_filter(DenyList(bad), "a"),
        lambda: is_filter_empty(bad),
        lambda: is_filter_empty(DenyList(bad)),
        lambda: filter_to_set(bad),
        lambda: union_filters("a", bad),
        lambda: intersect_filters(True, bad),
        lambda: subtract_filters(True, bad),
        lambda: group_collections({"a": 1}, [bad]),
    ]
    for call in calls:
        with pytest.raises(errors.InvalidFilterError, match=message):
            call()


def test_a_name_is_not_a_collection_of_letters():
    assert in_filter("params", "params")
    assert not in_filter("params", "p")
