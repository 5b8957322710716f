"""One kernel for both ways, which is learned."""

import jax
import jax.numpy as jnp
import numpy as np
import tied_autoencoder
from tied_autoencoder import TiedAutoEncoder, train


def test_the_decoder_has_the_kernel_of_the_encoder():
    model = TiedAutoEncoder(features=5, latents=2)
    x = jax.random.normal(jax.random.key(1), (3, 5))
    variables = model.init(jax.random.key(0), x)
    assert jax.tree.map(jnp.shape, variables["params"]) == {
        "bias": (5,),
        "encoder": {"bias": (2,), "kernel": (5, 2)},
    }
    z = model.apply(variables, x, method="encode")
    kernel = variables["params"]["encoder"]["kernel"]
    found = model.apply(variables, z, method="decode")
    np.testing.assert_allclose(found, z @ kernel.T, rtol=1e-6)
    np.testing.assert_allclose(found, model.apply(variables, x), rtol=1e-6)


def test_two_latents_are_enough_for_a_plane():
    plane = jax.random.normal(jax.random.key(1), (2, 6))
    x = jax.random.normal(jax.random.key(2), (50, 2)) @ plane
    _, losses = train(TiedAutoEncoder(features=6, latents=2), x)
    assert losses[-1] < 0.01 * losses[0]
    _, losses = train(TiedAutoEncoder(features=6, latents=1), x)
    assert losses[-1] > 0.01 * losses[0]


def test_it_runs(capsys):
    tied_autoencoder.main()
    assert "and from them" in capsys.readouterr().out
