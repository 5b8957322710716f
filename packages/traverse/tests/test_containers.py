import collections
import dataclasses
import math
import time
import types
from collections import namedtuple
from collections.abc import Mapping, MutableSequence
from typing import ClassVar

import pytest

from batiste.traverse import (
    NotTraversableError,
    TraverseAttr,
    TraverseAttributeError,
    TraverseEach,
    TraverseItem,
    TraverseItemError,
)

Point = namedtuple("Point", "x y")


@dataclasses.dataclass
class Data:
    x: int
    y: int = 2


@dataclasses.dataclass(frozen=True)
class FrozenData:
    x: int
    y: int = 2


@dataclasses.dataclass(frozen=True, slots=True)
class SlotsData:
    x: int
    y: int = 2


@dataclasses.dataclass(frozen=True)
class Derived:
    x: int
    y: int = dataclasses.field(init=False)
    z: ClassVar[int] = 5

    def __post_init__(self):
        object.__setattr__(self, "y", self.x + 1)


class SubDict(dict):
    pass


class SubList(list):
    pass


class SubTuple(tuple):
    def __new__(cls, *elements):
        return super().__new__(cls, elements)


class Slots:
    __slots__ = ("x",)

    def __init__(self, x):
        self.x = x


class Frozen(Mapping):
    def __init__(self, content):
        self._content = dict(content)

    def __getitem__(self, key):
        return self._content[key]

    def __iter__(self):
        return iter(self._content)

    def __len__(self):
        return len(self._content)


class Wrapper(MutableSequence):
    """Shares its list with its copies."""

    def __init__(self, content):
        self.content = content

    def __getitem__(self, index):
        return self.content[index]

    def __setitem__(self, index, value):
        self.content[index] = value

    def __delitem__(self, index):
        del self.content[index]

    def __len__(self):
        return len(self.content)

    def insert(self, index, value):
        self.content.insert(index, value)


class Sealed(Wrapper):
    """Cannot be made from its elements."""

    def __init__(self):
        super().__init__([1])


class Numbers:
    """Takes only numbers, as an array does."""

    def __init__(self):
        self.content = [1]

    def __getitem__(self, index):
        return self.content[index]

    def __setitem__(self, index, value):
        self.content[index] = math.floor(value)

    def __copy__(self):
        return Numbers()


def tag(x):
    return ("new", x)


MAPPINGS = [
    dict,
    collections.OrderedDict,
    lambda d: collections.defaultdict(list, d),
    collections.UserDict,
    SubDict,
    types.MappingProxyType,
    Frozen,
]
SEQUENCES = [
    list,
    tuple,
    SubList,
    lambda v: SubTuple(*v),
    lambda v: Point(*v),
    collections.deque,
    collections.UserList,
    Wrapper,
]
RECORDS = [Data, FrozenData, SlotsData]


@pytest.mark.parametrize("make", MAPPINGS)
def test_mappings_keep_their_type(make):
    xs = make({"b": 1, "a": 2})
    item = TraverseItem("b").update(tag, xs)
    each = TraverseEach().update(tag, xs)
    assert type(item) is type(each) is type(xs)
    assert list(item.items()) == [("b", ("new", 1)), ("a", 2)]
    assert list(each.items()) == [("b", ("new", 1)), ("a", ("new", 2))]
    assert list(TraverseEach().iterate(xs)) == [1, 2]
    assert list(TraverseItem("a").iterate(xs)) == [2]
    assert dict(xs) == {"b": 1, "a": 2}


@pytest.mark.parametrize("make", SEQUENCES)
def test_sequences_keep_their_type(make):
    xs = make([1, 2])
    item = TraverseItem(1).update(tag, xs)
    last = TraverseItem(-2).update(tag, xs)
    each = TraverseEach().update(tag, xs)
    assert type(item) is type(each) is type(last) is type(xs)
    assert list(item) == [1, ("new", 2)]
    assert list(last) == [("new", 1), 2]
    assert list(each) == [("new", 1), ("new", 2)]
    assert list(TraverseEach().iterate(xs)) == [1, 2]
    assert list(xs) == [1, 2]


@pytest.mark.parametrize("make", [list, tuple, SubList, Wrapper])
def test_a_slice_selects_its_items(make):
    xs = make([1, 2, 3, 4])
    assert list(TraverseItem(slice(0, None, 2)).iterate(xs)) == [1, 3]
    new = TraverseItem(slice(0, None, 2)).update(tag, xs)
    assert type(new) is type(xs)
    assert list(new) == [("new", 1), 2, ("new", 3), 4]


@pytest.mark.parametrize("make", RECORDS)
def test_dataclasses_keep_their_type(make):
    xs = make(1)
    assert TraverseAttr("x").update(tag, xs) == make(("new", 1), 2)
    assert TraverseEach().update(tag, xs) == make(("new", 1), ("new", 2))
    assert list(TraverseEach().iterate(xs)) == [1, 2]
    assert xs == make(1)


def test_fields_that_the_constructor_does_not_take():
    xs = Derived(1)
    assert TraverseAttr("x").update(lambda x: 10, xs).y == 11
    new = TraverseAttr("y").update(tag, xs)
    assert (new.x, new.y) == (1, ("new", 2))
    new = TraverseEach().update(lambda x: 10 * x, xs)
    assert (new.x, new.y) == (10, 20)
    assert xs.y == 2


