"""Which dtype a normalized array ends in, and what that costs."""

import jax
import pytest
from jax import numpy as jnp

from batiste.linen.normalization import LayerNorm
from batiste.linen.normalization.apply_moments import alike


def test_alike():
    x, y = jnp.ones(2), jnp.ones(2, jnp.bfloat16)
    assert alike(x, x)[1] is x
    assert [a.dtype for a in alike(x, y)] == [jnp.float32] * 2


@pytest.mark.parametrize("dtype", [None, jnp.float32])
def test_no_cast_where_everything_is_of_one_dtype(dtype):
    layer = LayerNorm(dtype=dtype)
    x = jnp.ones((2, 3))
    jaxpr = jax.make_jaxpr(layer.apply)(layer.init(jax.random.key(0), x), x)
    assert "convert_element_type" not in {e.primitive.name for e in jaxpr.eqns}
