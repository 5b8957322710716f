import math

import numpy as np
import pytest

from batiste.serialization import SerializationError, comparing
from batiste.serialization.comparing import Difference, compare, describe, leaves_of
from batiste.serialization.dtypes import dtype_from_name
from batiste.serialization.elements import Elements


def texts(first, second):
    return [difference.text() for difference in compare(first, second)]


def elements(array, cuts):
    """The elements of an array, in parts that end anywhere."""
    data = array.tobytes()
    parts = [data[a:b] for a, b in zip([0, *cuts], [*cuts, len(data)])]
    return Elements(
        array.dtype.name, array.shape, len(data), lambda: iter(map(memoryview, parts))
    )


TREE = {
    "a": {"b": np.arange(6.0).reshape(2, 3), "c": [1, "x", None, b"y", math.nan]},
    "d": {},
    "e": np.float32(2),
}


def test_what_is_the_same():
    other = {
        "e": np.array(2, "f4"),
        "d": (),
        "a": {
            "c": {"0": 1, "1": "x", "2": None, "3": b"y", "4": math.nan},
            "b": np.arange(6.0, dtype=">f8").reshape(2, 3),
        },
    }
    assert texts(TREE, other) == []


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ({"a": 1}, {}, ["a: only in the first, 1"]),
        ({}, {"a": {"b": np.ones(2)}}, ["a/b: only in the second, float64[2]"]),
        ({"a": 1}, {"a": True}, ["a: 1 and True"]),
        ({"a": 1}, {"a": np.array(1)}, ["a: 1 and int64[]"]),
        ({"a": 0.0}, {"a": -0.0}, ["a: 0.0 and -0.0"]),
        ({"a": b"x"}, {"a": b"yz"}, ["a: bytes[1] and bytes[2]"]),
        ({"a": {}}, {"a": None}, ["a: nothing and None"]),
        (
            {"a": np.zeros((2, 3))},
            {"a": np.zeros((3, 2))},
            ["a: float64[2, 3] and float64[3, 2]"],
        ),
        (
            {"a": np.array([1.0, 2, 3])},
            {"a": np.array([1.0, 2.5, 2])},
            ["a: 2 of 3 elements of float64[3] differ, at most by 1"],
        ),
        (  # only in their bits
            {"a": np.array([0.0, 1])},
            {"a": np.array([-0.0, 1])},
            ["a: 1 of 2 elements of float64[2] differ, at most by 0"],
        ),
        (
            {"a": np.array([math.nan, 1])},
            {"a": np.array([0.0, 3])},
            ["a: 2 of 2 elements of float64[2] differ, at most by nan"],
        ),
        (
            {"a": np.array([2**63 - 1, 0])},
            {"a": np.array([-(2**63), 0])},
            ["a: 1 of 2 elements of int64[2] differ, at most by 1.84467e+19"],
        ),
        (
            {"a": np.array([2**62])},
            {"a": np.array([2**62 + 1])},
            ["a: 1 of 1 elements of int64[1] differ, at most by 1"],
        ),
        (
            {"a": np.array([1 + 1j], "c8")},
            {"a": np.array([1 - 1j], "c8")},
            ["a: 1 of 1 elements of complex64[1] differ, at most by 2"],
        ),
        (
            {"a": np.array([True, False])},
            {"a": np.array([True, True])},
            ["a: 1 of 2 elements of bool[2] differ, at most by 1"],
        ),
        (
            {"a": np.array(["ab", "c"])},
            {"a": np.array(["ab", "cd"])},
            ["a: 1 of 2 elements of str64[2] differ"],
        ),
        (
            {"a": np.array([1.5, 2], "f4")},
            {"a": np.array([1.5, 4], "f2")},
            ["a: float32[2] and float16[2], 1 of 2 elements differ, at most by 2"],
        ),
        (
            {"a": np.array([1.5], "f4")},
            {"a": np.array([1.5], "f8")},
            ["a: float32[1] and float64[1], 0 of 1 elements differ, at most by 0"],
        ),
        (
            {"a": np.array(["x"])},
            {"a": np.array([1.0])},
            ["a: str32[1] and float64[1], 1 of 1 elements differ"],
        ),
        (
            {"a": np.zeros((0, 2), "f4")},
            {"a": np.zeros((0, 2), "f8")},
            ["a: float32[0, 2] and float64[0, 2], 0 of 0 elements differ"],
        ),
    ],
)
def test_what_differs(first, second, expected):
    assert texts(first, second) == expected


def test_element_types_of_ml_dtypes():
    dtype = dtype_from_name("bfloat16")
    first, second = np.array([1, 2], dtype), np.array([1, 4], dtype)
    assert texts({"a": first}, {"a": second}) == [
        "a: 1 of 2 elements of bfloat16[2] differ, at most by 2"
    ]
    assert texts({"a": first}, {"a": first.astype("f4")}) == [
        "a: bfloat16[2] and float32[2], 0 of 2 elements differ, at most by 0"
    ]


def test_complex_numbers_of_ml_dtypes():
    try:
        dtype = dtype_from_name("complex32")
    except SerializationError:
        pytest.skip("needs a newer ml_dtypes")
    first, second = np.array([1, 2j], dtype), np.array([1, 4j], dtype)
    assert texts({"a": first}, {"a": second}) == [
        "a: 1 of 2 elements of complex32[2] differ, at most by 2"
    ]


@pytest.mark.parametrize("cuts", [(), (3,), (1, 2, 3, 40), (7, 20, 21, 39)])
@pytest.mark.parametrize("block", [8, 24, 2**20])
def test_parts_end_anywhere(monkeypatch, cuts, block):
    monkeypatch.setattr(comparing, "_BLOCK", block)
    array = np.arange(6.0)
    one = {"a": elements(array, cuts)}
    seen = []
    assert not list(compare(one, {"a": array}, seen.append))
    assert sum(seen) == array.nbytes
    other = array.copy()
    other[[1, 5]] += (1, 3)
    assert texts(one, {"a": other}) == [
        "a: 2 of 6 elements of float64[6] differ, at most by 3"
    ]
    assert texts({"a": other.astype("f4")}, one) == [
        "a: float32[6] and float64[6], 2 of 6 elements differ, at most by 3"
    ]


def test_arrays_that_cannot_be_read():
    def parts():
        raise SerializationError("it is gone")

    broken = Elements("uint8", (1,), 1, parts)
    with pytest.raises(SerializationError, match="it is gone") as info:
        list(compare({"a": {"b": broken}}, {"a": {"b": np.zeros(1, "u1")}}))
    assert info.value.path == "a/b"


def test_leaves_in_their_order():
    assert list(leaves_of(TREE)) == [
        ("a", "b"),
        *(("a", "c", str(i)) for i in range(5)),
        ("d",),
        ("e",),
    ]
    assert leaves_of(3) == {(): 3}


def test_what_leaves_are_called():
    assert describe("x" * 100) == repr("x" * 50)
    assert describe(10**99) == f"1{'0' * 58}…"
    assert Difference("p", "a", "b", 1, 2, None).text() == (
        "p: a and b, 1 of 2 elements differ"
    )
