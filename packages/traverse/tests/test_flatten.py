import collections
import copy
import pickle
import types
from collections.abc import Mapping

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batiste.traverse import (
    NotAMappingError,
    NotTraversableError,
    PathConflictError,
    PathKeyError,
    empty_node,
    flatten_dict,
    path_aware_map,
    unflatten_dict,
)


class Frozen(Mapping):
    """An immutable mapping that makes its inner mappings when asked for them."""

    def __init__(self, content):
        self._content = dict(content)

    def __getitem__(self, key):
        value = self._content[key]
        return Frozen(value) if isinstance(value, dict) else value

    def __iter__(self):
        return iter(self._content)

    def __len__(self):
        return len(self._content)


keys = st.text("abc", max_size=2) | st.integers(0, 2)
leaves = st.integers() | st.none() | st.lists(st.integers(), max_size=2)
nested = st.dictionaries(
    keys,
    st.recursive(leaves, lambda inner: st.dictionaries(keys, inner, max_size=4)),
    max_size=4,
)
text_nested = st.dictionaries(
    st.text("abc", min_size=1, max_size=2),
    st.recursive(
        leaves,
        lambda inner: st.dictionaries(
            st.text("abc", min_size=1, max_size=2), inner, max_size=4
        ),
    ),
    max_size=4,
)


def deep(levels, leaf=0):
    tree = leaf
    for _ in range(levels):
        tree = {"a": tree}
    return tree


def depth_of(tree):
    levels = 0
    while isinstance(tree, Mapping):
        (tree,) = tree.values()
        levels += 1
    return levels


def without_empty(tree):
    kept = {k: without_empty(v) if isinstance(v, dict) else v for k, v in tree.items()}
    return {k: v for k, v in kept.items() if v != {}}


# flatten_dict


def test_flatten_example_of_the_specification():
    xs = {"foo": 1, "bar": {"a": 2, "b": {}}}
    assert flatten_dict(xs) == {("foo",): 1, ("bar", "a"): 2}


def test_flatten_keeps_empty_nodes_when_asked():
    flat = flatten_dict({"foo": 1, "bar": {"a": 2, "b": {}}}, keep_empty_nodes=True)
    assert flat == {("foo",): 1, ("bar", "a"): 2, ("bar", "b"): empty_node}
    assert flatten_dict({}, keep_empty_nodes=True) == {}


def test_flatten_joins_with_sep():
    xs = {"foo": 1, "bar": {"a": 2, "b": {}}}
    assert flatten_dict(xs, sep="/") == {"foo": 1, "bar/a": 2}
    assert flatten_dict(xs, keep_empty_nodes=True, sep="") == {
        "foo": 1,
        "bara": 2,
        "barb": empty_node,
    }


def test_flatten_asks_is_leaf_about_every_mapping():
    asked = []

    def is_leaf(path, subtree):
        asked.append((path, subtree))
        return path == ("a",)

    xs = {"a": {"b": 1}, "c": {"d": {}, "e": 4}}
    assert flatten_dict(xs, is_leaf=is_leaf, sep="/") == {"a": {"b": 1}, "c/e": 4}
    assert asked == [
        ((), xs),
        (("a",), {"b": 1}),
        (("c",), {"d": {}, "e": 4}),
        (("c", "d"), {}),
    ]


def test_flatten_can_take_the_whole_as_a_leaf():
    assert flatten_dict({"a": {}}, is_leaf=lambda *_: True) == {(): {"a": {}}}
    assert flatten_dict({}, is_leaf=lambda *_: True, sep="/") == {"": {}}


def test_flatten_keeps_order_and_identity():
    leaf = [1]
    flat = flatten_dict({"z": {"b": leaf, "a": 2}, "y": 3})
    assert list(flat) == [("z", "b"), ("z", "a"), ("y",)]
    assert flat["z", "b"] is leaf


