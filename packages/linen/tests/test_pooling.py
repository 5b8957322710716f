"""Pooling over windows."""

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax import lax
from jax import numpy as jnp

from batiste.core.errors import InvalidArgumentError
from batiste.linen.pooling import avg_pool, max_pool, min_pool, pool

X = jax.random.normal(jax.random.key(0), (2, 6, 7, 3))
windows = st.tuples(st.integers(1, 3), st.integers(1, 3))


@settings(max_examples=8, deadline=None)
@given(windows, windows, st.tuples(st.integers(0, 1), st.integers(0, 1)))
def test_by_hand(window, strides, pads):
    sides = [(0, 0), (pads[0], pads[0]), (pads[1], pads[1]), (0, 0)]
    for function, fill, reduce in [
        (max_pool, -np.inf, np.max),
        (min_pool, np.inf, np.min),
        (avg_pool, 0.0, np.mean),
    ]:
        padded = np.pad(X, sides, constant_values=fill)
        view = np.lib.stride_tricks.sliding_window_view(padded, window, (1, 2))
        expected = reduce(view, axis=(-2, -1))[:, :: strides[0], :: strides[1]]
        y = function(X, window, strides, [(p, p) for p in pads])
        np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-6)


def test_average_without_padding():
    x = jnp.ones((1, 4, 4, 1))
    y = avg_pool(x, (3, 3), padding="SAME", count_include_pad=False)
    assert (y == 1).all()
    y = avg_pool(x, (3, 3), padding="SAME")
    assert y[0, 0, 0, 0] == np.float32(4 / 9)


@pytest.mark.parametrize("function", [max_pool, min_pool, avg_pool])
@pytest.mark.parametrize("padding", ["SAME", 1, ((0, 1), (1, 0))])
def test_batch_axes(function, padding):
    expected = function(X, (2, 2), (2, 2), padding)
    one = function(X[0], (2, 2), (2, 2), padding)
    many = function(X[None], (2, 2), 2, padding)
    assert np.array_equal(one, expected[0])
    assert np.array_equal(many[0], expected)
    assert function(X[:0], (2, 2), (2, 2), padding).shape == (0, *one.shape)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.int32, jnp.uint8])
def test_dtypes(dtype):
    x = jnp.arange(8).reshape(1, 8, 1).astype(dtype)
    assert max_pool(x, (2,), (2,)).dtype == dtype
    assert max_pool(x, (2,), (2,)).ravel().tolist() == [1, 3, 5, 7]
    assert min_pool(x, (2,), (2,)).ravel().tolist() == [0, 2, 4, 6]
    assert avg_pool(x, (2,), (2,)).ravel().tolist() == [0.5, 2.5, 4.5, 6.5]


def test_own_reduction_and_gradient():
    x = jnp.arange(1.0, 5.0).reshape(1, 4, 1)
    assert pool(x, 1.0, lax.mul, (2,), (2,), "VALID").ravel().tolist() == [2, 12]
    assert pool(x, jnp.array(0.0), lax.add, (4,), None, "VALID").item() == 10
    grad = jax.grad(lambda x: max_pool(x, (2,), (2,)).sum())(x)
    assert grad.ravel().tolist() == [0, 1, 0, 1]


@pytest.mark.parametrize(
    ("window", "strides", "padding", "message"),
    [
        ((2, 2), (2,), "VALID", r"strides \(2,\) must be an int or have one"),
        ((2, 2), None, "FULL", "unknown padding 'FULL'; use 'SAME'"),
        (
            (2, 2),
            None,
            ((1, 1),),
            r"padding \(\(1, 1\),\) is no \(low, high\) pair for each",
        ),
        ((2, 2, 2, 2), None, "VALID", r"needs an input .*got shape \(2, 6, 7, 3\)"),
    ],
)
def test_errors(window, strides, padding, message):
    with pytest.raises(ValueError, match=message):
        max_pool(X, window, strides, padding)


@pytest.mark.parametrize("function", [max_pool, min_pool, avg_pool])
def test_one_int_is_the_window_of_all_spatial_axes(function):
    images = jnp.arange(2.0 * 6 * 6 * 3).reshape(2, 6, 6, 3)
    assert (function(images, 2, 2) == function(images, (2, 2), (2, 2))).all()
    sequences = images[:, 0]
    assert (function(sequences, np.int64(3)) == function(sequences, (3,))).all()


@pytest.mark.parametrize("name", ["window_shape", "strides"])
@pytest.mark.parametrize("value", [0, -1, 2.5, "ab", (2.5, 2), (0, 1), (-1, 1)])
@pytest.mark.parametrize("function", [max_pool, min_pool, avg_pool])
def test_wrong_windows_are_named(function, name, value):
    options = {"window_shape": (2, 2), name: value}
    with pytest.raises(InvalidArgumentError, match=f"^pool: {name}.*must be"):
        function(jnp.ones((2, 6, 6, 3)), **options)


@pytest.mark.parametrize("inputs", [None, "abc", {}])
def test_inputs_that_cannot_be_pooled(inputs):
    with pytest.raises(InvalidArgumentError, match="^pool: inputs=.*an array"):
        max_pool(inputs, (2, 2))
