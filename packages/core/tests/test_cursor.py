"""Cursors: places in nested data, and copies with changes."""

import collections
import copy
import dataclasses
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from batiste.core import FrozenDict, freeze, struct
from batiste.core.cursor import (
    AccessType,
    Cursor,
    Indexable,
    ParentKey,
    cursor,
    is_named_tuple,
)
from batiste.core.errors import CursorFindError

Point = collections.namedtuple("Point", "x y")


@dataclasses.dataclass
class Plain:
    p: Any
    q: Any = 1


@struct.dataclass
class State:
    step: int
    params: Any
    name: str = struct.field(pytree_node=False, default="s")


TREES = st.recursive(
    st.integers() | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(st.text(max_size=2), inner, max_size=3)
        | st.dictionaries(st.text(max_size=2), inner, max_size=3).map(freeze)
        | st.builds(Point, inner, inner)
        | st.builds(Plain, inner, inner)
        | st.builds(State, inner, inner)
    ),
    max_leaves=12,
)


def _places(value):
    """Every place below, by a walk of its own: lists of steps."""
    if isinstance(value, dict | FrozenDict):
        below = [(("item", k), value[k]) for k in value]
    elif is_named_tuple(value):
        below = [(("attr", n), getattr(value, n)) for n in value._fields]
    elif isinstance(value, list | tuple):
        below = [(("item", i), x) for i, x in enumerate(value)]
    elif dataclasses.is_dataclass(value):
        below = [
            (("attr", f.name), getattr(value, f.name))
            for f in dataclasses.fields(value)
        ]
    else:
        below = []
    for step, child in below:
        yield [step]
        yield from ([step, *rest] for rest in _places(child))


def _at(value, steps):
    for kind, key in steps:
        value = value[key] if kind == "item" else getattr(value, key)
    return value


@given(TREES, st.data())
def test_one_change_anywhere(tree, data):
    places = list(_places(tree))
    before = copy.deepcopy(tree)
    if not places:
        assert cursor(tree).set("new") == "new"
        return
    steps = data.draw(st.sampled_from(places))
    new = object()
    changed = _at(cursor(tree), steps).set(new)
    assert tree == before
    assert type(changed) is type(tree)
    assert _at(changed, steps) is new
    for other in places:
        shorter = min(len(other), len(steps))
        if other[:shorter] != steps[:shorter]:
            assert _at(changed, other) == _at(tree, other)


@given(TREES)
def test_nothing_changed_is_the_same_object(tree):
    c = cursor(tree)
    for steps in _places(tree):
        _at(c, steps)
    assert c.build() is tree
    assert c.apply_update(lambda path, value: value).build() is tree


@given(TREES)
def test_searches_visit_every_place_once_parents_first(tree):
    seen = []
    assert list(cursor(tree).find_all(lambda path, v: seen.append((path, v)))) == []
    expected = [
        ("/".join(str(key) for _, key in steps), _at(tree, steps))
        for steps in _places(tree)
    ]
    assert seen == expected


@given(TREES)
def test_updates_reach_every_number(tree):
    def negative(path, value):
        return ("n", value) if isinstance(value, int) else value

    changed = cursor(tree).apply_update(negative).build()
    for steps in _places(tree):
        value = _at(tree, steps)
        if isinstance(value, int):
            assert _at(changed, steps) == ("n", value)


def test_many_changes_of_all_kinds_of_containers():
    data = {
        "t": Point(1, [2]),
        "d": Plain(Point(3, 4)),
        "f": freeze({"z": {"w": 1}}),
        "s": State(0, {"w": 1.0}),
        "o": collections.OrderedDict(a=1),
        "l": [1, 2, 3],
    }
    c = cursor(data)
    c["t"].y[0] = 8
    c["t"].x = 0
    c["t"][0] = 44  # the same place by its index
    c["d"].p.x = 5
    c["d"].q += 6
    c["f"]["z"]["w"] = 2
    c["s"].params["w"] *= 2
    c["s"].step = c["s"].step + 1
    c["o"]["b"] = 2
    c["l"][-1] = 30
    assert c.build() == {
        "t": Point(44, [8]),
        "d": Plain(Point(5, 4), 7),
        "f": freeze({"z": {"w": 2}}),
        "s": State(1, {"w": 2.0}),
        "o": collections.OrderedDict(a=1, b=2),
        "l": [1, 2, 30],
    }
    assert data["l"] == [1, 2, 3]
    assert data["o"] == {"a": 1}


def test_a_later_change_of_the_whole_wins():
    c = cursor({"a": [1, 2], "b": 1})
    old = c["a"]
    old[0] = 5
    c["b"] = 4
    c["a"] = [7, 8]
    old[1] = 9  # of a list that is no longer there
    assert c.build() == {"a": [7, 8], "b": 4}
    c["a"][0] = 0
    assert c.build() == {"a": [0, 8], "b": 4}


def test_set_keeps_the_other_changes():
    c = cursor({"a": [1, 2], "b": 1})
    c["b"] = 4
    assert c["a"][0].set(5) == {"a": [5, 2], "b": 4}
    assert c["a"].set([9]) == c.build() == {"a": [9], "b": 4}