@pytest.mark.parametrize(
    "make",
    [
        dict,
        collections.OrderedDict,
        lambda d: collections.defaultdict(int, d),
        collections.UserDict,
        types.MappingProxyType,
        Frozen,
    ],
)
def test_flatten_goes_into_any_mapping(make):
    assert flatten_dict(make({"a": make({"b": 1}), "c": make({})})) == {("a", "b"): 1}


def test_flatten_leaves_sequences_whole():
    xs = {"a": [{"b": 1}], "c": ({"d": 1},)}
    assert flatten_dict(xs, sep=".") == {"a": [{"b": 1}], "c": ({"d": 1},)}


@pytest.mark.parametrize("bad", [[1], 3, None, ("a",), "ab", {1, 2}])
@pytest.mark.parametrize("function", [flatten_dict, unflatten_dict])
def test_only_mappings_are_taken(function, bad):
    with pytest.raises(NotAMappingError, match=f"{function.__name__} needs a mapping"):
        function(bad)
    with pytest.raises(AssertionError, match=f"of type {type(bad).__name__}"):
        function(bad)
    with pytest.raises(TypeError):
        function(bad)


def test_flatten_names_the_key_that_cannot_be_joined():
    with pytest.raises(PathKeyError, match=r"the path \('a', 0\) has the key 0 \(int"):
        flatten_dict({"a": {0: 1}}, sep="/")
    with pytest.raises(TypeError):
        flatten_dict({("a", "b"): 1}, sep="/")


def test_sep_must_be_a_string():
    with pytest.raises(PathKeyError, match=r"flatten_dict: sep must .* got 1 \(int\)"):
        flatten_dict({}, sep=1)  # type: ignore
    with pytest.raises(PathKeyError, match="unflatten_dict: sep must be a string"):
        unflatten_dict({}, sep=b"/")  # type: ignore
    with pytest.raises(PathKeyError, match="sep must not be empty"):
        unflatten_dict({"a": 1}, sep="")


def test_flatten_loses_no_value_to_equal_joined_paths():
    xs = {"a/b": {"c": 1}, "a": {"b/c": 2}}
    assert flatten_dict(xs) == {("a/b", "c"): 1, ("a", "b/c"): 2}
    with pytest.raises(PathConflictError, match=r"\('a', 'b/c'\) .* become 'a/b/c'"):
        flatten_dict(xs, sep="/")


def test_cycles_are_an_error():
    xs = {"a": {"b": {}}}
    xs["a"]["b"]["c"] = xs["a"]
    with pytest.raises(NotTraversableError, match=r"\('a', 'b', 'c'\) contains itself"):
        flatten_dict(xs)
    with pytest.raises(NotTraversableError, match="contains itself"):
        path_aware_map(lambda path, x: x, xs)


def test_a_shared_dictionary_is_no_cycle():
    shared = {"x": 1}
    assert flatten_dict({"a": shared, "b": {"c": shared}}) == {
        ("a", "x"): 1,
        ("b", "c", "x"): 1,
    }


def test_errors_of_callbacks_pass_through():
    def fail(*_):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        flatten_dict({"a": {}}, is_leaf=fail)
    with pytest.raises(ZeroDivisionError):
        path_aware_map(fail, {"a": 1})


# unflatten_dict


def test_unflatten_example_of_the_specification():
    flat = {("foo",): 1, ("bar", "a"): 2}
    assert unflatten_dict(flat) == {"foo": 1, "bar": {"a": 2}}
    assert unflatten_dict(types.MappingProxyType(flat)) == unflatten_dict(flat)
    assert unflatten_dict({}) == {}


def test_unflatten_splits_at_every_sep():
    assert unflatten_dict({"a//b": 1}, sep="/") == {"a": {"": {"b": 1}}}
    assert unflatten_dict({"/a": 1}, sep="/") == {"": {"a": 1}}
    assert unflatten_dict({"a__b": 1, "a_c": 2}, sep="__") == {"a": {"b": 1}, "a_c": 2}


