"""Optimizer states over boxed parameters lie as the parameters do."""

import functools

import jax
import numpy as np
import optax
import pytest
from jax import numpy as jnp
from jax.sharding import NamedSharding, PartitionSpec

from batiste import linen as nn
from batiste import spmd
from batiste.training.train_state import TrainState

RULES = (("embed", "data"), ("hidden", "model"))
X = np.linspace(-1, 1, 4 * 16, dtype=np.float32).reshape(4, 16)
# As layers and kernels are named below.
SPECS = {
    ("up", "kernel"): PartitionSpec("data", "model"),
    ("up", "bias"): PartitionSpec("model"),
    ("down", "kernel"): PartitionSpec("model", "data"),
    ("down", "bias"): PartitionSpec(),
}


class Net(nn.Module):
    """Both kinds of boxes, and a bias without any."""

    @nn.compact
    def __call__(self, x):
        up = nn.Dense(
            32,
            kernel_init=nn.with_logical_partitioning(
                nn.initializers.lecun_normal(), ("embed", "hidden")
            ),
            bias_init=nn.with_partitioning(nn.initializers.normal(), ("model",)),
            name="up",
        )
        down = nn.Dense(
            16,
            kernel_init=nn.with_partitioning(
                nn.initializers.lecun_normal(), ("model", "data")
            ),
            name="down",
        )
        return down(nn.relu(up(x)))


MODEL = Net()
apply_fn = MODEL.apply  # One object, so that all states are of one type for `jax.jit`.


def is_kernel(params):
    return jax.tree.map(lambda leaf: leaf.ndim > 1, params)


OPTIMIZERS = {
    "momentum": optax.sgd(0.1, momentum=0.9),
    "adamw": optax.adamw(1e-2, weight_decay=0.1, mask=is_kernel),
    "clipped": optax.chain(
        optax.clip_by_global_norm(0.1),
        optax.adam(optax.cosine_decay_schedule(1e-2, 10)),
    ),
    "masked": optax.masked(optax.adam(1e-2), is_kernel),
    "multi_transform": optax.multi_transform(
        {
            "kernel": optax.lion(1e-2, mu_dtype=jnp.bfloat16),
            "bias": optax.sgd(0.1, momentum=0.9),
            "frozen": optax.set_to_zero(),
        },
        lambda params: {
            "up": jax.tree.map(
                lambda leaf: "kernel" if leaf.ndim > 1 else "bias", params["up"]
            ),
            "down": "frozen",
        },
    ),
    "accumulated": optax.MultiSteps(optax.adam(1e-2), every_k_schedule=2),
}


def create(key, tx):
    params = MODEL.init(key, X)["params"].unfreeze()
    return TrainState.create(apply_fn=apply_fn, params=params, tx=tx)


def step(state, x):
    def loss(params):
        return jnp.mean(state.apply_fn({"params": params}, x) ** 2)

    return state.apply_gradients(grads=jax.grad(loss)(state.params))


def is_box(node):
    return isinstance(node, nn.Partitioned)


def key_names(path):
    return tuple(getattr(key, "key", getattr(key, "name", None)) for key in path)


