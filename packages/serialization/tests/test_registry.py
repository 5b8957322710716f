import collections
import collections.abc
import dataclasses

import numpy as np
import pytest

from batiste.serialization import (
    SerializationError,
    current_path,
    from_state_dict,
    is_serializable,
    register_serialization_state,
    registry,
    to_state_dict,
)

Point = collections.namedtuple("Point", "x y")


@dataclasses.dataclass
class Boxed:
    """Implements the protocol; `unit` is no part of the state."""

    value: object
    unit: str = "m"

    def __to_state_dict__(self):
        return {"value": self.value}

    def __from_state_dict__(self, state):
        return dataclasses.replace(self, **state)


class Frozen(collections.abc.Mapping):
    """A mapping with the protocol, which hands out its own dict."""

    def __init__(self, items):
        self.items_ = items

    def __getitem__(self, key):
        return self.items_[key]

    def __iter__(self):
        return iter(self.items_)

    def __len__(self):
        return len(self.items_)

    def __to_state_dict__(self):
        return self.items_

    def __from_state_dict__(self, state):
        return Frozen(state)


class Counter:
    def __init__(self, value):
        self.value = value


class SubCounter(Counter):
    pass


@pytest.fixture
def counter(monkeypatch):
    monkeypatch.setattr(registry, "_REGISTRY", dict(registry._REGISTRY))
    register_serialization_state(
        Counter,
        lambda c: {"value": to_state_dict(c.value)},
        lambda c, s: type(c)(from_state_dict(c.value, s["value"], name="value")),
    )
    return Counter


def test_protocol_recurses_into_children():
    tree = {"a": Boxed([1, Boxed(2)])}
    state = to_state_dict(tree)
    assert state == {"a": {"value": {"0": 1, "1": {"value": 2}}}}
    state["a"]["value"]["1"]["value"] = 5
    found = from_state_dict({"a": Boxed([0, Boxed(0, "s")], "kg")}, state)
    assert found == {"a": Boxed([1, Boxed(5, "s")], "kg")}


def test_protocol_is_strict_about_names():
    with pytest.raises(SerializationError) as missing:
        from_state_dict({"a": Boxed(0)}, {"a": {"valu": 0}})
    assert missing.value.path == "a"
    assert "a Boxed" in missing.value.reason
    # The first words are those that programs written for Flax look for.
    assert missing.value.reason.startswith(
        "Missing fields of the state: 'value'; the nearest to 'value': 'valu'"
    )
    with pytest.raises(SerializationError, match="^Unknown fields in .*: 'extra'"):
        from_state_dict(Boxed(0), {"value": 1, "extra": 2})


def test_mappings_with_the_protocol_leave_other_keys_aside():
    target = Frozen({"a": 0, "b": Frozen({"c": 0})})
    found = from_state_dict(target, {"a": 1, "b": {"c": 2, "d": 3}, "e": 4})
    assert isinstance(found, Frozen)
    assert found["a"] == 1
    assert isinstance(found["b"], Frozen)
    assert dict(found["b"]) == {"c": 2}
    assert dict(target)["a"] == 0
    assert dict(target["b"]) == {"c": 0}
    with pytest.raises(SerializationError, match="Missing from the state: 'c'"):
        from_state_dict(target, {"a": 1, "b": {}})


def test_own_dict_of_a_type_is_not_changed():
    frozen = Frozen({"a": [1, 2]})
    assert to_state_dict(frozen) == {"a": {"0": 1, "1": 2}}
    assert frozen["a"] == [1, 2]


def test_registered_type(counter):
    state = to_state_dict({"c": Counter([1, 2])})
    assert state == {"c": {"value": {"0": 1, "1": 2}}}
    found = from_state_dict({"c": Counter([0, 0])}, state)
    assert type(found["c"]) is Counter
    assert found["c"].value == [1, 2]


def test_subclasses_inherit_until_they_register(counter):
    assert is_serializable(SubCounter)
    assert to_state_dict(SubCounter(1)) == {"value": 1}
    restored = from_state_dict(SubCounter(0), {"value": 3})
    assert type(restored) is SubCounter
    assert restored.value == 3
    register_serialization_state(
        SubCounter, lambda c: {"own": c.value}, lambda c, s: SubCounter(s["own"])
    )
    assert to_state_dict([SubCounter(1), Counter(2)]) == {
        "0": {"own": 1},
        "1": {"value": 2},
    }


def test_registering_twice_needs_override(counter):
    for taken in (Counter, dict, Boxed):
        with pytest.raises(SerializationError, match="already. Pass override=True"):
            register_serialization_state(taken, lambda x: {}, lambda x, s: x)
    register_serialization_state(
        Counter, lambda c: {"new": c.value}, lambda c, s: c, override=True
    )
    assert to_state_dict(Counter(1)) == {"new": 1}
    register_serialization_state(
        Boxed, lambda b: {"old": b.unit}, lambda b, s: b, override=True
    )
    assert to_state_dict(Boxed(1)) == {"old": "m"}


