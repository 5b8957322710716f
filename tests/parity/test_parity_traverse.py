"""batiste.traverse against flax.traverse_util, on generated inputs.

The rule: where the released package gives a result, ours is the same, and where it
raises, ours raises an instance of the same class. The departures, all of them places
where it loses or changes data in silence or refuses what could be done, are spelt out
at the end.
"""

import collections
import copy
import dataclasses
from collections import namedtuple
from collections.abc import Mapping

import flax.traverse_util as theirs
import jax
import pytest
from flax.core import FrozenDict, freeze
from hypothesis import given, settings
from hypothesis import strategies as st

import batiste.traverse as ours

Point = namedtuple("Point", "x y")


@dataclasses.dataclass
class Data:
    x: object
    y: object = None


def plain(value):
    """One form for both: plain dicts, and one marker for empty nodes."""
    if value is ours.empty_node or value is theirs.empty_node:
        return "<empty node>"
    if isinstance(value, Mapping):
        return {key: plain(inner) for key, inner in value.items()}
    if type(value) is list:
        return [plain(inner) for inner in value]
    return value


def outcome(call):
    try:
        return plain(call()), None
    except Exception as error:
        return None, error


def same(call):
    """Checks that ``call`` comes to the same with either package."""
    result, error = outcome(lambda: call(ours))
    expected, their_error = outcome(lambda: call(theirs))
    if their_error is None:
        assert error is None, f"ours raised {error!r}; theirs gave {expected!r}"
        assert result == expected
        assert type(result) is type(expected)
    else:
        assert isinstance(error, type(their_error)), f"{error!r}, not {their_error!r}"


keys = st.text("ab/", max_size=2) | st.integers(0, 1)
words = st.text("abk", min_size=1, max_size=2)
leaves = st.integers(0, 5) | st.none() | st.just([{"a": 1}]) | st.just(())


def trees(keys):
    return st.dictionaries(
        keys,
        st.recursive(leaves, lambda inner: st.dictionaries(keys, inner, max_size=3)),
        max_size=3,
    )


NOT_DICTS = [[1], 3, None, ("a",), "ab"]


# Flat dictionaries


@given(trees(keys), st.booleans(), st.integers(0, 3))
def test_flatten_dict(xs, keep, length):
    def is_leaf(path, subtree):
        return len(path) == length

    same(lambda package: package.flatten_dict(xs, keep))
    same(lambda package: package.flatten_dict(xs, keep, is_leaf))
    assert list(ours.flatten_dict(xs)) == list(theirs.flatten_dict(xs))


@given(trees(words | st.integers(0, 1)), st.booleans(), st.sampled_from(["/", "__"]))
def test_flatten_dict_with_sep(xs, keep, sep):
    same(lambda package: package.flatten_dict(xs, keep, sep=sep))


@given(trees(words))
def test_frozen_dicts(xs):
    frozen = freeze(xs)
    for call in (
        lambda package: package.flatten_dict(frozen, keep_empty_nodes=True),
        lambda package: package.path_aware_map(lambda *item: item, frozen),
        lambda package: list(package.t_identity.tree().iterate(frozen)),
        lambda package: package.t_identity.tree().update(str, frozen),
        lambda package: package.ModelParamTraversal(lambda *_: True).update(
            lambda x: 0, frozen
        ),
    ):
        same(call)
    kept = ours.ModelParamTraversal(lambda *_: True).update(lambda x: x, frozen)
    assert type(kept) is FrozenDict
    assert kept == frozen


@given(trees(keys), st.booleans())
def test_unflatten_dict(xs, keep):
    same(lambda package: package.unflatten_dict(package.flatten_dict(xs, keep)))


@given(
    st.dictionaries(st.text("ab/_", max_size=5), st.integers(), max_size=5),
    st.sampled_from(["/", "__"]),
)
def test_unflatten_dict_with_sep(flat, sep):
    result, error = outcome(lambda: ours.unflatten_dict(flat, sep))
    expected, their_error = outcome(lambda: theirs.unflatten_dict(flat, sep))
    if error is None:
        assert their_error is None
        assert result == expected
    else:
        # Theirs goes wrong too, or it has lost a value.
        assert isinstance(error, ours.PathConflictError)
        lost = their_error is None and len(theirs.flatten_dict(expected)) < len(flat)
        assert lost or isinstance(their_error, TypeError)


