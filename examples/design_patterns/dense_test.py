"""The layer by hand is that of the library."""

import dense
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import batiste.linen as nn


@pytest.mark.parametrize("shape", [(3,), (2, 3), (2, 4, 3)])
@pytest.mark.parametrize("use_bias", [True, False])
def test_it_is_the_dense_layer_of_the_library(shape, use_bias):
    x = jax.random.normal(jax.random.key(1), shape)
    init = nn.initializers.normal() if use_bias else None
    ours = dense.Dense(4, bias_init=init)
    theirs = nn.Dense(4, use_bias=use_bias)
    variables = ours.init(jax.random.key(0), x)
    assert jax.tree.map(jnp.shape, variables) == jax.tree.map(
        jnp.shape, theirs.init(jax.random.key(0), x)
    )
    np.testing.assert_allclose(
        ours.apply(variables, x), theirs.apply(variables, x), rtol=1e-6
    )


def test_it_runs(capsys):
    dense.main()
    assert "differs by [1.]" in capsys.readouterr().out
