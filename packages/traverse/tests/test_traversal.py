import copy
import pickle
import sys
import types

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batiste.traverse import (
    NotTraversableError,
    Traversal,
    TraverseAttr,
    TraverseAttributeError,
    TraverseCompose,
    TraverseEach,
    TraverseFilter,
    TraverseId,
    TraverseItem,
    TraverseItemError,
    TraverseMerge,
    TraverseTree,
    TraverseValuesError,
    t_identity,
)


class First(Traversal):
    """A traversal as a user would write it."""

    def iterate(self, inputs):
        return [inputs[0]]

    def update(self, fn, inputs):
        return [fn(inputs[0]), *inputs[1:]]


def tag(x):
    return ("new", x)


def test_examples_of_the_specification():
    Foo = types.SimpleNamespace
    assert list(TraverseAttr("foo").iterate(Foo(foo=1))) == [1]
    data = [{"foo": 1, "bar": 2}, {"foo": 3, "bar": 4}]
    assert list(t_identity.each()["foo"].iterate(data)) == [1, 3]
    data = {"foo": Foo(bar=2)}
    traversal = t_identity["foo"].bar
    assert traversal.update(lambda x: x + x, data) == {"foo": Foo(bar=4)}
    assert data == {"foo": Foo(bar=2)}


def test_identity():
    assert isinstance(t_identity, TraverseId)
    assert list(t_identity.iterate(3)) == [3]
    assert t_identity.update(tag, 3) == ("new", 3)
    assert t_identity.set([4], 3) == 4


def test_compose():
    seconds = TraverseCompose(TraverseEach(), TraverseItem(1))
    data = [(1, 2), [3, 4]]
    assert list(seconds.iterate(data)) == [2, 4]
    assert seconds.update(tag, data) == [(1, ("new", 2)), [3, ("new", 4)]]
    assert seconds.set(["x", "y"], data) == [(1, "x"), [3, "y"]]


@given(st.permutations([0, 1, 2]))
def test_compose_is_associative(shape):
    x, y, z = TraverseEach(), TraverseItem("a"), TraverseFilter(lambda v: v > 1)
    data = [{"a": n, "b": n} for n in shape]
    left, right = x.compose(y).compose(z), x.compose(y.compose(z))
    assert list(left.iterate(data)) == list(right.iterate(data))
    assert left.update(tag, data) == right.update(tag, data)


def test_merge_selects_in_turn():
    merged = t_identity.merge(TraverseItem(0), TraverseItem(0), TraverseItem(1))
    assert list(merged.iterate([1, 2])) == [1, 1, 2]
    assert merged.update(tag, [1, 2]) == [("new", ("new", 1)), ("new", 2)]
    assert merged.set([7, 8, 9], [1, 2]) == [8, 9]
    assert list(TraverseMerge().iterate([1])) == []
    assert TraverseMerge().update(tag, [1]) == [1]


def test_merge_in_the_middle_of_a_chain():
    ends = t_identity.each().merge(t_identity["a"], t_identity["b"]).each()
    data = [{"a": [1], "b": (2,), "c": 3}]
    assert list(ends.iterate(data)) == [1, 2]
    assert ends.update(tag, data) == [{"a": [("new", 1)], "b": (("new", 2),), "c": 3}]


def test_filter():
    large = t_identity.each().filter(lambda x: x > 1)
    assert list(large.iterate([1, 2, 3])) == [2, 3]
    assert large.update(tag, (1, 2, 3)) == (1, ("new", 2), ("new", 3))
    assert large.set([8, 9], [1, 2, 3]) == [1, 8, 9]


def test_what_is_not_selected_is_shared_and_nothing_changes():
    data = {"a": [1, 2], "b": [3]}
    new = t_identity["a"][0].update(tag, data)
    assert new["b"] is data["b"]
    assert data == {"a": [1, 2], "b": [3]}