def check_layout(state, sharding_of):
    """Asserts that what has a parameter's path and shape lies as the parameter."""
    found = 0
    leaves = jax.tree_util.tree_leaves_with_path(state)
    for path, leaf in leaves:
        names = tuple(name for name in key_names(path) if name != "value")
        spec = SPECS.get(names[-2:], PartitionSpec()) if leaf.ndim else PartitionSpec()
        found += names[-2:] in SPECS
        assert sharding_of(leaf).is_equivalent_to(
            NamedSharding(sharding_of(leaf).mesh, spec), leaf.ndim
        ), path
    return found


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_state_is_created_into_its_shards_and_trained(name, mesh):
    make = functools.partial(create, tx=OPTIMIZERS[name])
    abstract = jax.eval_shape(make, jax.random.key(0))
    with nn.logical_axis_rules(RULES):
        shardings = nn.get_sharding(abstract, mesh)
        # The rules resolve what `get_partition_spec` leaves in logical names.
        up = nn.get_partition_spec(abstract).params["up"]["kernel"]
        assert up == PartitionSpec("embed", "hidden")
        assert nn.logical_to_mesh(up) == SPECS["up", "kernel"]
    assert shardings.step == NamedSharding(mesh, PartitionSpec())
    state = jax.jit(make, out_shardings=shardings)(jax.random.key(0))
    count = check_layout(state, lambda leaf: leaf.sharding)
    boxes = [b for b in jax.tree.leaves(state, is_leaf=is_box) if is_box(b)]
    assert count >= len(SPECS)
    assert len(boxes) >= 3
    whole = sum(leaf.nbytes for leaf in jax.tree.leaves(state))
    held = sum(
        leaf.addressable_shards[0].data.nbytes for leaf in jax.tree.leaves(state)
    )
    assert held < whole / 3

    train = jax.jit(step, in_shardings=(shardings, None), out_shardings=shardings)
    alone, plain = jax.device_get(state), jax.jit(step)
    with mesh, nn.logical_axis_rules(RULES):
        for _ in range(2):
            state = train(state, X)
    for _ in range(2):
        alone = plain(alone, X)
    check_layout(state, lambda leaf: leaf.sharding)
    assert state.step == 2
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(
            *(np.asarray(x, np.float32) for x in (a, b)), rtol=1e-4, atol=1e-5
        ),
        state,
        alone,
    )


def test_specs_of_adam():
    state = jax.eval_shape(
        functools.partial(create, tx=optax.adam(1.0)), jax.random.key(0)
    )
    spec = nn.get_partition_spec(state)
    adam = spec.opt_state[0]
    assert adam.count == PartitionSpec()
    expected = {
        "up": {
            "kernel": PartitionSpec("embed", "hidden"),
            "bias": PartitionSpec("model"),
        },
        "down": {"kernel": PartitionSpec("model", "data"), "bias": PartitionSpec()},
    }
    assert spec.params == adam.mu == adam.nu == expected


def test_what_is_masked_has_no_array(mesh):
    """A box around nothing does no harm, in specs, shardings and plans."""
    make = functools.partial(create, tx=OPTIMIZERS["masked"])
    state = jax.eval_shape(make, jax.random.key(0))
    mu = state.opt_state.inner_state[0].mu
    assert mu["up"]["kernel"].value.shape == (16, 32)
    assert jax.tree.leaves(mu["up"]["bias"]) == []
    assert jax.tree.leaves(mu["down"]["bias"]) == []
    with nn.logical_axis_rules(RULES):
        plan = spmd.plan(state, mesh)
    paths = [parameter.path for parameter in plan.parameters]
    assert len(paths) == len(jax.tree.leaves(state))
    assert not any(path.endswith("mu/up/bias") for path in paths)


def test_adafactor_keeps_vectors_which_names_for_matrices_do_not_fit(mesh):
    """Its state is taken over bare parameters, and is replicated: it is small."""
    tx = optax.adafactor(1e-2, min_dim_size_to_factor=8)
    boxed = jax.eval_shape(functools.partial(create, tx=tx), jax.random.key(0))
    with pytest.raises(spmd.RankMismatchError, match="2 axis names") as info:
        nn.get_partition_spec(boxed)
    assert info.value.path == "opt_state/0/v_row/down/kernel"

    def make(key):
        state = create(key, tx)
        params = nn.unbox(state.params)
        return state.replace(params=params, opt_state=tx.init(params))

    bare = jax.eval_shape(make, jax.random.key(0))
    with nn.logical_axis_rules(RULES):
        shardings = nn.get_sharding(bare, mesh).replace(
            params=nn.get_sharding(boxed.params, mesh)
        )
    state = jax.jit(make, out_shardings=shardings)(jax.random.key(0))
    alone = jax.jit(step)(jax.device_get(state), X)
    train = jax.jit(step, in_shardings=(shardings, None), out_shardings=shardings)
    state = train(state, X)
    kernel = state.params["up"]["kernel"]
    assert kernel.sharding.spec == SPECS["up", "kernel"]
    for leaf in jax.tree.leaves(state.opt_state):
        assert leaf.sharding.is_fully_replicated
        assert leaf.size <= 32
    np.testing.assert_allclose(kernel, alone.params["up"]["kernel"], rtol=1e-5)
