"""Scales, and rounding to 8-bit numbers, against NumPy's own conversion."""

import jax
import ml_dtypes
import numpy as np
import pytest
from jax import numpy as jnp

from batiste.linen import fp8_ops

LARGEST = {
    jnp.float8_e4m3fn: 448.0,
    jnp.float8_e5m2: 57344.0,
    jnp.float8_e4m3fnuz: 240.0,
    jnp.float8_e5m2fnuz: 57344.0,
}


@pytest.mark.parametrize("q_dtype", LARGEST)
@pytest.mark.parametrize("out", [jnp.float32, jnp.bfloat16])
def test_largest_number(q_dtype, out):
    largest = fp8_ops.get_fp8_max(q_dtype, out)
    assert (float(largest), largest.dtype) == (LARGEST[q_dtype], jnp.dtype(out))
    assert fp8_ops.get_fp8_max(np.dtype(q_dtype), out) == largest


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.int8, jnp.float8_e4m3b11fnuz])
def test_other_dtypes_are_refused(dtype):
    with pytest.raises(ValueError, match=f"{dtype.__name__}.*float8_e4m3fn, float8_e5"):
        fp8_ops.get_fp8_max(dtype, jnp.float32)


@pytest.mark.parametrize("q_dtype", LARGEST)
@pytest.mark.parametrize("shape", [(), (5,), (2, 3)])
def test_rounding(q_dtype, shape):
    x = 1e5 * np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    x, largest = jnp.asarray(x), LARGEST[q_dtype]
    expected = np.clip(np.asarray(x) / np.float32(0.5), -largest, largest)
    expected = expected.astype(getattr(ml_dtypes, q_dtype.__name__))
    for scale in (0.5, jnp.full(1, 0.5)):
        found = fp8_ops.quantize(x, q_dtype, scale, jnp.float32)
        assert found.dtype == q_dtype
        assert np.array_equal(found, expected)
        wide = fp8_ops.dequantize(found, jnp.float32, scale)
        assert np.array_equal(wide, expected.astype(np.float32) * np.float32(0.5))
        assert np.array_equal(wide, fp8_ops.qdq(x, q_dtype, scale, jnp.float32))


@pytest.mark.parametrize(
    ("amax", "margin", "expected"),
    [(896.0, 0, 2.0), (896.0, 1, 4.0), (0.0, 0, 3.0), (-1.0, 0, 3.0)]
    + [(np.inf, 0, 3.0), (np.nan, 2, 3.0)],
)
def test_scale(amax, margin, expected):
    scale = fp8_ops.compute_scale(jnp.float32(amax), jnp.full(1, 3.0), 448.0, margin)
    np.testing.assert_allclose(scale, [expected], rtol=1e-6)


def test_history_drops_its_oldest():
    history = jnp.zeros(3)
    for amax in (1.0, 2.0, 3.0, 4.0):
        history = fp8_ops.compute_amax_history(jnp.array([[-amax], [0.5]]), history)
    assert history.tolist() == [4.0, 2.0, 3.0]


@pytest.mark.parametrize("wrap", [lambda f: f, jax.jit])
def test_update_uses_the_history_before(wrap):
    @wrap
    def update(x, scale, history):
        return fp8_ops.quantize_dequantize_update(
            x, jnp.float8_e4m3fn, scale, history, jnp.float32
        )

    x = jnp.array([1000.0, 3.3])
    rounded, scale, history = update(x, jnp.ones(1), jnp.array([896.0, 1.0]))
    assert rounded.tolist() == [896.0, 3.25]
    assert scale.tolist() == [2.0]
    assert history.tolist() == [1000.0, 896.0]