def test_a_chain_through_an_empty_container_selects_nothing():
    traversal = t_identity.each()["a"].each()
    assert list(traversal.iterate([])) == []
    assert traversal.update(tag, [{"a": []}, {"a": (1,)}]) == [
        {"a": []},
        {"a": (("new", 1),)},
    ]


@pytest.mark.parametrize("values", [[1, 2], (1, 2), range(1, 3), iter([1, 2])])
def test_set_takes_any_ordered_iterable(values):
    assert t_identity.each().set(values, [7, 8]) == [1, 2]


def test_set_leaves_the_list_of_values_alone():
    values = [1, 2]
    t_identity.each().set(values, [7, 8])
    assert values == [1, 2]


def test_set_counts_the_values():
    each = t_identity.each()
    with pytest.raises(TraverseValuesError, match=r"set got 1 value, but t_identity\."):
        each.set([1], [7, 8])
    with pytest.raises(TraverseValuesError, match="set got 0 values"):
        each.set([], [7, 8])
    with pytest.raises(ValueError, match=r"more values than the 2 that t_identity\.ea"):
        each.set([1, 2, 3], [7, 8])


@pytest.mark.parametrize("bad", [None, 5, "ab", b"ab", {1: 2, 3: 4}, {1, 2}])
def test_set_refuses_what_has_no_order(bad):
    with pytest.raises(TraverseValuesError, match=f"of type {type(bad).__name__}"):
        t_identity.each().set(bad, [7, 8])


def test_arguments_are_checked_where_they_are_given():
    for use in (t_identity.compose, t_identity.merge, TraverseMerge):
        with pytest.raises(NotTraversableError, match=r"traversal is .* got 3 \(int\)"):
            use(3)  # type: ignore
    with pytest.raises(TypeError, match=r"function is needed here, but got 3 \(int\)"):
        t_identity.filter(3)  # type: ignore


def test_own_traversals_compose():
    traversal = First()["a"].each()
    data = [{"a": [1, 2]}, 3]
    assert list(traversal.iterate(data)) == [1, 2]
    assert traversal.update(tag, data) == [{"a": [("new", 1), ("new", 2)]}, 3]
    assert traversal.set([5, 6], data) == [{"a": [5, 6]}, 3]
    assert list(t_identity["x"].compose(First()).iterate({"x": [4]})) == [4]


def test_own_traversals_need_both_methods():
    class Incomplete(Traversal):
        pass

    for cls in (Incomplete, Traversal):
        with pytest.raises(TypeError, match="abstract"):
            cls()  # type: ignore


def test_iterate_is_lazy():
    values = TraverseEach().compose(TraverseItem("a")).iterate([{"a": 1}, {}])
    assert next(values) == 1
    with pytest.raises(TraverseItemError):
        next(values)


def test_a_traversal_is_no_container():
    with pytest.raises(TypeError):
        list(t_identity)  # type: ignore
    with pytest.raises(TypeError):
        1 in t_identity  # type: ignore  # noqa: B015


def test_python_can_copy_and_pickle_a_traversal():
    traversal = t_identity["a"].b.each().merge(t_identity, t_identity[0])
    data = {"a": types.SimpleNamespace(b=[[1]])}
    for same in (
        copy.copy(traversal),
        copy.deepcopy(traversal),
        pickle.loads(pickle.dumps(traversal)),
    ):
        assert list(same.iterate(data)) == list(traversal.iterate(data))
    with pytest.raises(AttributeError, match=r"use compose\(TraverseAttr\('__len__'"):
        t_identity.__len__  # noqa: B018


def test_names_with_one_underscore_are_chained():
    assert list(t_identity._x.iterate(types.SimpleNamespace(_x=1))) == [1]


