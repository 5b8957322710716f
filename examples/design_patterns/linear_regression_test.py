"""Gradient descent comes to the solution of least squares."""

import jax
import jax.numpy as jnp
import linear_regression
import numpy as np
from linear_regression import fit, make_data


def test_the_solution_is_that_of_least_squares():
    _, _, x, y = make_data(jax.random.key(1), number=50)
    params, losses = fit(x, y, steps=400)
    with_ones = jnp.concatenate([x, jnp.ones((50, 1))], axis=1)
    expected = np.linalg.lstsq(np.asarray(with_ones), np.asarray(y), rcond=None)[0]
    np.testing.assert_allclose(params["kernel"], expected[:-1], atol=1e-4)
    np.testing.assert_allclose(params["bias"], expected[-1], atol=1e-4)
    assert losses[-1] < 0.01 * losses[0]


def test_without_noise_the_map_is_found():
    w, b, x, y = make_data(jax.random.key(2), number=50, noise=0)
    params, losses = fit(x, y, steps=400)
    np.testing.assert_allclose(params["kernel"], w, atol=1e-4)
    np.testing.assert_allclose(params["bias"], b, atol=1e-4)
    assert losses[-1] < 1e-6


def test_it_runs(capsys):
    linear_regression.main()
    assert "step 199  loss 0.01" in capsys.readouterr().out