@given(trees(keys))
def test_path_aware_map(xs):
    same(lambda package: package.path_aware_map(lambda *item: item, xs))


@pytest.mark.parametrize("bad", NOT_DICTS)
def test_what_is_no_dictionary(bad):
    for call in (
        lambda package: package.flatten_dict(bad),
        lambda package: package.flatten_dict(bad, sep="/"),
        lambda package: package.unflatten_dict(bad),
        lambda package: package.path_aware_map(lambda path, x: x, bad),
        lambda package: package.ModelParamTraversal(lambda *_: True).update(str, bad),
        lambda package: list(package.ModelParamTraversal(print).iterate(bad)),
    ):
        same(call)


def test_separators():
    same(lambda package: package.unflatten_dict({"a": 1}, sep=""))
    same(lambda package: package.flatten_dict({"a": {"b": 1}}, sep=""))


def test_empty_nodes_are_no_leaves_for_jax():
    for package in (ours, theirs):
        flat = package.flatten_dict({"a": {}, "b": 1}, keep_empty_nodes=True)
        assert jax.tree_util.tree_leaves(flat) == [1]


# Traversals: the same chain is built from both packages.


def tag(x):
    return ("new", x)


def is_large(x):
    return not isinstance(x, int) or x > 2


def step(package, name, *arguments):
    if name == "merge":
        return package.TraverseMerge(*(chain(package, each) for each in arguments))
    if name == "compose":
        return chain(package, arguments)
    return {
        "id": package.TraverseId,
        "each": package.TraverseEach,
        "tree": package.TraverseTree,
        "item": package.TraverseItem,
        "attr": package.TraverseAttr,
        "filter": package.TraverseFilter,
    }[name](*arguments)


def chain(package, steps):
    traversal = package.t_identity
    for each in steps:
        traversal = traversal.compose(step(package, *each))
    return traversal


steps = st.recursive(
    st.sampled_from(
        [
            ("id",),
            ("each",),
            ("tree",),
            ("item", "a"),
            ("item", "b"),
            ("item", 0),
            ("item", 1),
            ("attr", "x"),
            ("attr", "y"),
            ("filter", is_large),
        ]
    ),
    lambda inner: st.one_of(
        st.lists(st.lists(inner, max_size=2), max_size=3).map(
            lambda parts: ("merge", *parts)
        ),
        st.lists(inner, max_size=2).map(lambda parts: ("compose", *parts)),
    ),
    max_leaves=3,
)
data = st.recursive(
    st.integers(0, 5) | st.just("text") | st.none(),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.tuples(inner, inner),
        st.dictionaries(st.sampled_from("ab"), inner, max_size=2),
        st.builds(Point, inner, inner),
        st.builds(Data, inner, inner),
    ),
    max_leaves=8,
)

# What the released package says when it cannot do what ours can, and the cases where it
# returns its input although it cannot find what is to be updated.
REFUSES = (
    "Only the entries of a list or tuple can be traversed.",
    "'Data' object is not iterable",
)


def compare(our_call, their_call, missing):
    result, error = outcome(our_call)
    expected, their_error = outcome(their_call)
    if their_error is None:
        if error is None:
            assert result == expected
            assert type(result) is type(expected)
        else:
            assert missing
            assert isinstance(error, ours.TraverseItemError)
    elif str(their_error) not in REFUSES:
        assert isinstance(error, type(their_error)), f"{error!r}, not {their_error!r}"


@given(data, st.lists(steps, max_size=3), st.integers(-1, 1))
@settings(max_examples=400)
def test_traversals(xs, steps, surplus):
    mine, reference = chain(ours, steps), chain(theirs, steps)
    before = copy.deepcopy(xs)
    compare(lambda: list(mine.iterate(xs)), lambda: list(reference.iterate(xs)), False)
    selected, error = outcome(lambda: list(reference.iterate(xs)))
    missing = isinstance(error, IndexError)
    compare(lambda: mine.update(tag, xs), lambda: reference.update(tag, xs), missing)
    values = list(range(len(selected or ()) + surplus))
    compare(lambda: mine.set(values, xs), lambda: reference.set(values, xs), missing)
    assert xs == before