def test_unflatten_refuses_keys_that_are_no_paths():
    with pytest.raises(PathKeyError, match="got 'a/b' .*; pass sep to split strings"):
        unflatten_dict({"a/b": 1})
    with pytest.raises(TypeError, match=r"tuples, but got 1 \(int\)"):
        unflatten_dict({1: 1})
    with pytest.raises(TypeError, match=r"strings, but got \('a', 'b'\) \(tuple\)"):
        unflatten_dict({("a", "b"): 1}, sep="/")


@pytest.mark.parametrize("leaf", [1, "text", [1], None, types.MappingProxyType({})])
def test_a_leaf_cannot_also_be_a_dictionary(leaf):
    with pytest.raises(PathConflictError, match=r"\('a',\) is a leaf \("):
        unflatten_dict({("a",): leaf, ("a", "b", "c"): 2})
    with pytest.raises(PathConflictError, match=r"\('a',\) is a leaf \("):
        unflatten_dict({("a", "b", "c"): 2, ("a",): leaf})
    with pytest.raises(ValueError, match="'x/a' is a leaf .*'x/a/b' needs it"):
        unflatten_dict({"x/a": leaf, "x/a/b": 2}, sep="/")


@pytest.mark.parametrize("order", [1, -1])
def test_a_leaf_that_is_a_dictionary_joins_with_longer_paths(order):
    leaf = {"x": 1}
    items = [(("a",), leaf), (("a", "b"), 2), (("a", "c"), empty_node)][::order]
    assert unflatten_dict(dict(items)) == {"a": {"x": 1, "b": 2, "c": {}}}
    assert leaf == {"x": 1}


@pytest.mark.parametrize("order", [1, -1])
def test_joined_dictionaries_lose_no_value(order):
    items = [(("a",), {"b": 1}), (("a", "b"), 2)][::order]
    with pytest.raises(PathConflictError, match="given twice|with the key 'b'"):
        unflatten_dict(dict(items))


@pytest.mark.parametrize("order", [1, -1])
def test_an_empty_node_gives_way_to_longer_paths(order):
    items = [(("a",), empty_node), (("a", "b"), 2)][::order]
    assert unflatten_dict(dict(items)) == {"a": {"b": 2}}


def test_the_empty_path_is_the_whole():
    xs = {"a": {"b": 1}}
    assert unflatten_dict(flatten_dict(xs, is_leaf=lambda *_: True)) == xs
    assert unflatten_dict({(): empty_node}) == {}
    with pytest.raises(PathConflictError, match=r"\(\) is a leaf \(int\)"):
        unflatten_dict({(): 1})


def test_unflatten_keeps_dictionaries_that_are_leaves():
    leaf = {"x": {}}
    assert unflatten_dict({("a", "b"): leaf})["a"]["b"] is leaf


# empty_node


def test_empty_node_is_one_true_object():
    assert copy.copy(empty_node) is empty_node
    assert copy.deepcopy(empty_node) is empty_node
    assert pickle.loads(pickle.dumps(empty_node)) is empty_node
    assert type(empty_node)() is empty_node
    assert empty_node
    assert empty_node != ()
    assert not (empty_node == ())  # noqa: SIM201
    assert {empty_node: repr(empty_node)} == {empty_node: "empty_node"}


# path_aware_map


def test_path_aware_map_example_of_the_specification():
    params = {"a": {"x": 10, "y": 3}, "b": {"x": 20}}
    assert path_aware_map(lambda path, x: x + 5 if "x" in path else -x, params) == {
        "a": {"x": 15, "y": -3},
        "b": {"x": 25},
    }


def test_path_aware_map_gives_dicts_and_keeps_empty_ones():
    xs = Frozen({"a": {"b": 1, "c": {}}, "d": None})
    mapped = path_aware_map(lambda path, x: (path, x), xs)
    assert mapped == {"a": {"b": (("a", "b"), 1), "c": {}}, "d": (("d",), None)}
    assert type(mapped) is dict
    assert type(mapped["a"]) is dict