def test_cursors_as_values_are_their_values():
    c = cursor({"a": 1, "b": [2]})
    c["a"] = c["b"]
    assert c.build() == {"a": [2], "b": [2]}
    assert c.set(c["b"]) == [2]
    assert c["b"][0].set(c["a"]) == {"a": [2], "b": [[2]]}


def test_updates_build_on_each_other():
    def add_one(path, value):
        return value + 1 if isinstance(value, int) else value

    c = cursor({"a": [1, {"b": 2}]})
    assert c.apply_update(add_one) is c
    assert c.apply_update(add_one).build() == {"a": [3, {"b": 4}]}
    c["a"].apply_update(lambda path, v: "first" if path == "0" else v)
    assert c.build() == {"a": ["first", {"b": 4}]}


def test_what_is_replaced_is_not_updated_again():
    seen = []

    def update(path, value):
        seen.append(path)
        return [value] if path == "a" else value

    assert cursor({"a": {"b": 1}, "c": 2}).apply_update(update).build() == {
        "a": [{"b": 1}],
        "c": 2,
    }
    assert seen == ["a", "c"]


def test_find():
    c = cursor({"a": {"b": [1, 2]}, "e": 5})
    assert c.find(lambda path, v: path == "a/b").build() == [1, 2]
    assert c.find(lambda path, v: v == 5).set(6)["e"] == 6
    found = list(c.find_all(lambda path, v: isinstance(v, int | list)))
    assert [f.build() for f in found] == [[1, 2], 6]
    with pytest.raises(CursorFindError, match="No object meets the condition"):
        c.find(lambda path, v: False)
    with pytest.raises(CursorFindError, match=r"Cursor\(1\) and Cursor\(2\)"):
        c.find(lambda path, v: v in (1, 2))


def test_operators_are_those_of_the_values():
    three = cursor(3)
    assert (three + 4, 4 - three, three * 2, 2**three, -three) == (7, 1, 6, 8, -3)
    assert (three // 2, 7 % three, three / 2, divmod(7, three)) == (1, 1, 1.5, (2, 1))
    assert divmod(three, 2) == (1, 1)
    assert round(cursor(2.567), 1) == 2.6
    assert (three < 4, three == 3, three != cursor(3), three >= 5) == (1, 1, 0, 0)
    assert (three & 1, three | 4, three ^ 1, ~three, abs(cursor(-3))) == (
        1,
        7,
        2,
        -4,
        3,
    )
    assert three << cursor(1) == 6
    np.testing.assert_array_equal(cursor(np.eye(2)) @ np.ones(2), np.ones(2))
    assert not cursor(0)
    assert cursor([0])
    assert len(cursor([1, 2])) == 2
    assert str(cursor({"a": 1})) == "{'a': 1}"
    assert repr(three) == "Cursor(3)"


def test_items_of_sequences():
    c = cursor([1, (2, 3)])
    for place in c:
        place.set(0)
    assert c.build() == [0, 0]
    assert [place.build() for place in reversed(cursor((1, 2)))] == [2, 1]


def test_places():
    child = cursor({"a": Point(1, 2)})["a"].x
    assert child._parent_key.key == "x"
    assert child._parent_key.access_type is AccessType.ATTR
    assert isinstance(child._parent_key, ParentKey)
    assert isinstance(child, Indexable)
    assert isinstance(child, Cursor)


@pytest.mark.parametrize(
    ("use", "error", "match"),
    [
        (lambda c: c["c"], KeyError, 'No key "c" at the root. It has "bias", "p"'),
        (
            lambda c: c["bias"]["kernal"],
            KeyError,
            r"at the place \[.*bias.*\].*\"kernel\"",
        ),
        (
            lambda c: c["p"].z,
            AttributeError,
            r"'z' at the place \['p'\].*of type Point",
        ),
        (lambda c: setattr(c["p"], "z", 1), AttributeError, 'No field \'z\'.*"x", "y"'),
        (lambda c: c["l"][5], IndexError, "Index 5 is out of range.*holds 2 items"),
        (lambda c: c["l"].__setitem__(2, 0), IndexError, "Index 2 is out of range"),
        (lambda c: c["l"][0:1], TypeError, "A cursor has no slices"),
        (lambda c: c["l"].__setitem__(slice(1), []), TypeError, "has no slices"),
        (lambda c: c["v"].__setitem__(0, 1), TypeError, "Cannot change items.*ndarray"),
        (lambda c: setattr(c, "x", 1), TypeError, "Cannot change attributes.*dict"),
        (lambda c: iter(c), TypeError, "Cannot iterate over the root.*of type dict"),
        (lambda c: hash(c), TypeError, "unhashable"),
    ],
)
def test_errors_name_the_place(use, error, match):
    data = {
        "bias": {"kernel": 1},
        "p": Point(1, 2),
        "l": [1, 2],
        "v": np.ones(2),
    }
    with pytest.raises(error, match=match):
        use(cursor(data))


def test_depth_costs_in_proportion():
    data: Any = 0
    for _ in range(60):
        data = {"a": data}
    c = here = cursor(data)
    for _ in range(60):
        here = here["a"]
    here.set(1)  # would not end if each level were built twice
    value = c.build()
    for _ in range(60):
        value = value["a"]
    assert value == 1