def test_a_traversal_shows_its_chain():
    traversal = t_identity["a"].b.each().filter(tag).tree().merge(t_identity[0])
    assert repr(traversal) == (
        "t_identity['a'].b.each().filter(tag).tree().merge(t_identity[0])"
    )
    assert repr(First()) == "t_identity.compose(First(...))"
    long = t_identity
    for index in range(20):
        long = long[index]
    assert repr(long).startswith("t_identity...[8][9]")


def test_errors_say_where_in_the_chain():
    traversal = t_identity["a"].each().b[0]
    data = {"a": [types.SimpleNamespace(b=())]}
    for use in (
        lambda: list(traversal.iterate(data)),
        lambda: traversal.set([1], data),
    ):
        with pytest.raises(TraverseItemError) as caught:
            use()
        assert str(caught.value) == (
            "the value of type tuple has no item 0; its length is 0 "
            "(at t_identity['a'].each().b[0])."
        )
    with pytest.raises(TraverseAttributeError, match=r"\(at t_identity\['a'\]\.x\)\.$"):
        t_identity["a"].x.y.update(tag, {"a": 1})
    with pytest.raises(NotTraversableError, match=r"replaced \(at t_identity\[0\]\[1"):
        t_identity[0][1].update(tag, ["ab"])


def test_errors_of_callbacks_pass_through():
    def fail(_):
        raise KeyError("mine")

    for traversal in (
        t_identity["a"],
        t_identity.filter(fail),
        t_identity.merge(First()),
    ):
        with pytest.raises(KeyError, match="mine"):
            traversal.update(fail, {"a": 1, 0: 2})


@pytest.mark.parametrize("levels", [900, 20_000])
def test_long_chains(levels):
    data, traversal = 1, t_identity
    for _ in range(levels):
        data, traversal = {"a": data}, traversal["a"]
    assert list(traversal.iterate(data)) == [1]
    assert list(traversal.iterate(traversal.set([2], data))) == [2]


def test_a_hundred_thousand_leaves():
    data = [{"a": (i, -i)} for i in range(50_000)]
    traversal = t_identity.each()["a"].each()
    new = traversal.update(lambda x: 2 * x, data)
    assert list(traversal.iterate(new)) == [2 * x for x in traversal.iterate(data)]


# TraverseTree, with a stand-in for jax: this package is tested without it.


class _TreeDef:
    def __init__(self, keys):
        self.keys = keys

    def unflatten(self, leaves):
        return dict(zip(self.keys, leaves, strict=True))


def _fake_jax(tree_flatten):
    jax = types.ModuleType("jax")
    jax.tree_util = types.SimpleNamespace(tree_flatten=tree_flatten)  # type: ignore
    return jax


def test_tree_goes_by_jax(monkeypatch):
    flatten = lambda tree: (list(tree.values()), _TreeDef(list(tree)))  # noqa: E731
    monkeypatch.setitem(sys.modules, "jax", _fake_jax(flatten))
    data = [{"a": 1, "b": 2}, {"c": 3}]
    assert list(TraverseTree().iterate(data[0])) == [1, 2]
    leaves = t_identity.each().tree()
    assert list(leaves.iterate(data)) == [1, 2, 3]
    assert leaves.update(lambda x: -x, data) == [{"a": -1, "b": -2}, {"c": -3}]
    assert leaves.set([4, 5, 6], data) == [{"a": 4, "b": 5}, {"c": 6}]


def test_tree_says_that_it_needs_jax(monkeypatch):
    monkeypatch.setitem(sys.modules, "jax", None)
    with pytest.raises(ImportError, match="tree.* need jax: pip install jax"):
        t_identity.tree().update(tag, 1)


@pytest.mark.parametrize("kind", [RecursionError, SystemError])
def test_tree_says_that_the_tree_is_too_deep(monkeypatch, kind):
    def fail(tree):
        raise kind

    monkeypatch.setitem(sys.modules, "jax", _fake_jax(fail))
    with pytest.raises(NotTraversableError, match="too deep for JAX"):
        list(t_identity.tree().iterate([]))
