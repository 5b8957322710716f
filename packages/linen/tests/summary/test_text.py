"""Tests of batiste.linen.summary.text."""

import dataclasses
import enum
from collections import OrderedDict, namedtuple
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import batiste.linen as nn
from batiste.linen.summary.text import ArraySpec, block_text, describe


@dataclasses.dataclass
class Pair:
    a: Any
    b: Any


@pytest.mark.parametrize(
    "value",
    [
        jnp.ones((2, 3), "bfloat16"),
        np.ones((2, 3), "int8"),
        jax.ShapeDtypeStruct((2,), "float32"),
        np.float32(1),
        jax.random.key(0),
    ],
)
def test_arrays_are_described_by_shape_and_dtype(value):
    assert describe(value) == ArraySpec(value.shape, value.dtype)


@pytest.mark.parametrize("dtype", [np.float32, np.dtype("float32")])
def test_dtypes_are_described_as_scalars(dtype):
    assert describe(dtype) == ArraySpec((), np.dtype("float32"))


def test_containers_become_dicts_and_lists():
    point = namedtuple("Point", "x y")(1, (2,))
    assert describe(point) == [1, [2]]
    assert describe(OrderedDict(b=1, a=Pair(None, "s"))) == {
        "a": {"a": None, "b": "s"},
        "b": 1,
    }
    assert list(describe({"b": 1, 3: 2, "a": 0})) == ["3", "a", "b"]


def test_modules_and_classes_stay_as_they_are():
    dense = nn.Dense(3)
    assert describe([dense, Pair]) == [dense, Pair]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"a": 1, "b": {"c": [2, "x"]}}, "a: 1\nb:\n  c:\n  - 2\n  - x"),
        ([[1, [2]], {"a": 0, "b": None}], "- - 1\n  - - 2\n- a: 0\n  b: None"),
        ({"a": {}, "b": []}, "a: {}\nb: \\[]"),
        ([{}, [], "", False, 0], "- {}\n- \\[]\n- \n- False\n- 0"),
        ("two\nlines", "two\\nlines"),
        (ArraySpec((16, 3), np.dtype("int8")), "[dim]int8[/dim]\\[16,3]"),
    ],
)
def test_block_text(value, text):
    assert block_text(value) == text


def test_brackets_of_strings_are_escaped():
    assert block_text("[bold]x[/bold]") == "\\[bold]x\\[/bold]"


@pytest.mark.parametrize(
    ("names", "text"),
    [
        (("data",), "P[/dim](data,)"),
        ((None,), "P[/dim](None,)"),
        (("data", None), "P[/dim](data, None)"),
        ((("x", "y"), "z"), "P[/dim]((x, y), z)"),
        ((), "P[/dim]()"),
    ],
)
@pytest.mark.parametrize("box", [nn.Partitioned, nn.LogicallyPartitioned])
def test_boxes_show_their_names(box, names, text):
    shape = (2,) * len(names)
    value = box(jax.ShapeDtypeStruct(shape, "int8"), names)
    dims = ",".join("2" * len(names))
    expected = f"[dim]int8[/dim]\\[{dims}] [dim]{text}"
    assert str(describe(value)) == expected
    assert block_text(describe({"w": value})) == f"w: {expected}"
    assert block_text(describe([value])) == f"- {expected}"


class Word(str, enum.Enum):  # noqa: UP042 (its text is not its value)
    LAST = "a"
    FIRST = "z"


class Number(enum.IntEnum):
    ONE = 1


class Plain(enum.Enum):
    X = "ex"


def test_keys_that_are_enums_show_as_their_values():
    value = {Word.FIRST: {Number.ONE: 1}, Word.LAST: {Plain.X: 2}, "m": 3}
    assert list(describe(value)) == ["a", "m", "z"]
    assert block_text(describe(value)) == "a:\n  ex: 2\nm: 3\nz:\n  1: 1"
