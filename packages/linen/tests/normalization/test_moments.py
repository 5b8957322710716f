"""Means and variances."""

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax import numpy as jnp

from batiste.linen.normalization.moments import moments


@settings(max_examples=10, deadline=None)
@given(st.data(), st.booleans(), st.booleans(), st.sampled_from([float, complex]))
def test_as_numpy(data, fast, masked, kind):
    shape = data.draw(st.lists(st.integers(1, 4), min_size=1, max_size=3))
    axes = data.draw(st.lists(st.sampled_from(range(len(shape))), unique=True))
    rng = np.random.default_rng(len(shape))
    x = rng.normal(size=shape).astype(np.float32)
    if kind is complex:
        x = x + 1j * rng.normal(size=shape).astype(np.float32)
    mask = rng.random(shape) < 0.8 if masked else np.ones(shape, bool)
    mean, var = moments(
        jnp.asarray(x),
        tuple(sorted(axes)),
        None,
        use_fast_variance=fast,
        mask=jnp.asarray(mask) if masked else None,
    )
    with np.errstate(invalid="ignore", divide="ignore"):
        count = mask.sum(tuple(axes))
        expected = (x * mask).sum(tuple(axes)) / count
        centered = np.abs(
            x
            - (x * mask).sum(tuple(axes), keepdims=True)
            / mask.sum(tuple(axes), keepdims=True)
        )
        expected_var = (centered**2 * mask).sum(tuple(axes)) / count
    np.testing.assert_allclose(mean, expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(var, expected_var, rtol=1e-3, atol=1e-4)
    assert var.dtype == jnp.float32


@pytest.mark.parametrize(
    ("dtype", "input_dtype", "force", "expected"),
    [
        (None, jnp.bfloat16, True, jnp.float32),
        (None, jnp.bfloat16, False, jnp.bfloat16),
        (jnp.float16, jnp.float32, True, jnp.float32),
        (jnp.float16, jnp.float32, False, jnp.float16),
        (None, jnp.int32, False, jnp.float32),
    ],
)
def test_dtypes(dtype, input_dtype, force, expected):
    x = jnp.ones((2, 3), input_dtype)
    for statistic in moments(x, (0,), dtype, force_float32_reductions=force):
        assert statistic.dtype == expected


def test_half_precision_is_summed_in_float32():
    x = jnp.full((10000,), 7, jnp.float16)
    mean, _ = moments(x, (0,), None, force_float32_reductions=False)
    assert mean == 7


def test_the_fast_variance_is_never_negative():
    x = jnp.full((3,), 1e4 + 0.1)
    assert moments(x, (0,), None)[1] >= 0


def test_without_mean():
    mean, var = moments(jnp.array([3.0, 4.0]), (0,), None, use_mean=False)
    assert mean is None and var == 12.5


def test_over_a_mapped_axis():
    x = jax.random.normal(jax.random.key(0), (4, 6))
    whole = moments(x.ravel(), (0,), None)
    parts = jax.vmap(lambda x: moments(x, (0,), None, axis_name="i"), axis_name="i")(x)
    for a, b in zip(whole, parts):
        np.testing.assert_allclose(b, np.full(4, a), rtol=1e-5)
