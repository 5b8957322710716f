"""DynamicScale: growing, shrinking, limits, half precision, devices."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from batiste import serialization
from batiste.training.dynamic_scale import DynamicScale


def square(x):
    return jnp.sum(x**2)


def test_value_and_gradients_are_unscaled():
    result = DynamicScale().value_and_grad(square)(jnp.array([1.0, 3.0]))
    dynamic_scale, finite, value, grad = result
    assert bool(finite)
    assert float(value) == 10
    assert grad.tolist() == [2, 6]
    assert (int(dynamic_scale.fin_steps), float(dynamic_scale.scale)) == (1, 65536)


def test_the_scale_grows_after_the_interval():
    dynamic_scale = DynamicScale(growth_interval=2)
    scales = []
    for _ in range(6):
        dynamic_scale = dynamic_scale.value_and_grad(square)(jnp.ones(2)).dynamic_scale
        scales.append(float(dynamic_scale.scale) / 65536)
    assert scales == [1, 1, 2, 2, 2, 4]


def test_the_scale_shrinks_and_the_count_restarts_when_not_finite():
    dynamic_scale = DynamicScale(fin_steps=7)
    result = dynamic_scale.value_and_grad(square)(jnp.ones(2) * 1e38)
    assert not bool(result.finite)
    after = result.dynamic_scale
    assert (int(after.fin_steps), float(after.scale)) == (0, 32768)


def test_the_scale_has_limits():
    tiny, largest = np.finfo(np.float32).tiny, np.finfo(np.float32).max

    def shrunk(**kwargs):
        ds = DynamicScale(scale=1e-38, backoff_factor=0.1, **kwargs)
        nan = jnp.array(jnp.nan)
        return float(ds.value_and_grad(square)(nan).dynamic_scale.scale)

    assert shrunk() == tiny
    assert shrunk(minimum_scale=2.0) == 2.0
    assert shrunk(minimum_scale=None) < tiny
    ds = DynamicScale(scale=3e38, fin_steps=1, growth_interval=1)
    grown = ds.value_and_grad(jnp.sum)(jnp.zeros(2)).dynamic_scale
    assert float(grown.scale) == largest


def test_half_precision_gradients_come_back_in_float32():
    def loss(x):
        return jnp.sum(x * jnp.float16(1e-7))

    x = jnp.ones(2, jnp.float16)
    assert not jax.grad(lambda x: loss(x) * jnp.float16(1e-3))(x).any()
    result = DynamicScale(scale=1024.0).value_and_grad(loss)(x)
    assert result.grad.dtype == jnp.float32
    np.testing.assert_allclose(result.grad, 1e-7, rtol=0.2)


def test_arguments_auxiliary_data_and_keywords_pass_through():
    result = DynamicScale().value_and_grad(
        lambda x, y, k: (x * y * k, "aux"), argnums=(0, 1), has_aux=True
    )(2.0, 3.0, k=5.0)
    assert result.aux == (30.0, "aux")
    assert [float(g) for g in result.grad] == [15.0, 10.0]


def test_gradients_are_averaged_over_an_axis():
    x = jnp.arange(4.0)
    result = jax.vmap(
        lambda x: DynamicScale().value_and_grad(square, axis_name="b")(x),
        axis_name="b",
    )(x)
    np.testing.assert_array_equal(result.grad, jnp.full(4, 3.0))
    bad = jax.vmap(
        lambda x: DynamicScale().value_and_grad(square, axis_name="b")(x),
        axis_name="b",
    )(x.at[2].set(jnp.inf))
    assert not bad.finite.any(), "all members skip the step together"


def test_it_loops_in_a_compiled_step():
    @jax.jit
    def step(dynamic_scale, x):
        return dynamic_scale.value_and_grad(square)(x).dynamic_scale

    dynamic_scale = DynamicScale(growth_interval=1)
    for _ in range(4):
        dynamic_scale = step(dynamic_scale, jnp.ones(2))
    assert float(dynamic_scale.scale) == 4 * 65536


def test_a_loss_must_be_a_scalar():
    with pytest.raises(TypeError, match="scalar"):
        DynamicScale().value_and_grad(lambda x: x)(jnp.ones(2))


def test_it_is_saved_and_restored():
    dynamic_scale = DynamicScale(scale=4.0, fin_steps=3)
    assert serialization.to_state_dict(dynamic_scale) == {"fin_steps": 3, "scale": 4.0}
    data = serialization.to_bytes(dynamic_scale)
    assert serialization.from_bytes(DynamicScale(), data) == dynamic_scale
