"""Tests of batiste.core.static_args."""

import pytest

from batiste.core import errors
from batiste.core.static_args import as_tuple, in_either_order, static_args


def model(scope, x, n, train=False, *, mode="a"):
    return scope, x, n, train, mode


def open_ended(scope, *args, **kwargs):
    return scope, args, kwargs


@pytest.mark.parametrize(
    ("fn", "numbers", "names", "expected"),
    [
        (model, (), (), ((), ())),
        (model, (1,), (), ((1,), ("n",))),
        (model, (2, 1), (), ((2, 1), ("train", "n"))),
        (model, (), ("train", "mode"), ((2,), ("train", "mode"))),
        (model, (1,), ("n",), ((1,), ("n",))),
        (model, (-1,), (), ((-1,), ())),
        (open_ended, (7,), ("any",), ((7,), ("any",))),
        (object(), (1,), ("any",), ((1,), ("any",))),
        (lambda scope, x, /: x, (0,), (), ((0,), ())),
    ],
)
def test_positions_and_names_are_of_one_argument(fn, numbers, names, expected):
    assert static_args("jit", fn, numbers, names, skipped=1) == expected


def test_counted_with_the_first():
    assert static_args("jit", model, (2,), (), skipped=0) == ((2,), ("n",))


@pytest.mark.parametrize(
    ("numbers", "names", "words"),
    [
        ((3,), (), "static_argnums of remat has 3, but model has no such argument"),
        ((-4,), (), "static_argnums of remat has -4"),
        ((), ("m",), "static_argnames of remat has 'm'"),
    ],
)
def test_arguments_that_there_are_not(numbers, names, words):
    with pytest.raises(errors.InvalidArgumentError) as raised:
        static_args("remat", model, numbers, names, skipped=1)
    assert words in str(raised.value)
    assert "counted without the scope are {0: x, 1: n, 2: train}" in str(raised.value)


def test_one_or_several():
    assert as_tuple(1) == (1,)
    assert as_tuple("ab") == ("ab",)
    assert as_tuple((1, 2)) == as_tuple([1, 2]) == (1, 2)


DEVICE = object()


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (((), (), None, None), ((), (), None, None)),
        (("x", (), None, None), (("x",), (), None, None)),
        ((("x", "y"), (1,), DEVICE, "cpu"), (("x", "y"), (1,), DEVICE, "cpu")),
        (((), 1, None, None), ((), 1, None, None)),
        # One place earlier, as documented.
        ((1, (), None, None), ((), (1,), None, None)),
        (((1, 2), DEVICE, None, None), ((), (1, 2), DEVICE, None)),
        (((), DEVICE, None, "cpu"), ((), (), DEVICE, "cpu")),
        (((1,), DEVICE, "cpu", None), ((), (1,), DEVICE, "cpu")),
        (((1,), (), None, "cpu", None), ((), (1,), None, "cpu", None)),
        (((1,), None, "cpu", ["f"], None), ((), (1,), None, "cpu", ["f"])),
        (((1,), None, None, ["f"], None), ((), (1,), None, None, ["f"])),
        (((1,), None, None, None, ["f"]), ((), (1,), None, None, ["f"])),
    ],
)
def test_in_either_order(given, expected):
    assert in_either_order(*given) == expected
