"""The network's shapes, its dropout, and the full one, made without memory."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import train
from configs import default, small
from models import CNN

from batiste import spmd


@pytest.mark.parametrize("size", [8, 28])
def test_an_image_gives_ten_logits(size):
    images = jnp.ones((3, size, size, 1))
    logits, variables = CNN().init_with_output(jax.random.key(0), images)
    assert logits.shape == (3, 10)
    shapes = jax.tree.map(jnp.shape, variables["params"])
    assert shapes["Conv_0"]["kernel"] == (3, 3, 1, 32)
    assert shapes["Conv_1"]["kernel"] == (3, 3, 32, 64)
    assert shapes["Dense_0"]["kernel"] == ((size // 4) ** 2 * 64, 256)


def test_one_image_does_not_depend_on_the_others():
    images = jax.random.normal(jax.random.key(1), (4, 8, 8, 1))
    variables = CNN().init(jax.random.key(0), images)
    together = CNN().apply(variables, images)
    alone = [CNN().apply(variables, images[i : i + 1])[0] for i in range(4)]
    np.testing.assert_allclose(together, jnp.stack(alone), rtol=1e-5, atol=1e-6)


def test_dropout_is_for_training_only():
    images = jnp.ones((2, 8, 8, 1))
    model = CNN(dropout_rate=0.5)
    variables = model.init(jax.random.key(0), images)
    np.testing.assert_array_equal(
        model.apply(variables, images), model.apply(variables, images)
    )
    first, again, other = (
        model.apply(variables, images, train=True, rngs={"dropout": jax.random.key(k)})
        for k in (0, 0, 1)
    )
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


@pytest.mark.parametrize(
    ("config", "shape", "parameters"),
    [(default.get_config(), (28, 28, 1), 824_458), (small.get_config(), (8, 8, 1), 0)],
)
def test_what_a_device_would_hold(config, shape, parameters):
    state = jax.eval_shape(lambda: train.create_train_state(config, shape, 100))
    found = sum(x.size for x in jax.tree.leaves(state.params))
    assert found == (parameters or found)
    mesh = jax.sharding.AbstractMesh((8,), ("data",))
    plan = spmd.plan(state.params, mesh)
    # The model is small, and each device has all of it.
    assert plan.bytes_per_device == 4 * found
    assert f"{config.features[0]}" in str(plan)
