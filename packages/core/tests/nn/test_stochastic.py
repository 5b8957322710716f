"""Tests of batiste.core.nn.stochastic."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from batiste.core import apply, errors, nn

KEY = jax.random.key(0)
X = jnp.arange(1.0, 1001.0)


def run(x, rngs=None, **kwargs):
    return apply(nn.dropout)({}, x, rngs=rngs, **kwargs)


def test_dropout_zeroes_some_and_scales_the_others():
    y = run(X, {"dropout": KEY}, rate=0.75)
    kept = y != 0
    assert 150 < kept.sum() < 350
    np.testing.assert_allclose(y[kept], X[kept] * 4, rtol=1e-6)


def test_dropout_uses_the_key_that_it_is_given():
    np.testing.assert_array_equal(
        run(X, rate=0.5, rng=KEY),
        run(X, {"dropout": jax.random.key(9)}, rate=0.5, rng=KEY),
    )


@pytest.mark.parametrize("kwargs", [dict(rate=0.0), dict(rate=0.5, deterministic=True)])
def test_dropout_needs_no_key_when_nothing_is_dropped(kwargs):
    assert run(X, **kwargs) is X


def test_dropout_of_everything_has_a_finite_gradient():
    grad = jax.grad(lambda x: run(x, {"dropout": KEY}, rate=1.0).sum())(X)
    np.testing.assert_array_equal(grad, jnp.zeros_like(X))


def test_dropout_keeps_half_precision():
    y = run(X.astype(jnp.bfloat16), {"dropout": KEY}, rate=0.5)
    assert y.dtype == jnp.bfloat16


@pytest.mark.parametrize("rate", [-0.1, 1.5])
def test_dropout_refuses_a_rate_that_is_no_probability(rate):
    with pytest.raises(ValueError, match=f'rate in "/" is {rate}. It is a probability'):
        run(X, rate=rate)


def test_dropout_without_a_key():
    with pytest.raises(errors.InvalidRngError, match="dropout"):
        run(X, rate=0.5)