def test_subclass_of_a_type_with_the_protocol_may_register(counter):
    class Labelled(Boxed):
        label = "empty"

    register_serialization_state(
        Labelled, lambda b: {"label": b.label}, lambda b, s: type(b)(s["label"])
    )
    assert to_state_dict([Labelled("m"), Boxed("m")]) == {
        "0": {"label": "empty"},
        "1": to_state_dict(Boxed("m")),
    }


def test_registered_named_tuple_wins_over_the_default(counter):
    register_serialization_state(
        Point, lambda p: {"sum": p.x + p.y}, lambda p, s: Point(s["sum"], 0)
    )
    assert to_state_dict(Point(1, 2)) == {"sum": 3}


def test_registered_functions_see_their_path(counter):
    seen = []

    def restore(target, state):
        seen.append(current_path())
        return target

    register_serialization_state(SubCounter, lambda c: {}, restore)
    target = {"p": [SubCounter(0), SubCounter(1)]}
    from_state_dict(target, {"p": {"0": {}, "1": {}}})
    from_state_dict(target, {"p": {"0": {}, "1": {}}}, name="root")
    assert seen == ["./p/0", "./p/1", "root/p/0", "root/p/1"]
    assert current_path() == ""


def test_state_names_are_strings(counter):
    register_serialization_state(SubCounter, lambda c: {1: 2}, lambda c, s: c)
    with pytest.raises(SerializationError, match="must have strings for names") as info:
        to_state_dict({"a": [SubCounter(0)]})
    assert info.value.path == "a/0"
    with pytest.raises(SerializationError, match="must have strings for names"):
        to_state_dict(Frozen({1: 2}))


def test_is_serializable_of_types_and_objects(counter):
    for known in ({}, [], (), Counter(1), Boxed(1), Frozen({}), dict, Counter, Boxed):
        assert is_serializable(known)
    unknown = (None, 1, 1.0, "s", b"s", 1j, np.zeros(1), np.float32(1), {1}, object)
    for leaf in (*unknown, Point(1, 2), Point, int, np.ndarray):
        assert not is_serializable(leaf)


def test_subclasses_of_containers_keep_their_type():
    default = collections.defaultdict(list, a=0, b=0)
    found = from_state_dict(default, {"a": 1, "b": 2})
    assert found == {"a": 1, "b": 2}
    assert found.default_factory is list

    ordered = collections.OrderedDict(b=0, a=0)
    found = from_state_dict(ordered, {"a": 1, "b": 2})
    assert type(found) is collections.OrderedDict
    assert list(found) == ["b", "a"]

    class Items(list):
        pass

    found = from_state_dict(Items([0, 0]), {"0": 1, "1": 2})
    assert type(found) is Items
    assert found == [1, 2]
    assert default == {"a": 0, "b": 0}


def test_other_subclasses_of_tuple_are_leaves():
    class Pair(tuple):
        __slots__ = ()

    pair = Pair((1, 2))
    assert to_state_dict(pair) is pair
    assert from_state_dict(pair, 7) == 7


@pytest.mark.parametrize(
    ("target", "flat"),
    [
        ({"a": 1, "b": np.zeros(2), "c": None}, True),
        ({}, True),
        ({"a": {}}, False),
        ({"a": ()}, False),
        ({1: 1}, False),
        (collections.OrderedDict(a=1), False),
        ({"a": object()}, False),
        (np.zeros(2), False),
    ],
)
def test_dicts_of_leaves_by_strings_are_flat(target, flat):
    for _ in range(2):
        assert registry.is_flat(target) is flat


def test_flat_dicts_have_their_own_state():
    target = {"b": 1, "a": np.zeros(2)}
    state = to_state_dict(target)
    assert list(state.items()) == list(target.items())
    assert state is not target
    found = from_state_dict(target, {"a": 5, "c": 6, "b": [7]})
    assert list(found.items()) == [("b", [7]), ("a", 5)]
    with pytest.raises(
        SerializationError, match="Missing from the state: 'a'"
    ) as error:
        from_state_dict({"x": target}, {"x": {"b": 1}})
    assert error.value.path == "x"
    with pytest.raises(SerializationError, match="restored from a dict"):
        from_state_dict(target, 3)


def test_a_leaf_that_is_registered_later_is_none_any_more(monkeypatch):
    monkeypatch.setattr(registry, "_REGISTRY", dict(registry._REGISTRY))
    target = {"a": 1j}
    assert registry.is_flat(target)
    register_serialization_state(
        complex, lambda z: {"re": z.real}, lambda z, state: complex(state["re"])
    )
    assert to_state_dict(target) == {"a": {"re": 0.0}}
    assert from_state_dict(target, {"a": {"re": 2.0}}) == {"a": 2}
    registry._LEAVES.clear()