def test_attributes_of_other_objects():
    xs = types.SimpleNamespace(x=1, y=2)
    assert TraverseAttr("x").update(tag, xs) == types.SimpleNamespace(x=("new", 1), y=2)
    assert TraverseAttr("x").update(tag, Slots(1)).x == ("new", 1)
    assert TraverseAttr("y").update(tag, Point(1, 2)) == Point(1, ("new", 2))
    assert xs == types.SimpleNamespace(x=1, y=2)


def test_subclasses_keep_what_they_hold_besides():
    xs = SubTuple(1, 2)
    xs.note = "kept"  # type: ignore
    assert TraverseItem(0).update(tag, xs).note == "kept"
    xs = SubDict(a=1)
    xs.note = "kept"  # type: ignore
    assert TraverseItem("a").update(tag, xs).note == "kept"
    xs = collections.defaultdict(list, a=1)
    assert TraverseItem("a").update(tag, xs).default_factory is list
    xs = collections.deque([1], maxlen=1)
    assert TraverseEach().update(tag, xs).maxlen == 1


def test_a_tuple_type_that_insists_on_its_constructor():
    then = time.gmtime(0)
    new = TraverseItem(0).update(lambda year: year + 1, then)
    assert type(new) is time.struct_time
    assert new.tm_year == 1971


def test_a_default_is_given_but_not_kept():
    xs = collections.defaultdict(int, a=1)
    assert list(TraverseItem("b").iterate(xs)) == [0]
    assert TraverseItem("b").update(lambda n: n + 5, xs) == {"a": 1, "b": 5}
    assert xs == {"a": 1}


def test_each_reads_any_iterable():
    assert list(TraverseEach().iterate(range(2))) == [0, 1]
    assert list(TraverseEach().iterate("ab")) == ["a", "b"]
    assert list(TraverseItem(0).iterate("ab")) == ["a"]
    with pytest.raises(NotTraversableError, match=r"each\(\) cannot go into .* int"):
        list(TraverseEach().iterate(3))


@pytest.mark.parametrize(
    "bad", [3, None, "ab", range(2), {1, 2}, types.SimpleNamespace()]
)
def test_each_updates_only_what_it_can_rebuild(bad):
    with pytest.raises(
        ValueError,
        match=rf"each\(\) cannot update a value of type {type(bad).__name__};",
    ):
        TraverseEach().update(tag, bad)


@pytest.mark.parametrize(
    ("xs", "key", "kind", "message"),
    [
        (
            {"a": 1, "b": 2},
            "c",
            KeyError,
            "type dict has no item 'c'; it has 'a', 'b'.",
        ),
        ({}, 0, KeyError, "type dict has no item 0; it has nothing."),
        (dict.fromkeys(range(20)), 20, KeyError, "5, 6, 7, ...."),
        ((1, 2), 5, IndexError, "type tuple has no item 5; its length is 2."),
        ([1, 2], -3, IndexError, "type list has no item -3; its length is 2."),
    ],
)
def test_missing_items(xs, key, kind, message):
    for use in (
        TraverseItem(key).update,
        lambda _, xs: list(TraverseItem(key).iterate(xs)),
    ):
        with pytest.raises(kind) as caught:
            use(tag, xs)
        assert isinstance(caught.value, TraverseItemError)
        assert str(caught.value).endswith(message)


@pytest.mark.parametrize(
    ("xs", "key"), [(3, 0), (None, "a"), ([1], "a"), ((1,), "a"), ({}, []), ({1}, 1)]
)
def test_what_has_no_items(xs, key):
    with pytest.raises(
        NotTraversableError, match=f"of type {type(xs).__name__} has no"
    ):
        TraverseItem(key).update(tag, xs)


def test_items_that_cannot_be_replaced():
    with pytest.raises(
        NotTraversableError, match="items .* type str cannot be replaced"
    ):
        TraverseItem(0).update(tag, "ab")
    with pytest.raises(
        NotTraversableError, match="item 0 .* type Numbers .* type tuple"
    ):
        TraverseItem(0).update(tag, Numbers())
    with pytest.raises(TypeError, match="cannot be called with a list"):
        TraverseEach().update(tag, Sealed())


def test_attributes_that_are_not_there():
    for xs in (Point(1, 2), Data(1), FrozenData(1), Slots(1), 3):
        with pytest.raises(
            TraverseAttributeError,
            match=f"type {type(xs).__name__} has no attribute 'q'",
        ):
            list(TraverseAttr("q").iterate(xs))


def test_attributes_that_are_no_fields():
    with pytest.raises(NotTraversableError, match="'_fields' is no field of Point"):
        TraverseAttr("_fields").update(tag, Point(1, 2))
    with pytest.raises(TypeError, match="'z' is no field of Derived.* are 'x', 'y'"):
        TraverseAttr("z").update(tag, Derived(1))


@pytest.mark.parametrize(("xs", "name"), [(3, "real"), (1j, "imag"), (Data, "y")])
def test_attributes_that_cannot_be_set_on_a_copy(xs, name):
    with pytest.raises(TraverseAttributeError, match=f"{name!r} .* cannot be set"):
        TraverseAttr(name).update(tag, xs)
    assert Data.y == 2


def test_a_module_is_not_changed():
    with pytest.raises(AttributeError, match="cannot be copied"):
        TraverseAttr("pi").update(tag, math)
    assert isinstance(math.pi, float)
