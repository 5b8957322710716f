"""The programs of the guide "Batch normalization"."""

from typing import Any

import jax
import numpy as np
import optax
from jax import numpy as jnp

from batiste import linen as nn
from batiste.training import train_state


class PlainMLP(nn.Module):
    @nn.compact
    def __call__(self, x):
        x = nn.Dense(features=4)(x)
        x = nn.relu(x)
        return nn.Dense(features=1)(x)


class MLP(nn.Module):
    @nn.compact
    def __call__(self, x, train: bool):
        x = nn.Dense(features=4)(x)
        x = nn.BatchNorm(use_running_average=not train)(x)
        x = nn.relu(x)
        return nn.Dense(features=1)(x)


class TrainState(train_state.TrainState):
    batch_stats: Any


def test_the_variables_without_batch_norm():
    variables = PlainMLP().init(jax.random.PRNGKey(0), jnp.ones((1, 3)))
    shapes = jax.tree_util.tree_map(jnp.shape, variables)
    assert shapes == {
        "params": {
            "Dense_0": {"bias": (4,), "kernel": (3, 4)},
            "Dense_1": {"bias": (1,), "kernel": (4, 1)},
        }
    }


def test_the_variables_with_batch_norm():
    variables = MLP().init(jax.random.PRNGKey(0), jnp.ones((1, 3)), train=False)
    shapes = jax.tree_util.tree_map(jnp.shape, variables)
    assert shapes == {
        "batch_stats": {"BatchNorm_0": {"mean": (4,), "var": (4,)}},
        "params": {
            "BatchNorm_0": {"bias": (4,), "scale": (4,)},
            "Dense_0": {"bias": (4,), "kernel": (3, 4)},
            "Dense_1": {"bias": (1,), "kernel": (4, 1)},
        },
    }


def test_the_statistics_are_a_second_output():
    mlp = MLP()
    x = jax.random.normal(jax.random.PRNGKey(1), (8, 3))
    variables = mlp.init(jax.random.PRNGKey(0), x, train=False)
    params, batch_stats = variables["params"], variables["batch_stats"]
    y, updates = mlp.apply(
        {"params": params, "batch_stats": batch_stats},
        x,
        train=True,
        mutable=["batch_stats"],
    )
    assert y.shape == (8, 1)
    hidden = np.asarray(x) @ np.asarray(params["Dense_0"]["kernel"])
    stats = updates["batch_stats"]["BatchNorm_0"]
    np.testing.assert_allclose(
        stats["mean"], 0.01 * hidden.mean(0), rtol=1e-4, atol=1e-7
    )
    np.testing.assert_allclose(stats["var"], 0.99 + 0.01 * hidden.var(0), rtol=1e-5)


def data():
    image = jax.random.normal(jax.random.PRNGKey(1), (16, 3))
    # One logit means one class; the guide's loss is not of one number either.
    return {"image": image, "label": jnp.zeros((16,), jnp.int32)}


def test_training_without_batch_norm():
    mlp = PlainMLP()
    params = mlp.init(jax.random.PRNGKey(0), jnp.ones((1, 3)))["params"]
    state = train_state.TrainState.create(
        apply_fn=mlp.apply, params=params, tx=optax.adam(1e-3)
    )

    @jax.jit
    def train_step(state, batch):
        def loss_fn(params):
            logits = state.apply_fn({"params": params}, x=batch["image"])
            loss = optax.softmax_cross_entropy_with_integer_labels(
                logits=logits, labels=batch["label"]
            )
            return loss.mean(), logits

        (loss, logits), grads = jax.value_and_grad(loss_fn, has_aux=True)(state.params)
        state = state.apply_gradients(grads=grads)
        accuracy = jnp.mean(jnp.argmax(logits, -1) == batch["label"])
        return state, {"loss": loss, "accuracy": accuracy}

    @jax.jit
    def eval_step(state, batch):
        logits = state.apply_fn({"params": state.params}, x=batch["image"])
        return {"accuracy": jnp.mean(jnp.argmax(logits, -1) == batch["label"])}

    state, metrics = train_step(state, data())
    assert state.step == 1
    assert metrics["accuracy"] == 1.0
    assert eval_step(state, data())["accuracy"] == 1.0


def test_training_with_batch_norm():
    mlp = MLP()
    variables = mlp.init(jax.random.PRNGKey(0), jnp.ones((1, 3)), train=False)
    state = TrainState.create(
        apply_fn=mlp.apply,
        params=variables["params"],
        batch_stats=variables["batch_stats"],
        tx=optax.adam(1e-3),
    )

    @jax.jit
    def train_step(state: TrainState, batch):
        def loss_fn(params):
            logits, updates = state.apply_fn(
                {"params": params, "batch_stats": state.batch_stats},
                x=batch["image"],
                train=True,
                mutable=["batch_stats"],
            )
            loss = optax.softmax_cross_entropy_with_integer_labels(
                logits=logits, labels=batch["label"]
            )
            # The guide forgets the mean, without which jax.grad has no scalar.
            return loss.mean(), (logits, updates)

        grad_fn = jax.value_and_grad(loss_fn, has_aux=True)
        (loss, (logits, updates)), grads = grad_fn(state.params)
        state = state.apply_gradients(grads=grads)
        state = state.replace(batch_stats=updates["batch_stats"])
        accuracy = jnp.mean(jnp.argmax(logits, -1) == batch["label"])
        return state, {"loss": loss, "accuracy": accuracy}

    @jax.jit
    def eval_step(state: TrainState, batch):
        return state.apply_fn(
            {"params": state.params, "batch_stats": state.batch_stats},
            x=batch["image"],
            train=False,
        )

    before = eval_step(state, data())
    state, metrics = train_step(state, data())
    assert state.step == 1
    assert np.isfinite(metrics["loss"])
    stats = state.batch_stats["BatchNorm_0"]
    assert np.any(stats["mean"])
    assert not np.array_equal(stats["var"], np.ones(4))
    # Evaluation reads the statistics that training moved.
    assert not np.array_equal(eval_step(state, data()), before)


def test_running_averages_of_the_layers_page():
    """The three snippets of the API page of `BatchNorm`."""
    BN = nn.BatchNorm(
        use_running_average=False, momentum=0.9, epsilon=1e-5, dtype=jnp.float32
    )
    x = jax.random.normal(jax.random.PRNGKey(1), (32, 5)) * 3 + 2
    vars_initialized = BN.init(jax.random.PRNGKey(0), x)
    assert sorted(vars_initialized) == ["batch_stats", "params"]
    vars_in = {
        "params": vars_initialized["params"],
        "batch_stats": vars_initialized["batch_stats"],
    }
    y, mutated_vars = BN.apply(vars_in, x, mutable=["batch_stats"])
    new_batch_stats = mutated_vars["batch_stats"]
    np.testing.assert_allclose(y.mean(0), np.zeros(5), atol=1e-5)
    np.testing.assert_allclose(y.std(0), np.ones(5), rtol=1e-4)
    np.testing.assert_allclose(new_batch_stats["mean"], 0.1 * x.mean(0), rtol=1e-4)
    np.testing.assert_allclose(new_batch_stats["var"], 0.9 + 0.1 * x.var(0), rtol=1e-4)

    # Evaluation, which the page writes with the same module, reads what was learned.
    vars_in = {"params": vars_initialized["params"], "batch_stats": new_batch_stats}
    y = BN.clone(use_running_average=True).apply(vars_in, x)
    stats = new_batch_stats
    expected = (x - stats["mean"]) / jnp.sqrt(stats["var"] + 1e-5)
    np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-5)
