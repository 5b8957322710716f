"""The programs of the guides on upgrading: to Optax, to Linen, and to Orbax.

Of each pair of programs the new one is run; the old ones are of modules that the
documentation's release had already lost (`flax.optim`, `flax.nn`).
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import numpy as np
import optax
import pytest
from jax import lax, random
from jax import numpy as jnp

from batiste import linen as nn
from batiste import traverse
from batiste.core import config, errors
from batiste.linen import initializers
from batiste.training import checkpoints, orbax_utils, train_state

LEARNING_RATE, MOMENTUM = 0.1, 0.9


def problem():
    model = nn.Dense(2)
    x = random.normal(random.PRNGKey(1), (8, 3))
    params = model.init(random.PRNGKey(0), x)["params"]

    def loss(params, batch):
        return jnp.mean(model.apply({"params": params}, batch) ** 2)

    return params, loss, x


def run(tx, params, loss, x, steps=3, pass_params=False):
    @jax.jit
    def train_step(params, opt_state, batch):
        grads = jax.grad(loss)(params, batch)
        updates, opt_state = tx.update(grads, opt_state, params)
        params = optax.apply_updates(params, updates)
        return params, opt_state

    opt_state = tx.init(params)
    for _ in range(steps):
        params, opt_state = train_step(params, opt_state, x)
    return params


def assert_close(a, b):
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-5), a, b)


def test_an_alias_is_a_chain():
    params, loss, x = problem()
    alias = run(optax.sgd(LEARNING_RATE, MOMENTUM), params, loss, x)
    chain = optax.chain(optax.trace(decay=MOMENTUM), optax.scale(-LEARNING_RATE))
    assert_close(alias, run(chain, params, loss, x))
    assert loss(alias, x) < loss(params, x)


def test_weight_decay():
    params, loss, x = problem()
    tx = optax.chain(
        optax.scale_by_adam(),
        optax.add_decayed_weights(0.01),
        optax.scale(-LEARNING_RATE),
    )
    adamw = optax.adamw(LEARNING_RATE, weight_decay=0.01)
    assert_close(run(tx, params, loss, x), run(adamw, params, loss, x))


def test_gradient_clipping():
    params, loss, x = problem()
    tx = optax.chain(
        optax.clip_by_global_norm(1e-3),
        optax.trace(decay=MOMENTUM),
        optax.scale(-LEARNING_RATE),
    )
    moved = jax.tree.map(jnp.subtract, run(tx, params, loss, x, steps=1), params)
    norm = np.sqrt(sum(np.sum(np.square(leaf)) for leaf in jax.tree.leaves(moved)))
    np.testing.assert_allclose(norm, 1e-3 * LEARNING_RATE, rtol=1e-3)


def test_schedules():
    params, loss, x = problem()

    def schedule(step):
        return LEARNING_RATE / (1 + step)

    tx = optax.chain(
        optax.trace(decay=MOMENTUM),
        optax.scale_by_schedule(lambda step: -schedule(step)),
    )
    alias = optax.sgd(schedule, MOMENTUM)
    assert_close(run(tx, params, loss, x), run(alias, params, loss, x))


def test_masks_from_traversals():
    params, loss, x = problem()
    kernels = traverse.ModelParamTraversal(lambda p, _: "kernel" in p)
    biases = traverse.ModelParamTraversal(lambda p, _: "bias" in p)
    all_false = jax.tree_util.tree_map(lambda _: False, params)
    kernels_mask = kernels.update(lambda _: True, all_false)
    biases_mask = biases.update(lambda _: True, all_false)
    assert kernels_mask == {"kernel": True, "bias": False}
    assert biases_mask == {"kernel": False, "bias": True}
    tx = optax.chain(
        optax.trace(decay=MOMENTUM),
        optax.masked(optax.scale(-LEARNING_RATE), kernels_mask),
        optax.masked(optax.scale(-LEARNING_RATE * 0.1), biases_mask),
    )
    new = run(tx, params, loss, x, steps=1)
    grads = jax.grad(loss)(params, x)
    expected = {
        "kernel": params["kernel"] - LEARNING_RATE * grads["kernel"],
        "bias": params["bias"] - 0.1 * LEARNING_RATE * grads["bias"],
    }
    assert_close(new.unfreeze(), expected)


def test_a_simple_module():
    class Dense(nn.Module):
        features: int
        use_bias: bool = True
        kernel_init: Callable[..., Any] = initializers.lecun_normal()
        bias_init: Callable[..., Any] = initializers.zeros_init()

        @nn.compact
        def __call__(self, inputs):
            kernel = self.param(
                "kernel", self.kernel_init, (inputs.shape[-1], self.features)
            )
            y = jnp.dot(inputs, kernel)
            if self.use_bias:
                bias = self.param("bias", self.bias_init, (self.features,))
                y = y + bias
            return y

    x = jnp.ones((2, 3))
    y, variables = Dense(4).init_with_output(random.PRNGKey(0), x)
    # Parameters are drawn by name, so these are those of the layer.
    expected, same = nn.Dense(4).init_with_output(random.PRNGKey(0), x)
    jax.tree.map(np.testing.assert_array_equal, variables, same)
    np.testing.assert_allclose(y, expected, rtol=1e-6)


class Encoder(nn.Module):
    latents: int = 500

    @nn.compact
    def __call__(self, x):
        x = nn.Dense(500)(x)
        x = nn.relu(x)
        return nn.Dense(self.latents, name="latents")(x)


class Decoder(nn.Module):
    @nn.compact
    def __call__(self, z):
        return nn.Dense(7)(z)


class AutoEncoder(nn.Module):
    latents: int = 20

    def setup(self):
        self.encoder = Encoder(self.latents)
        self.decoder = Decoder()

    def __call__(self, x):
        return self.decoder(self.encoder(x))

    def generate(self, z):
        return nn.sigmoid(self.decoder(z))


def test_modules_in_modules_and_several_methods():
    x = jnp.ones((2, 7))
    model = AutoEncoder()
    variables = model.init(random.PRNGKey(0), x)
    assert sorted(variables["params"]["encoder"]) == ["Dense_0", "latents"]
    z = jnp.ones((2, 20))
    generated = model.apply(variables, z, method=model.generate)
    decoder = {"params": variables["params"]["decoder"]}
    expected = nn.sigmoid(Decoder().apply(decoder, z))
    np.testing.assert_allclose(generated, expected, rtol=1e-6)


class ResNet(nn.Module):
    stage_sizes: Sequence[int] = (1,)
    num_filters: int = 4
    train: bool = True

    @nn.compact
    def __call__(self, x):
        conv = partial(nn.Conv, use_bias=False)
        norm = partial(
            nn.BatchNorm,
            use_running_average=not self.train,
            momentum=0.9,
            epsilon=1e-5,
        )
        x = conv(
            self.num_filters, (7, 7), (2, 2), padding=[(3, 3), (3, 3)], name="conv_init"
        )(x)
        return norm(name="bn_init")(x)


def test_partial_modules_and_state():
    image = random.normal(random.PRNGKey(1), (2, 8, 8, 3))
    variables = ResNet().init(random.PRNGKey(0), image)
    params, batch_stats = variables["params"], variables["batch_stats"]
    assert params["conv_init"]["kernel"].shape == (7, 7, 3, 4)
    assert sorted(params) == ["bn_init", "conv_init"]

    variables = {"params": params, "batch_stats": batch_stats}
    logits, new_variables = ResNet(train=True).apply(
        variables, image, mutable=["batch_stats"]
    )
    assert logits.shape == (2, 4, 4, 4)
    assert np.any(new_variables["batch_stats"]["bn_init"]["mean"])
    with pytest.raises(errors.ModifyScopeVariableError):
        ResNet(train=True).apply(variables, image, mutable=False)
    evaluated = ResNet(train=False).apply(variables, image, mutable=False)
    assert evaluated.shape == logits.shape


def test_training_code():
    class CNN(nn.Module):
        @nn.compact
        def __call__(self, x):
            x = nn.Conv(4, (3, 3))(x)
            return nn.Dense(10)(x.reshape((x.shape[0], -1)))

    variables = CNN().init(random.PRNGKey(0), jnp.ones([1, 8, 8, 1]))
    params = variables["params"]
    tx = optax.sgd(LEARNING_RATE, MOMENTUM)
    # The guide's `CNN.apply` would be the method of a class; it means an instance's.
    state = train_state.TrainState.create(apply_fn=CNN().apply, params=params, tx=tx)
    image = random.normal(random.PRNGKey(1), (6, 8, 8, 1))
    batch = {"image": image, "label": jnp.arange(6)}

    def loss_fn(params):
        logits = CNN().apply({"params": params}, batch["image"])
        one_hot = jax.nn.one_hot(batch["label"], 10)
        loss = jnp.mean(optax.softmax_cross_entropy(logits=logits, labels=one_hot))
        return loss, logits

    (before, _), grads = jax.value_and_grad(loss_fn, has_aux=True)(state.params)
    state = state.apply_gradients(grads=grads)
    assert loss_fn(state.params)[0] < before


def test_variables_that_are_not_trained():
    class BatchNorm(nn.Module):
        @nn.compact
        def __call__(self, x):
            # `variable` passes no key along: the guide's initializers want one.
            ra_mean = self.variable(
                "batch_stats",
                "mean",
                initializers.zeros_init(),
                None,
                (x.shape[-1],),
            )
            ra_var = self.variable(
                "batch_stats", "var", initializers.ones_init(), None, (x.shape[-1],)
            )
            return (x - ra_mean.value) / jnp.sqrt(ra_var.value)

    x = jnp.ones((2, 3))
    y, variables = BatchNorm().init_with_output(random.PRNGKey(0), x)
    np.testing.assert_array_equal(y, x)
    assert list(variables["batch_stats"]) == ["mean", "var"]


def test_pre_linen_names():
    a, b = np.ones(1), np.zeros(1)
    converted = checkpoints.convert_pre_linen({"Conv_0": {"w": a}, "Dense_1": {"w": b}})
    assert sorted(converted) == ["Conv_0", "Dense_0"]
    assert converted["Dense_0"]["w"] is b

    model_state = {"/BatchNorm_1/mean": a, "/BatchNorm_3/mean": b}
    batch_stats = checkpoints.convert_pre_linen(
        traverse.unflatten_dict(
            {tuple(k.split("/")[1:]): v for k, v in model_state.items()}
        )
    )
    variables = {"params": converted, "batch_stats": batch_stats}
    assert sorted(variables["batch_stats"]) == ["BatchNorm_0", "BatchNorm_1"]


def test_randomness():
    class Dropout(nn.Module):
        rate: float

        @nn.compact
        def __call__(self, inputs, deterministic=False):
            keep_prob = 1.0 - self.rate
            if deterministic:
                return inputs
            mask = random.bernoulli(
                self.make_rng("dropout"), p=keep_prob, shape=inputs.shape
            )
            return lax.select(mask, inputs / keep_prob, jnp.zeros_like(inputs))

    inputs = jnp.ones((4, 8))
    rngs = {"dropout": random.PRNGKey(0)}
    y = Dropout(0.5).apply({}, inputs, rngs=rngs)
    # The layer draws its mask in the same way.
    expected = nn.Dropout(0.5, deterministic=False).apply({}, inputs, rngs=rngs)
    np.testing.assert_array_equal(y, expected)
    with pytest.raises(errors.InvalidRngError, match="dropout"):
        Dropout(0.5).apply({}, inputs)


MAX_STEPS = 5
CKPT_PYTREE = [12, {"foo": "str", "bar": np.array((2, 3))}, [1, 4, 10]]
TARGET_PYTREE = [0, {"foo": "", "bar": np.array(0)}, [0, 0, 0]]


@pytest.fixture
def legacy():
    before = config.flax_use_orbax_checkpointing
    config.update("flax_use_orbax_checkpointing", False)
    yield
    config.update("flax_use_orbax_checkpointing", before)


def assert_restored(restored):
    number, entries, numbers = restored
    assert number == 12
    assert list(numbers) == [1, 4, 10]
    assert entries["foo"] == "str"
    np.testing.assert_array_equal(entries["bar"], [2, 3])


def test_managed_checkpoints(tmp_path, legacy):
    orbax_checkpoint = pytest.importorskip("orbax.checkpoint")
    for step in range(MAX_STEPS):
        checkpoints.save_checkpoint(
            tmp_path,
            CKPT_PYTREE,
            step=step,
            prefix="test_",
            keep=3,
            keep_every_n_steps=2,
        )
    restored = checkpoints.restore_checkpoint(
        tmp_path, target=TARGET_PYTREE, step=4, prefix="test_"
    )
    assert_restored(restored)

    mgr_options = orbax_checkpoint.CheckpointManagerOptions(
        create=True, max_to_keep=3, keep_period=2, step_prefix="test_"
    )
    with orbax_checkpoint.CheckpointManager(
        tmp_path / "orbax",
        orbax_checkpoint.Checkpointer(orbax_checkpoint.PyTreeCheckpointHandler()),
        mgr_options,
    ) as ckpt_mgr:
        for step in range(MAX_STEPS):
            save_args = orbax_utils.save_args_from_target(CKPT_PYTREE)
            ckpt_mgr.save(step, CKPT_PYTREE, save_kwargs={"save_args": save_args})
        # `mesh` is an argument that Orbax's own function of this name has lost.
        restore_args = orbax_utils.restore_args_from_target(TARGET_PYTREE, mesh=None)
        restored = ckpt_mgr.restore(
            4, items=TARGET_PYTREE, restore_kwargs={"restore_args": restore_args}
        )
    assert_restored(restored)


# The documentation restores without shardings, which Orbax advises against.
no_shardings = pytest.mark.filterwarnings(
    "ignore:Sharding info not provided when restoring:UserWarning"
)


@no_shardings
def test_single_checkpoints(tmp_path, legacy):
    orbax_checkpoint = pytest.importorskip("orbax.checkpoint")
    directory = tmp_path / "pure"
    checkpoints.save_checkpoint(directory, CKPT_PYTREE, step=0, overwrite=True)
    restored = checkpoints.restore_checkpoint(directory, target=TARGET_PYTREE)
    assert_restored(restored)
    # With no target a list is a dictionary of its indices.
    raw = checkpoints.restore_checkpoint(directory, target=None)
    assert raw["0"] == 12
    assert raw["2"] == {"0": 1, "1": 4, "2": 10}

    ckptr = orbax_checkpoint.Checkpointer(orbax_checkpoint.PyTreeCheckpointHandler())
    save_args = orbax_utils.save_args_from_target(CKPT_PYTREE)
    ckptr.save(tmp_path / "orbax", CKPT_PYTREE, save_args=save_args, force=True)
    restored = ckptr.restore(
        tmp_path / "orbax",
        item=TARGET_PYTREE,
        restore_args=orbax_utils.restore_args_from_target(TARGET_PYTREE, mesh=None),
    )
    assert_restored(restored)
    assert_restored(ckptr.restore(tmp_path / "orbax", item=None))


@no_shardings
def test_checkpoints_of_one_array(tmp_path, legacy):
    orbax_checkpoint = pytest.importorskip("orbax.checkpoint")
    checkpoints.save_checkpoint(tmp_path / "legacy", jnp.arange(10), step=0)
    restored = checkpoints.restore_checkpoint(tmp_path / "legacy", target=None)
    np.testing.assert_array_equal(restored, np.arange(10))

    ckptr = orbax_checkpoint.Checkpointer(orbax_checkpoint.ArrayCheckpointHandler())
    ckptr.save(tmp_path / "orbax", jnp.arange(10))
    restored = ckptr.restore(tmp_path / "orbax", item=None)
    np.testing.assert_array_equal(restored, np.arange(10))
