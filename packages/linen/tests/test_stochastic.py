"""Dropout."""

import jax
import numpy as np
import pytest
from jax import numpy as jnp

from batiste.core import errors
from batiste.linen.stochastic import Dropout

X = jnp.ones((20, 30))
RNGS = {"dropout": jax.random.key(0)}


def test_drops_and_scales():
    y = Dropout(0.25, deterministic=False).apply({}, X, rngs=RNGS)
    assert 0.2 < (y == 0).mean() < 0.3
    np.testing.assert_allclose(y[y != 0], 1 / 0.75, rtol=1e-6)


def test_without_dropping_the_input_is_returned_and_no_key_needed():
    assert Dropout(0.5, deterministic=True).apply({}, X) is X
    assert Dropout(0.5).apply({}, X, deterministic=True) is X
    assert Dropout(0.0).apply({}, X, deterministic=False) is X


def test_dropping_everything():
    y = Dropout(1.0).apply({}, X.astype(jnp.bfloat16), deterministic=False)
    assert y.dtype == jnp.bfloat16
    assert not y.any()


def test_broadcast_dims():
    y = Dropout(0.5, broadcast_dims=(0,)).apply({}, X, deterministic=False, rngs=RNGS)
    assert (y == y[:1]).all()
    assert len(set(y[0].tolist())) == 2


def test_streams_and_keys():
    layer = Dropout(0.5, deterministic=False, rng_collection="noise")
    y = layer.apply({}, X, rngs={"noise": jax.random.key(0)})
    assert (y == 0).any()
    one, other = (layer.apply({}, X, rng=jax.random.key(i)) for i in (0, 1))
    assert (one != other).any()


@pytest.mark.parametrize("dtype", [jnp.int32, jnp.float16, jnp.complex64])
def test_dtypes(dtype):
    x = X.astype(dtype)
    y = Dropout(0.5, deterministic=False).apply({}, x, rngs=RNGS)
    assert y.dtype == (jnp.float32 if dtype == jnp.int32 else dtype)


@pytest.mark.parametrize("rate", [-0.1, 1.1, float("nan")])
def test_rates_that_are_no_probability(rate):
    with pytest.raises(ValueError, match=f"Dropout: the dropout rate.*got {rate}"):
        Dropout(rate, deterministic=False).apply({}, X, rngs=RNGS)


def test_errors():
    with pytest.raises(ValueError, match="`deterministic` is given nowhere"):
        Dropout(0.5).apply({}, X)
    with pytest.raises(ValueError, match="`deterministic` is given twice"):
        Dropout(0.5, deterministic=True).apply({}, X, deterministic=True)
    with pytest.raises(errors.InvalidRngError, match="dropout"):
        Dropout(0.5, deterministic=False).apply({}, X)
    with pytest.raises(ValueError, match=r"broadcast_dims=\(2,\) names axis 2"):
        Dropout(0.5, (2,), False).apply({}, X, rngs=RNGS)
