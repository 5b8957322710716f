import agent
import jax
import models
import numpy as np
import pytest
from configs import default, pong, small
from jax import numpy as jnp
from plan import plan_state

SCREEN = jax.ShapeDtypeStruct((84, 84, 4), jnp.uint8)
NUMBERS = jax.ShapeDtypeStruct((4,), jnp.float32)


def test_the_published_network_for_atari():
    state = agent.abstract_state(default.get_config(), 6, SCREEN)
    shapes = {name: layer["kernel"].shape for name, layer in state.params.items()}
    assert shapes == {
        "Conv_0": (8, 8, 4, 32),
        "Conv_1": (4, 4, 32, 64),
        "Conv_2": (3, 3, 64, 64),
        "shared": (7 * 7 * 64, 512),
        "actor_head": (512, 6),
        "critic_head": (512, 1),
    }
    number = sum(array.size for array in jax.tree.leaves(state.params))
    assert number == 1_687_719


@pytest.mark.parametrize("observation", [SCREEN, NUMBERS])
def test_logits_and_values(observation):
    config = small.get_config()
    config.update(width=16, channels=(4, 4, 4))
    state = agent.create_state(config, 3, observation, 0)
    seen = jnp.ones((5, *observation.shape), observation.dtype)
    logits, values = state.apply_fn({"params": state.params}, seen)
    assert (logits.shape, values.shape) == ((5, 3), (5,))
    # All actions are nearly as likely at first.
    assert abs(jax.nn.softmax(logits) - 1 / 3).max() < 0.02


def test_greys_are_between_zero_and_one():
    config = small.get_config()
    config.update(width=16, channels=(4, 4, 4))
    state = agent.create_state(config, 3, SCREEN, 0)
    bright = np.full((1, 84, 84, 4), 255, np.uint8)
    model = models.create_model(config, 3)
    _, found = model.apply({"params": state.params}, bright, capture_intermediates=True)
    conv = found["intermediates"]["Conv_0"]["__call__"][0]
    expected = state.params["Conv_0"]["kernel"].sum((0, 1, 2))
    np.testing.assert_allclose(conv[0, 0, 0], expected, rtol=1e-4, atol=1e-4)


def test_actor_and_critic_of_numbers_share_nothing():
    state = agent.create_state(small.get_config(), 2, NUMBERS, 0)
    grads = jax.grad(
        lambda p: state.apply_fn({"params": p}, jnp.ones((1, 4)))[1].sum()
    )(state.params)
    for name, layer in grads.items():
        used = bool((layer["kernel"] != 0).any())
        assert used == name.startswith("critic")


def test_the_plan_of_the_full_task():
    config = default.get_config()
    plan = plan_state(config)
    # Parameters and two moments of each, and some counters.
    assert 0 < plan.bytes_per_device - 12 * 1_687_719 < 100
    assert "params/shared/kernel" in str(plan)
    assert agent.num_updates(config) == 9766
    assert agent.num_updates(pong.get_config()) == 10
