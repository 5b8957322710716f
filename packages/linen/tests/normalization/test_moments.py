"""Tests of batiste.linen.normalization.moments."""

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax import numpy as jnp

from batiste import linen
from batiste.linen.normalization import BatchNorm, LayerNorm
from batiste.linen.normalization.moments import (
    as_mask,
    canonical_axes,
    mean_square,
    moments,
    other_axes,
)

LAYER = LayerNorm()


@settings(max_examples=10)
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
        LayerNorm(use_fast_variance=fast),
        jnp.asarray(x),
        tuple(sorted(axes)),
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
    # Of no elements both are 0.
    expected, expected_var = (
        np.where(count == 0, 0, moment) for moment in (expected, expected_var)
    )
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
    layer = LayerNorm(dtype=dtype, force_float32_reductions=force)
    for statistic in (*moments(layer, x, (0,)), mean_square(layer, x, (0,))):
        assert statistic.dtype == expected


def test_half_precision_is_summed_in_float32():
    x = jnp.full((10000,), 7, jnp.float16)
    mean, _ = moments(LayerNorm(force_float32_reductions=False), x, (0,))
    assert mean == 7


def test_the_fast_variance_is_never_negative():
    x = jnp.full((3,), 1e4 + 0.1)
    assert moments(LAYER, x, (0,))[1] >= 0


def test_the_mean_square_is_that_of_the_modulus():
    x = jnp.array([3.0, 4.0])
    assert mean_square(LAYER, x, (0,)) == 12.5
    assert mean_square(LAYER, x + 1j, (0,)) == 13.5
    assert mean_square(LAYER, x, (0,), mask=jnp.array([True, False])) == 9


@pytest.mark.parametrize("fast", [True, False])
def test_over_a_mapped_axis(fast):
    layer = LayerNorm(use_fast_variance=fast)
    x = jax.random.normal(jax.random.key(0), (4, 6))
    whole = (*moments(layer, x.ravel(), (0,)), mean_square(layer, x.ravel(), (0,)))
    parts = jax.vmap(
        lambda x: (
            *moments(layer, x, (0,), axis_name="i"),
            mean_square(layer, x, (0,), axis_name="i"),
        ),
        axis_name="i",
    )(x)
    for a, b in zip(whole, parts, strict=True):
        np.testing.assert_allclose(b, np.full(4, a), rtol=1e-5)


@pytest.mark.parametrize(
    ("axes", "expected"),
    [(-1, (2,)), (1, (1,)), ((2, 0), (0, 2)), ([-1, 2], (2,)), ((), ())],
)
def test_axes_are_counted_from_the_front_and_in_order(axes, expected):
    assert canonical_axes(LAYER, "axis", axes, (2, 3, 4)) == expected


@pytest.mark.parametrize("axes", [3, -4, (0, 3)])
def test_an_axis_that_does_not_exist_is_refused(axes):
    with pytest.raises(ValueError, match=r"^LayerNorm: axis=.* between -3 and 2"):
        canonical_axes(LAYER.bind({}), "axis", axes, (2, 3, 4))


def test_the_other_axes():
    assert other_axes(4, (0, 2)) == (1, 3)
    assert other_axes(1, ()) == (0,)


def test_masks_become_booleans_with_all_axes():
    assert as_mask(LAYER, None, (2, 3)) is None
    mask = as_mask(LAYER, jnp.array([0, 2, 0]), (2, 3))
    assert mask.dtype == jnp.bool_
    assert mask.tolist() == [[False, True, False]]
    assert as_mask(LAYER, np.ones((2, 1), bool), (2, 3)).shape == (2, 1)


@pytest.mark.parametrize("shape", [(2,), (1, 2, 3), (3, 3)])
def test_a_mask_that_does_not_broadcast_is_refused(shape):
    with pytest.raises(ValueError, match="^LayerNorm: the mask of shape"):
        as_mask(LAYER.bind({}), np.ones(shape, bool), (2, 3))


@pytest.mark.parametrize("dtype", [None, jnp.float32])
def test_no_cast_where_everything_is_of_one_dtype(dtype):
    layer = LayerNorm(dtype=dtype)
    x = jnp.ones((2, 3))
    jaxpr = jax.make_jaxpr(layer.apply)(layer.init(jax.random.key(0), x), x)
    assert "convert_element_type" not in {e.primitive.name for e in jaxpr.eqns}


def test_parameters_lie_along_the_feature_axes():
    layer = BatchNorm(use_running_average=True, axis=(0, 2))
    x = jax.random.normal(jax.random.key(0), (2, 3, 4))
    variables = layer.init(jax.random.key(0), x)
    scale, bias = jnp.arange(8.0).reshape(2, 4), jnp.ones((2, 4))
    params = {"params": {"scale": scale, "bias": bias}}
    y = layer.apply({**variables, **params}, x)
    expected = x / np.sqrt(1 + 1e-5) * scale[:, None] + bias[:, None]
    np.testing.assert_allclose(y, expected, rtol=1e-5)


def collectives(jaxpr):
    count = 0
    for eqn in jaxpr.eqns:
        count += eqn.primitive.name.startswith("psum")
        for param in jax.tree.leaves(
            tuple(eqn.params.values()), is_leaf=lambda p: hasattr(p, "eqns")
        ):
            inner = getattr(param, "jaxpr", param)
            count += collectives(inner) if hasattr(inner, "eqns") else 0
    return count


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "complex64"])
@pytest.mark.parametrize("fast", [True, False])
@pytest.mark.parametrize(
    "layer",
    [
        linen.BatchNorm(use_running_average=False, axis_name="batch"),
        linen.LayerNorm(axis_name="batch"),
        linen.RMSNorm(axis_name="batch"),
        linen.GroupNorm(2, axis_name="batch"),
    ],
    ids=lambda layer: type(layer).__name__,
)
def test_devices_exchange_numbers_once(layer, fast, dtype):
    layer = layer.clone(use_fast_variance=fast)
    x = jnp.ones((2, 3, 4), dtype)
    variables = layer.clone(axis_name=None).init(jax.random.key(0), x[0])

    def run(variables, x):
        y, _ = layer.apply(variables, x, mutable=["batch_stats"])
        return y

    def loss(variables, x):
        return abs(run(variables, x)).sum().astype("float32")

    # Of the slow variance, the mean is needed first.
    each = 1 if fast or isinstance(layer, linen.RMSNorm) else 2
    for fn, times in ((run, 1), (jax.grad(loss), 2)):
        mapped = jax.make_jaxpr(fn, axis_env=[("batch", 2)])(variables, x[0])
        assert collectives(mapped.jaxpr) <= each * times
