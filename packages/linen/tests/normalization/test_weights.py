"""Tests of batiste.linen.normalization.weights."""

import jax
import numpy as np
import pytest
from jax import numpy as jnp

from batiste import linen as nn
from batiste.core import errors
from batiste.linen.normalization.weights import SpectralNorm, WeightNorm

KEY = jax.random.key(0)
X = jax.random.normal(jax.random.key(1), (5, 4))
normal = jax.nn.initializers.normal(1.0)


def test_weight_norm():
    layer = WeightNorm(nn.Dense(3, bias_init=normal), scale_init=normal)
    _, variables = layer.init_with_output(KEY, X)
    params = jax.tree.map(lambda p: p + 0.5, dict(variables["params"]))
    kernel = params["layer_instance"]["kernel"]
    kernel = kernel / jnp.linalg.norm(kernel, axis=0)
    kernel = kernel * params["layer_instance/kernel/scale"]
    expected = X @ kernel + params["layer_instance"]["bias"]
    y = layer.apply({"params": params}, X)
    np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("fields", "names"),
    [
        ({"use_scale": False}, {}),
        ({"feature_axes": None}, {"kernel/scale": ()}),
        ({"feature_axes": (0, 1)}, {"kernel/scale": (4, 3)}),
        ({"variable_filter": {"bias"}}, {"bias/scale": (3,)}),
        ({"variable_filter": None}, {"bias/scale": (3,), "kernel/scale": (3,)}),
        ({"variable_filter": ()}, {"bias/scale": (3,), "kernel/scale": (3,)}),
    ],
)
def test_which_weights_have_which_scale(fields, names):
    variables = WeightNorm(nn.Dense(3), **fields).init(KEY, X)
    scales = {k: v.shape for k, v in variables["params"].items() if "/" in k}
    assert scales == {f"layer_instance/{k}": v for k, v in names.items()}


def test_names_by_the_layer():
    class Model(nn.Module):
        @nn.compact
        def __call__(self, x):
            x = WeightNorm(nn.Dense(3))(x)
            return WeightNorm(nn.Dense(2, name="out"))(x)

    params = Model().init(KEY, X)["params"]
    assert set(params) == {"Dense_0", "out", "WeightNorm_0", "WeightNorm_1"}
    assert set(params["WeightNorm_0"]) == {"Dense_0/kernel/scale"}
    assert set(params["WeightNorm_1"]) == {"out/kernel/scale"}


def test_weight_norm_error():
    with pytest.raises(ValueError, match="WeightNorm: feature_axes=2 names axis 2"):
        WeightNorm(nn.Dense(3), feature_axes=2).init(KEY, X)


@pytest.mark.parametrize("layer", [nn.Dense(3, use_bias=False), nn.Conv(3, (2,))])
def test_spectral_norm_finds_the_largest_singular_value(layer):
    layer = SpectralNorm(layer, n_steps=50)
    x = X[None]
    variables = layer.init(KEY, x, update_stats=False)
    _, updated = layer.apply(variables, x, update_stats=True, mutable=["batch_stats"])
    kernel = variables["params"]["layer_instance"]["kernel"]
    largest = jnp.linalg.svd(kernel.reshape(-1, 3), compute_uv=False)[0]
    sigma = updated["batch_stats"]["layer_instance/kernel/sigma"]
    np.testing.assert_allclose(sigma, largest, rtol=1e-3)


def test_spectral_norm_divides():
    layer = SpectralNorm(nn.Dense(3, use_bias=False))
    variables = layer.init(KEY, X, update_stats=False)
    y, updated = layer.apply(variables, X, update_stats=True, mutable=["batch_stats"])
    stats = updated["batch_stats"]
    kernel = variables["params"]["layer_instance"]["kernel"]
    expected = X @ (kernel / stats["layer_instance/kernel/sigma"])
    np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-5)
    # Without an update the state stays, and need not be mutable.
    assert np.array_equal(layer.apply(variables, X, update_stats=False), y)
    with pytest.raises(errors.ModifyScopeVariableError, match="kernel/u"):
        layer.apply(variables, X, update_stats=True)


def test_spectral_norm_state():
    layer = SpectralNorm(nn.Dense(3), collection_name="state", param_dtype=jnp.float16)
    state = layer.init(KEY, X, update_stats=False)["state"]
    assert {k: (v.shape, v.dtype.name) for k, v in state.items()} == {
        "layer_instance/kernel/u": ((1, 3), "float16"),
        "layer_instance/kernel/sigma": ((), "float16"),
    }
    no_steps = SpectralNorm(nn.Dense(3), n_steps=0)
    assert set(no_steps.init(KEY, X, update_stats=True)) == {"params"}


def test_a_weight_of_zeros_stays_zero():
    layer = SpectralNorm(nn.Dense(3, kernel_init=jax.nn.initializers.zeros))
    y, _ = layer.init_with_output(KEY, X, update_stats=True)
    assert not y.any()


def test_spectral_norm_error():
    layer = SpectralNorm(nn.Conv(3, (2,)), error_on_non_matrix=True)
    message = (
        r"SpectralNorm: the parameter 'layer_instance/kernel' of shape \(2, 4, 3\) is "
        "no matrix, and error_on_non_matrix is set"
    )
    with pytest.raises(ValueError, match=message):
        layer.init(KEY, X[None], update_stats=True)


def test_boxed_weights_are_normalized_in_their_boxes():
    kernel_init = nn.with_partitioning(normal, (None, "model"))
    layer = WeightNorm(nn.Dense(2, kernel_init=kernel_init))
    variables = layer.init(KEY, X)
    # The name of the box's field is in the path, as in the released package.
    scale = "layer_instance/kernel/value/scale"
    assert sorted(variables["params"]) == ["layer_instance", scale]
    box = variables["params"]["layer_instance"]["kernel"]
    assert isinstance(box, nn.Partitioned)
    assert box.names == (None, "model")
    params = {
        "layer_instance": nn.unbox(variables["params"]["layer_instance"]),
        "layer_instance/kernel/scale": jnp.ones(2),
    }
    expected = WeightNorm(nn.Dense(2)).apply({"params": params}, X)
    np.testing.assert_allclose(layer.apply(variables, X), expected, rtol=1e-6)

    layer = SpectralNorm(nn.Dense(2, kernel_init=kernel_init))
    variables = layer.init(KEY, X, update_stats=False)
    stats = ["layer_instance/kernel/value/sigma", "layer_instance/kernel/value/u"]
    assert sorted(variables["batch_stats"]) == stats
    assert isinstance(variables["params"]["layer_instance"]["kernel"], nn.Partitioned)
    y, updates = layer.apply(variables, X, update_stats=True, mutable=["batch_stats"])
    kernel = nn.unbox(variables["params"]["layer_instance"]["kernel"])
    sigma = updates["batch_stats"][stats[0]]
    np.testing.assert_allclose(y, X @ kernel / sigma, rtol=1e-4, atol=1e-5)
