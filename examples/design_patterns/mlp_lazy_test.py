"""The input tells the shapes."""

import jax
import jax.numpy as jnp
import mlp_lazy
import numpy as np
import pytest


@pytest.mark.parametrize("features", [1, 7])
def test_the_input_tells_the_shapes(features):
    params = mlp_lazy.MLP((4, 3)).init(jax.random.key(0), jnp.ones((2, features)))
    assert jax.tree.map(jnp.shape, params["params"]) == {
        "Dense_0": {"kernel": (features, 4), "bias": (4,)},
        "Dense_1": {"kernel": (4, 3), "bias": (3,)},
    }


def test_what_it_computes():
    x = jax.random.normal(jax.random.key(1), (5, 2))
    y, variables = mlp_lazy.MLP((4, 3)).init_with_output(jax.random.key(0), x)
    first, last = variables["params"]["Dense_0"], variables["params"]["Dense_1"]
    hidden = jnp.maximum(x @ first["kernel"] + first["bias"], 0)
    np.testing.assert_allclose(y, hidden @ last["kernel"] + last["bias"], rtol=1e-5)


def test_it_runs(capsys):
    mlp_lazy.main()
    assert "the same parameters: True" in capsys.readouterr().out
