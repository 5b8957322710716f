import jax
import models
import numpy as np
import pytest
import steps
from configs import default, small
from jax import numpy as jnp
from plan import plan_state

# As torchvision counts them, for 1000 classes.
PARAMETERS = {
    "resnet18": 11_689_512,
    "resnet34": 21_797_672,
    "resnet50": 25_557_032,
    "resnet101": 44_549_160,
    "resnet152": 60_192_808,
}


def count(tree):
    return sum(array.size for array in jax.tree.leaves(tree))


@pytest.mark.parametrize("name", sorted(PARAMETERS))
def test_sizes_are_those_of_the_published_networks(name):
    config = default.get_config()
    config.model = name
    state = steps.abstract_state(config, 10)
    assert count(state.params) == PARAMETERS[name]
    assert all(a.dtype == jnp.float32 for a in jax.tree.leaves(state.params))


def test_the_full_model_halves_the_image_five_times():
    model = models.create_model(default.get_config())
    image = jax.ShapeDtypeStruct((2, 224, 224, 3), jnp.float32)
    _, found = jax.eval_shape(
        lambda x: model.init_with_output(
            jax.random.key(0), x, capture_intermediates=True, mutable=True
        ),
        image,
    )
    last = found["intermediates"]["Bottleneck_15"]["__call__"][0]
    assert last.shape == (2, 7, 7, 2048)
    assert last.dtype == jnp.bfloat16


def test_blocks_start_as_the_identity():
    config = small.get_config()
    config.update(num_filters=4, dtype="float32")
    model = models.create_model(config)
    x = jax.random.normal(jax.random.key(1), (2, 16, 16, 3))
    variables = model.init(jax.random.key(0), x)
    _, found = model.apply(variables, x, train=False, capture_intermediates=True)
    block = found["intermediates"]["BasicBlock_1"]["__call__"][0]
    before = found["intermediates"]["BasicBlock_0"]["__call__"][0]
    np.testing.assert_array_equal(block, before)


def test_running_statistics_move_only_in_training():
    config = small.get_config()
    config.update(num_filters=4)
    model = models.create_model(config)
    x = jax.random.normal(jax.random.key(1), (4, 16, 16, 3))
    variables = model.init(jax.random.key(0), x)
    before = variables["batch_stats"]

    def moved(after):
        return jax.tree.map(lambda a, b: bool((a != b).any()), before, after)

    _, after = model.apply(variables, x, train=True, mutable=["batch_stats"])
    assert all(jax.tree.leaves(moved(after["batch_stats"])))
    logits, same = model.apply(variables, x, train=False, mutable=["batch_stats"])
    assert logits.dtype == jnp.float32
    assert not any(jax.tree.leaves(moved(same["batch_stats"])))


@pytest.mark.parametrize(("field", "value"), [("model", "vgg"), ("dtype", "int8")])
def test_what_there_is_not_is_named(field, value):
    config = small.get_config()
    config[field] = value
    with pytest.raises(ValueError, match=rf"config\.{field} is '{value}'\. Choose"):
        models.create_model(config)


def test_plan_of_the_full_task():
    plan = plan_state(default.get_config(), 256)
    # Parameters and momentum of float32, statistics, and the counters of the steps.
    assert plan.bytes_per_device == plan.total_bytes
    assert 2 * 4 * 25_557_032 < plan.total_bytes < 2.02 * 4 * 25_557_032
    assert plan.mesh_shape == {"data": 256}
    assert "params/stem/kernel" in str(plan)