@given(trees(words), words, st.integers(-1, 1))
def test_model_param_traversal(xs, word, surplus):
    seen = {ours: [], theirs: []}

    def traversal(package):
        def select(name, value):
            seen[package].append((name, value))
            return word in name

        return package.ModelParamTraversal(select)

    values = list(range(len(list(traversal(theirs).iterate(xs))) + surplus))
    seen[theirs].clear()
    same(lambda package: list(traversal(package).iterate(xs)))
    assert seen[ours] == seen[theirs]
    same(lambda package: traversal(package).update(tag, xs))
    same(lambda package: traversal(package).set(values, xs))


@pytest.mark.parametrize("xs", [{1: {"k": 2}}, {("t",): 1}])
def test_model_param_traversal_wants_strings(xs):
    same(lambda package: list(package.ModelParamTraversal(print).iterate(xs)))


@pytest.mark.parametrize("name", ["Traversal", "TraverseItem", "TraverseAttr"])
def test_constructors_want_their_arguments(name):
    same(lambda package: getattr(package, name)())


# Departures


def test_departure_no_value_is_lost():
    flat = {("a", "b"): 1, ("a",): 2}
    assert theirs.unflatten_dict(flat) == {"a": 2}
    with pytest.raises(ours.PathConflictError):
        ours.unflatten_dict(flat)
    xs = {"a/b": {"c": 1}, "a": {"b/c": 2}}
    assert theirs.flatten_dict(xs, sep="/") == {"a/b/c": 2}
    with pytest.raises(ours.PathConflictError):
        ours.flatten_dict(xs, sep="/")


def test_departure_unflatten_does_not_change_its_input():
    for package, changed in ((theirs, True), (ours, False)):
        leaf = {"x": 1}
        flat = {("a",): leaf, ("a", "b"): 2}
        assert package.unflatten_dict(flat) == {"a": {"x": 1, "b": 2}}
        assert (leaf != {"x": 1}) is changed


def test_departure_empty_nodes_outlive_a_tree_map():
    for package, kept in ((theirs, False), (ours, True)):
        flat = package.flatten_dict({"a": {}, "b": 1}, keep_empty_nodes=True)
        mapped = jax.tree_util.tree_map(lambda x: x + 1, flat)
        assert (package.unflatten_dict(mapped) == {"a": {}, "b": 2}) is kept


def test_departure_a_string_is_no_path():
    assert theirs.unflatten_dict({"ab": 1}) == {"a": {"b": 1}}
    with pytest.raises(ours.PathKeyError):
        ours.unflatten_dict({"ab": 1})


def test_departure_the_empty_path_is_the_whole():
    with pytest.raises(IndexError):
        theirs.unflatten_dict({(): {"a": 1}})
    assert ours.unflatten_dict({(): {"a": 1}}) == {"a": 1}


def test_departure_indices_of_tuples():
    assert theirs.TraverseItem(-1).update(tag, (1, 2)) == (1, 2)
    assert ours.TraverseItem(-1).update(tag, (1, 2)) == (1, ("new", 2))
    assert theirs.TraverseItem(5).update(tag, (1, 2)) == (1, 2)
    with pytest.raises(IndexError):
        ours.TraverseItem(5).update(tag, (1, 2))


def test_departure_slices_of_lists():
    first = slice(0, 1)
    assert list(theirs.TraverseItem(first).iterate([1, 2])) == [1]
    assert theirs.TraverseItem(first).update(tag, [1, 2]) == ["new", [1], 2]
    assert ours.TraverseItem(first).update(tag, [1, 2]) == [("new", 1), 2]


def test_departure_frozen_dicts_can_be_updated():
    xs = FrozenDict({"a": 1})
    with pytest.raises(ValueError, match="immutable"):
        theirs.TraverseItem("a").update(tag, xs)
    assert ours.TraverseItem("a").update(tag, xs) == FrozenDict({"a": ("new", 1)})
    assert list(theirs.TraverseEach().iterate(xs)) == ["a"]
    assert list(ours.TraverseEach().iterate(xs)) == [1]


def test_departure_a_default_is_not_kept():
    for package, kept in ((theirs, {"b": 0}), (ours, {})):
        xs = collections.defaultdict(int)
        assert list(package.TraverseItem("b").iterate(xs)) == [0]
        assert xs == kept


def test_departure_mappings_keep_their_types_in_model_params():
    xs = {"a": collections.OrderedDict(k=1)}
    for package, kind in ((theirs, dict), (ours, collections.OrderedDict)):
        new = package.ModelParamTraversal(lambda *_: True).update(tag, xs)
        assert type(new["a"]) is kind
