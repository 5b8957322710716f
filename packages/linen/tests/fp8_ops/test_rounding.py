"""Rounding with rules for gradients."""

import jax
import pytest
from jax import numpy as jnp

from batiste.linen import fp8_ops

X, SCALE = jnp.array([1.1, -2.0]), jnp.full(1, 3.0)
HISTORY = jnp.array([896.0, 5.0])
NEXT_HISTORY = [2.0, 896.0]


def pulled(function, g):
    y, pull = jax.vjp(function, X, SCALE, HISTORY)
    return y, *pull(g)


def test_a_factor_is_rounded_and_its_gradient_is_not():
    y, x, scale, history = pulled(
        lambda *args: fp8_ops.in_qdq(jnp.float32, jnp.float8_e4m3fn, *args),
        jnp.array([1.1, 7.7]),
    )
    assert y.tolist() == [1.125, -2.0]
    assert x.tolist() == jnp.array([1.1, 7.7]).tolist()
    assert (scale.tolist(), history.tolist()) == ([2.0], NEXT_HISTORY)


def test_a_product_is_not_rounded_and_its_gradient_is():
    y, x, scale, history = pulled(
        lambda *args: fp8_ops.out_qdq(jnp.float32, jnp.float8_e5m2, *args),
        jnp.array([0.0, -2e6]),
    )
    assert y.tolist() == X.tolist()
    assert scale.tolist() == [896 / 57344]
    assert x.tolist() == [0.0, -896.0]
    assert history.tolist() == [2e6, 896.0]


def test_a_factor_in_8_bits_gets_no_gradient():
    def run(*args):
        y, scale = fp8_ops.in_q(jnp.float32, jnp.float8_e4m3fn, *args)
        assert y.dtype == jnp.float8_e4m3fn
        return y.astype(jnp.float32), scale

    y, x, scale, history = pulled(run, (jnp.ones(2), jnp.ones(1)))
    assert [each.tolist() for each in y] == [[0.5625, -1.0], [2.0]]
    assert x.tolist() == [0.0, 0.0]
    assert (scale.tolist(), history.tolist()) == ([2.0], NEXT_HISTORY)


def test_scales_are_put_back():
    scales = jnp.full(1, 2.0), jnp.full(1, 3.0)
    y, pull = jax.vjp(lambda *args: fp8_ops.out_dq(jnp.bfloat16, *args), *scales, X)
    assert y.dtype == jnp.bfloat16
    assert y[1] == -12.0
    assert [each.tolist() for each in pull(y)[:2]] == [[0.0], [0.0]]


@pytest.mark.parametrize("name", ["in_qdq", "in_q"])
def test_other_dtypes_are_refused(name):
    with pytest.raises(ValueError, match="int8"):
        getattr(fp8_ops, name)(jnp.float32, jnp.int8, X, SCALE, HISTORY)
