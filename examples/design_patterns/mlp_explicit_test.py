"""The same function as the lazy one, with names and sizes told."""

import jax
import jax.numpy as jnp
import mlp_explicit
import mlp_lazy
import numpy as np
import pytest


def test_it_is_the_lazy_one_under_other_names():
    x = jax.random.normal(jax.random.key(1), (5, 7))
    model = mlp_explicit.MLP((7, 4, 3))
    y, variables = model.init_with_output(jax.random.key(0), x)
    params = variables["params"]
    assert set(params) == {"layers_0", "layers_1"}
    lazy = {"Dense_0": params["layers_0"], "Dense_1": params["layers_1"]}
    expected = mlp_lazy.MLP((4, 3)).apply({"params": lazy}, x)
    np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-6)


def test_a_method_uses_some_of_the_layers():
    model = mlp_explicit.MLP((7, 4, 3))
    x = jax.random.normal(jax.random.key(1), (5, 7))
    variables = model.init(jax.random.key(0), x)
    found = model.apply(variables, x, method="features")
    assert found.shape == (5, 4)
    assert found.min() >= 0


def test_an_input_of_another_size_is_refused():
    model = mlp_explicit.MLP((7, 4, 3))
    with pytest.raises(TypeError, match="dot_general"):
        model.init(jax.random.key(0), jnp.ones((5, 6)))


def test_it_runs(capsys):
    mlp_explicit.main()
    assert "layers_1" in capsys.readouterr().out
