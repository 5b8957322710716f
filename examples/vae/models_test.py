"""The densities, the bounds, and the full model, made without memory."""

import jax
import jax.numpy as jnp
import models
import numpy as np
import pytest
import train
from configs import default

from batiste import spmd

MODEL = models.VAE(pixels=16, hidden=(8, 4), latents=3)


@pytest.fixture
def variables():
    rngs = {"params": jax.random.key(0), "latent": jax.random.key(1)}
    return MODEL.init(rngs, jnp.zeros((1, 16)))


def binary(key, *shape):
    return jax.random.bernoulli(jax.random.key(key), 0.5, shape).astype(jnp.float32)


def test_probabilities_of_pixels_add_up_to_one():
    logits = jnp.array([0.3, -2.0, 50.0])
    every = jnp.array(np.indices((2, 2, 2)).reshape(3, 8).T, jnp.float32)
    found = models.bernoulli_log_prob(logits, every)
    assert found.shape == (8,)
    np.testing.assert_allclose(jnp.exp(found).sum(), 1, rtol=1e-6)


def test_the_divergence_is_the_mean_of_the_log_ratio():
    mean, log_var = jnp.array([0.5, -1.0]), jnp.array([0.2, -0.7])
    noise = jax.random.normal(jax.random.key(0), (200_000, 2))
    z = mean + jnp.exp(0.5 * log_var) * noise
    zero = jnp.zeros(2)
    ratio = models.normal_log_prob(z, mean, log_var) - models.normal_log_prob(
        z, zero, zero
    )
    found = models.kl_divergence(mean, log_var)
    np.testing.assert_allclose(found, ratio.mean(), rtol=1e-2)
    assert models.kl_divergence(zero, zero) == 0


def test_samples_share_the_parameters_and_have_noise_of_their_own(variables):
    x = binary(2, 5, 16)
    mean, log_var, z, logits = MODEL.apply(
        variables, x, 7, rngs={"latent": jax.random.key(3)}
    )
    assert mean.shape == log_var.shape == (5, 3)
    assert z.shape == (7, 5, 3)
    assert logits.shape == (7, 5, 16)
    assert len({sample.tobytes() for sample in np.asarray(z).reshape(35, 3)}) == 35
    # What vmap computes is what a loop over the samples would.
    alone = jnp.stack([MODEL.apply(variables, each, method="decode") for each in z])
    np.testing.assert_allclose(logits, alone, rtol=1e-5, atol=1e-6)
    noise = (z - mean) * jnp.exp(-0.5 * log_var)
    assert abs(float(noise.mean())) < 0.5


def test_the_parameters_do_not_depend_on_the_number_of_samples(variables):
    rngs = {"params": jax.random.key(0), "latent": jax.random.key(1)}
    other = MODEL.init(rngs, jnp.zeros((1, 16)), 9)
    jax.tree.map(np.testing.assert_array_equal, variables, other)


def test_the_bounds_are_in_order_and_equal_for_one_sample(variables):
    x = binary(2, 5, 16)
    rngs = {"latent": jax.random.key(3)}
    elbo, weighted = models.bounds(x, *MODEL.apply(variables, x, 1, rngs=rngs))
    np.testing.assert_allclose(elbo, weighted, rtol=1e-6)
    mean, log_var, z, logits = MODEL.apply(variables, x, 50, rngs=rngs)
    elbo, weighted = models.bounds(x, mean, log_var, z, logits)
    assert (weighted > elbo).all()


def test_the_weighted_bound_comes_to_the_likelihood():
    # One latent that matters for nothing: the likelihood is that of the pixels.
    x = binary(0, 3, 16)
    z = jax.random.normal(jax.random.key(1), (4000, 3, 1)) * 0.8
    logits = jnp.zeros((4000, 3, 16))
    mean, log_var = jnp.zeros((3, 1)), jnp.full((3, 1), 2 * np.log(0.8))
    elbo, weighted = models.bounds(x, mean, log_var, z, logits)
    np.testing.assert_allclose(weighted, 16 * np.log(0.5), atol=0.05)
    divergence = models.kl_divergence(mean, log_var)
    np.testing.assert_allclose(elbo, 16 * np.log(0.5) - divergence, atol=0.05)


def test_what_a_device_would_hold_of_the_full_model():
    config = default.get_config()
    state = jax.eval_shape(lambda: train.create_train_state(config, 784, 100))
    sizes = [784, 200, 200, 100], [50, 200, 200, 784]
    expected = sum((a + 1) * b for s in sizes for a, b in zip(s, s[1:], strict=False))
    assert sum(x.size for x in jax.tree.leaves(state.params)) == expected
    plan = spmd.plan(state.params, jax.sharding.AbstractMesh((8,), ("data",)))
    # The model is small, and each device has all of it.
    assert plan.bytes_per_device == 4 * expected
