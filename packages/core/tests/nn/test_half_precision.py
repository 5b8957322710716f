"""Reductions of half-precision numbers and of nothing, and rates of dropout."""

import jax
import numpy as np
import pytest
from jax import numpy as jnp

from batiste.core import apply, init, nn

KEY = jax.random.key(0)
HALVES = [jnp.bfloat16, jnp.float16]


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("norm", [nn.batch_norm, nn.layer_norm, nn.group_norm])
def test_norms_of_large_numbers(dtype, norm):
    options = {"num_groups": 2} if norm is nn.group_norm else {}
    x = (300 * jax.random.normal(KEY, (64, 8, 4))).astype(dtype)
    y, _ = init(norm)(KEY, x, dtype=dtype, **options)
    expected, _ = init(norm)(KEY, x.astype(jnp.float32), **options)
    assert y.dtype == dtype
    np.testing.assert_allclose(y.astype(jnp.float32), expected, atol=0.03)


@pytest.mark.parametrize("dtype", HALVES)
def test_attention_weights_sum_to_one(dtype):
    q = 4 * jax.random.normal(KEY, (1, 8, 2, 16))
    k = 4 * jax.random.normal(jax.random.key(1), (1, 1024, 2, 16))
    v = jnp.ones((1, 1024, 2, 16))
    args = [x.astype(dtype) for x in (q, k, v)]
    y = apply(nn.dot_product_attention)({}, *args, dtype=dtype)
    assert y.dtype == dtype
    np.testing.assert_allclose(y.astype(jnp.float32), 1, atol=0.02)


def test_an_empty_batch_leaves_running_averages():
    x = jax.random.normal(KEY, (6, 3))
    _, variables = init(nn.batch_norm)(KEY, x)
    run = apply(nn.batch_norm, mutable="batch_stats")
    _, state = run(variables, x)
    y, after = run({**variables, **state}, x[:0])
    assert y.shape == (0, 3)
    for name in ("mean", "var"):
        assert (after["batch_stats"][name] == state["batch_stats"][name]).all()


@pytest.mark.parametrize("rate", [-0.1, float("nan"), 1.5, float("inf")])
@pytest.mark.parametrize("deterministic", [False, True])
def test_rates_are_probabilities(rate, deterministic):
    x = jnp.ones((1, 2, 2, 4))
    options = {"dropout_rate": rate, "deterministic": deterministic}
    rngs = {"params": KEY, "dropout": KEY}
    where = 'The dropout rate in "/" is'
    with pytest.raises(ValueError, match=f"{where} {rate}"):
        apply(nn.dropout)({}, x, rate, deterministic, rngs=rngs)
    with pytest.raises(ValueError, match=f"{where} {rate}"):
        apply(nn.dot_product_attention)({}, x, x, x, **options, rngs=rngs)
    with pytest.raises(ValueError, match=f"dropout_rate={rate}"):
        init(nn.multi_head_dot_product_attention)(rngs, x, None, 2, **options)
