"""The layer sees its kernels standardized, whatever is stored."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from weight_standardization import Block, main, standardize, standardized

import batiste.linen as nn

CASES = [(nn.Dense, (4,), (2, 6)), (nn.Conv, (4, (3, 3)), (2, 5, 5, 3))]


@pytest.mark.parametrize("shape", [(6, 4), (3, 3, 2, 4)])
def test_each_feature_has_mean_0_and_variance_1(shape):
    kernel = 3 * jax.random.normal(jax.random.key(0), shape) + 2
    found = standardize(kernel).reshape(-1, 4)
    np.testing.assert_allclose(found.mean(0), 0, atol=1e-5)
    np.testing.assert_allclose(found.var(0), 1, rtol=1e-4)


@pytest.mark.parametrize(("layer", "arguments", "shape"), CASES)
def test_any_layer_sees_its_kernel_standardized(layer, arguments, shape):
    x = jax.random.normal(jax.random.key(1), shape)
    ours, plain = standardized(layer)(*arguments), layer(*arguments)
    y, variables = ours.init_with_output(jax.random.key(0), x)
    shapes = jax.tree.map(jnp.shape, plain.init(jax.random.key(0), x))
    assert jax.tree.map(jnp.shape, variables) == shapes
    params = dict(variables["params"])
    params["kernel"] = 3 * params["kernel"] + 1
    seen = {"kernel": standardize(params["kernel"]), "bias": params["bias"]}
    expected = plain.apply({"params": seen}, x)
    found = ours.apply({"params": params}, x)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(y, expected, rtol=1e-3, atol=1e-3)


def test_gradients_go_through_it():
    x = jax.random.normal(jax.random.key(1), (2, 5, 5, 3))
    model = Block(features=8)
    variables = model.init(jax.random.key(0), x)
    grads = jax.grad(lambda v: (model.apply(v, x) ** 3).sum())(variables)
    kernel = grads["params"]["conv"]["kernel"]
    assert jnp.abs(kernel).max() > 0
    # To add a constant changes nothing.
    np.testing.assert_allclose(kernel.sum((0, 1, 2)), 0, atol=1e-2)


def test_it_runs(capsys):
    main()
    assert float(capsys.readouterr().out.split()[-1]) < 0.01