def test_path_aware_map_may_return_dictionaries():
    assert path_aware_map(lambda path, x: {}, {"a": 1, "b": {}}) == {"a": {}, "b": {}}
    with pytest.raises(NotAMappingError, match="path_aware_map needs a mapping"):
        path_aware_map(lambda path, x: x, [1])  # type: ignore


# Properties and sizes


@given(nested)
def test_round_trip(xs):
    assert unflatten_dict(flatten_dict(xs, keep_empty_nodes=True)) == xs
    assert unflatten_dict(flatten_dict(xs)) == without_empty(xs)
    assert path_aware_map(lambda path, x: x, xs) == xs
    assert flatten_dict(Frozen(xs)) == flatten_dict(xs)


@given(text_nested, st.sampled_from(["/", ".", "__", "-> "]))
def test_round_trip_with_sep(xs, sep):
    assert unflatten_dict(flatten_dict(xs, True, sep=sep), sep) == xs


tricky = st.text("a/\\.-_", max_size=4)
tricky_nested = st.dictionaries(
    tricky,
    st.recursive(
        st.integers(0, 9),
        lambda inner: st.dictionaries(tricky, inner, min_size=1, max_size=3),
        max_leaves=6,
    ),
    max_size=3,
)


@given(tricky_nested, st.sampled_from(["/", ".", "--", "_-", "\\", "/\\"]))
@settings(max_examples=300)
def test_keys_with_sep_come_back_or_are_refused(xs, sep):
    try:
        flat = flatten_dict(xs, True, sep=sep)
    except (PathConflictError, PathKeyError):
        plain = [sep.join(path) for path in flatten_dict(xs)]
        assert len(set(plain)) < len(plain) or len(sep) > 1 or sep == "\\"
        return
    assert unflatten_dict(flat, sep=sep) == xs


@pytest.mark.parametrize(
    ("xs", "joined"),
    [
        ({"a/b": 1}, r"a\/b"),
        ({"a": {"b/c": {"d": 1}}}, r"a/b\/c/d"),
        ({"SpectralNorm_0": {"layer/kernel/u": 1}}, r"SpectralNorm_0/layer\/kernel\/u"),
        ({"a\\": {"b": 1}}, r"a\\/b"),
        ({r"a\/b": 1}, r"a\\\/b"),
        ({"a\\": 1}, "a\\"),
        ({r"a\b": {"c": 1}}, r"a\b/c"),
        ({"/": {"/": 1}}, r"\//\/"),
    ],
)
def test_a_sep_within_a_key_is_escaped(xs, joined):
    assert flatten_dict(xs, sep="/") == {joined: 1}
    assert unflatten_dict({joined: 1}, sep="/") == xs


@pytest.mark.parametrize(("xs", "sep"), [({"a-": {"b": 1}}, "--"), ({"a\\b": 1}, "\\")])
def test_keys_that_no_escape_tells_apart_are_refused(xs, sep):
    with pytest.raises(PathKeyError, match="would be split in other places; choose"):
        flatten_dict(xs, sep=sep)


@given(nested)
@settings(max_examples=50)
def test_paths_lead_to_the_leaves(xs):
    for path, leaf in flatten_dict(xs).items():
        at = xs
        for key in path:
            at = at[key]
        assert at is leaf


@pytest.mark.parametrize("make", [lambda d: d, Frozen])
def test_depth_is_no_limit(make):
    levels = 50_000
    flat = flatten_dict(make(deep(levels, leaf=7)))
    assert flat == {("a",) * levels: 7}
    assert depth_of(unflatten_dict(flat)) == levels
    assert depth_of(path_aware_map(lambda path, x: x + 1, make(deep(900)))) == 900


def test_a_hundred_thousand_leaves():
    xs = {i: {j: {k: k for k in range(10)} for j in range(100)} for i in range(100)}
    flat = flatten_dict(xs)
    assert len(flat) == 100_000
    assert unflatten_dict(flat) == xs
