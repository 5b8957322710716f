"""What is accepted, what is not, and the words for it."""

import enum
import inspect

import jax
import numpy as np
import pytest
from jax import numpy as jnp

from batiste.core import rules

KEY = jax.random.key(0)
X = jnp.ones((2, 4))


class Size(enum.IntEnum):
    THREE = 3


SIZE_LIKE = [3, True, np.int64(3), np.array(3), jnp.int32(3), Size.THREE]


@pytest.mark.parametrize("size", SIZE_LIKE)
def test_sizes(size):
    assert rules.SIZE.accepts(size)
    assert rules.SIZES.accepts([size, size])


@pytest.mark.parametrize("size", [0, -1, 2.0, "3", None, (), {}, 2**62, [[3]], b"3"])
def test_what_is_no_size(size):
    assert not rules.SIZE.accepts(size)
    if size != ():
        assert not rules.SIZES.accepts([size])


def test_a_traced_number_is_no_size():
    accepted = []
    jax.jit(lambda n: accepted.append(rules.SIZE.accepts(n)))(3)
    assert accepted == [False]


@pytest.mark.parametrize(
    ("rule", "good", "bad"),
    [
        (rules.NUMBER, [1, 2.5, np.float32(1), jnp.ones(())], [None, "1", X, {}]),
        (rules.PROBABILITY, [0, 1.0, np.float32(0.5)], [-1, 2, "a", float("nan")]),
        (rules.INTEGERS, [-1, (0, -1), np.array([1])], [2.5, "ab", None]),
        (rules.INEXACT_DTYPE, ["float32", jnp.bfloat16], ["int32", "abc", 7]),
        (
            rules.ARRAY,
            [X, 1.0, [1, 2], np.ones(3)],
            [None, "a", [[1], [1, 2]], KEY],
        ),
        (rules.CALLABLE, [len], [3, "abc"]),
        (
            rules.INITIALIZER,
            [jax.nn.initializers.zeros, jax.nn.initializers.delta_orthogonal()],
            ["zeros", X, jax.nn.initializers.normal, lambda *_: X, lambda: 3],
        ),
    ],
)
def test_rules(rule, good, bad):
    assert all(map(rule.accepts, good))
    assert not any(map(rule.accepts, bad))
    assert all(isinstance(rule.reason(value), str) for value in bad)


def test_why_no_array():
    shape = jax.ShapeDtypeStruct((2,), "float32")
    assert "no numbers" in rules.why_no_array(shape)
    array = jnp.ones(2)
    array.delete()
    assert rules.is_deleted(array)
    assert "memory" in rules.why_no_array(array)
    assert rules.why_no_array("abc") == ""


class Hostile:
    """What does not let itself be asked."""

    def __iter__(self):
        raise RuntimeError("not asked")

    __bool__ = __float__ = __index__ = __len__ = __iter__


def test_what_does_not_let_itself_be_asked_is_nothing():
    hostile = Hostile()
    assert not rules.SIZE.accepts(hostile)
    assert not rules.SIZES.accepts(hostile)
    assert not rules.TRUTH.accepts(hostile)
    assert not rules.PROBABILITY.accepts(hostile)


def test_a_probability_that_is_not_known_yet():
    seen = []
    jax.jit(lambda p: seen.append(rules.PROBABILITY.accepts(p)))(0.5)
    assert seen == [True]


def test_a_function_without_a_signature_may_be_an_initializer():
    with pytest.raises(ValueError, match="signature"):
        inspect.signature(max)
    assert rules.INITIALIZER.accepts(max)
