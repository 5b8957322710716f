"""Tests of batiste.core.static_key."""

import collections
import dataclasses
import datetime
import decimal
import enum
import functools
import gc
from types import SimpleNamespace
from typing import Any, NamedTuple

import jax
import numpy as np
import pytest
from jax import numpy as jnp

from batiste.core import FrozenDict
from batiste.core.static_key import ExactKey, functions_of, static_key


@dataclasses.dataclass(frozen=True)
class Options:
    scale: Any
    note: Any = dataclasses.field(default=None, compare=False)


@dataclasses.dataclass(frozen=True, slots=True)
class Slotted:
    scale: Any


class Pair(NamedTuple):
    scale: Any
    shift: Any = 0


class Named(str):
    def __new__(cls, text, note):
        self = super().__new__(cls, text)
        self.note = note
        return self


class Loose:
    """Is equal to all of its kind."""

    def __init__(self, scale):
        self.scale = scale

    def __eq__(self, other):
        return isinstance(other, Loose)

    def __hash__(self):
        return 0


class Plain:
    def __init__(self, scale):
        self.scale = scale


class Level(enum.IntEnum):
    LOW = 1


NUMBERS = [1, 1.0, True, 0, 0.0, -0.0, False, 1 + 0j, 0j, complex(0.0, -0.0)]
NUMBERS += [np.float32(0.0), np.float32(-0.0), np.float64(0.0), np.int32(1), Level.LOW]
NUMBERS += [
    decimal.Decimal("1.0"),
    decimal.Decimal("1.00"),
    jnp.float32(1).dtype.type(1),
]

CONTAINERS = [
    lambda x: x,
    lambda x: (x,),
    lambda x: [x],
    lambda x: {"a": x},
    lambda x: FrozenDict({"a": (x,)}),
    lambda x: collections.OrderedDict(a=x),
    lambda x: frozenset([x]),
    lambda x: (frozenset([(x,)]),),
    Options,
    Slotted,
    Pair,
    lambda x: Options(1, x),
    lambda x: Named("a", x),
    Loose,
    lambda x: functools.partial(max, x),
    lambda x: functools.partial(max, key=x),
    lambda x: Options(Loose((Slotted(x),))),
]


@pytest.mark.parametrize("container", CONTAINERS)
def test_values_are_the_same_only_with_their_types_and_signs(container):
    keys = [static_key(container(x)) for x in NUMBERS]
    assert len(set(keys)) == len(NUMBERS)
    assert keys == [static_key(container(x)) for x in NUMBERS]


def test_values_of_other_types_differ():
    values = ["a", b"a", Named("a", 1), (1, 0), [1, 0], Pair(1), range(0), range(1, 1)]
    values += [datetime.UTC, {"a": 1, "b": 2}, {"b": 2, "a": 1}, None, ...]
    values += [jnp.float32, np.float32, np.dtype("float32"), "float32", jnp.bfloat16]
    values += [jnp.tanh, jax.nn.relu, int, jax.nn.initializers.zeros]
    keys = {static_key(value) for value in values}
    assert len(keys) == len(values)


def test_an_object_goes_by_identity_and_by_what_it_holds():
    one, other = Plain(1), Plain(1)
    before = static_key(one)
    assert before == static_key(one) != static_key(other)
    one.scale = 1.0
    assert before != static_key(one)


def test_what_holds_itself_has_a_key():
    one = Plain(1)
    one.scale = one
    assert static_key(one) == static_key(one)

    def count(n):
        return n and count(n - 1)

    assert static_key(count) == static_key(count)


def closure(x):
    return lambda: x


def default(x):
    return lambda y=x: y


@pytest.mark.parametrize("make", [closure, default])
def test_a_function_goes_by_identity_and_by_what_it_holds(make):
    one, other = make(1), make(1)
    assert static_key(one) == static_key(one) != static_key(other)
    assert static_key(make({1, 2}))


def test_a_function_whose_cell_changes_is_another():
    x = 1

    def fn():
        return x

    before = static_key(fn)
    x = 2.0
    assert static_key(fn) != before
    assert fn() == x


ARRAY = np.ones(2)


@pytest.mark.parametrize(
    "value",
    [
        ARRAY,
        jnp.ones(2),
        (ARRAY,),
        {"a": ARRAY},
        ARRAY.sum,
        jnp.ones(2).sum,
        functools.partial(max, ARRAY),
        closure(ARRAY),
        closure((ARRAY,)),
        closure(closure(ARRAY)),
        default(ARRAY),
        Plain(ARRAY),
        Options(1, ARRAY),
        {1, 2},
        bytearray(b"a"),
        SimpleNamespace(a=1) and iter([1]),
        ExactKey(),
    ],
    ids=lambda value: type(value).__name__,
)
def test_there_is_none_for_what_may_hold_arrays_or_change(value):
    with pytest.raises(TypeError):
        static_key(value)


def test_a_key_keeps_no_function():
    fn = closure(1)
    key = static_key((fn, {"a": fn}))
    assert functions_of(key) == [fn, fn]
    del fn
    gc.collect()
    assert functions_of(key) == []
    assert key != static_key((closure(1), {"a": closure(1)}))
