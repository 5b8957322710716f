"""The programs of the guide "Learning rate scheduling"."""

import functools
import types

import jax
import numpy as np
import optax
import pytest
from jax import numpy as jnp

from batiste import linen as nn
from batiste.training import train_state


class CNN(nn.Module):
    """The guide's CNN, narrower, for images of 8 by 8."""

    @nn.compact
    def __call__(self, x):
        x = nn.Conv(features=4, kernel_size=(3, 3))(x)
        x = nn.relu(x)
        x = nn.avg_pool(x, window_shape=(2, 2), strides=(2, 2))
        x = x.reshape((x.shape[0], -1))
        return nn.Dense(features=10)(x)


def create_learning_rate_fn(config, base_learning_rate, steps_per_epoch):
    warmup_fn = optax.linear_schedule(
        init_value=0.0,
        end_value=base_learning_rate,
        transition_steps=config.warmup_epochs * steps_per_epoch,
    )
    cosine_epochs = max(config.num_epochs - config.warmup_epochs, 1)
    cosine_fn = optax.cosine_decay_schedule(
        init_value=base_learning_rate, decay_steps=cosine_epochs * steps_per_epoch
    )
    return optax.join_schedules(
        schedules=[warmup_fn, cosine_fn],
        boundaries=[config.warmup_epochs * steps_per_epoch],
    )


def compute_metrics(logits, labels):
    one_hot = jax.nn.one_hot(labels, 10)
    return {
        "loss": jnp.mean(optax.softmax_cross_entropy(logits, one_hot)),
        "accuracy": jnp.mean(jnp.argmax(logits, -1) == labels),
    }


@functools.partial(jax.jit, static_argnums=2)
def train_step(state, batch, learning_rate_fn=None):
    def loss_fn(params):
        logits = CNN().apply({"params": params}, batch["image"])
        one_hot = jax.nn.one_hot(batch["label"], 10)
        loss = jnp.mean(optax.softmax_cross_entropy(logits, one_hot))
        return loss, logits

    grad_fn = jax.value_and_grad(loss_fn, has_aux=True)
    (_, logits), grads = grad_fn(state.params)
    new_state = state.apply_gradients(grads=grads)
    metrics = compute_metrics(logits, batch["label"])
    if learning_rate_fn is not None:
        metrics["learning_rate"] = learning_rate_fn(state.step)
    return new_state, metrics


def train_epoch(state, train_ds, batch_size, learning_rate_fn, rng):
    train_ds_size = len(train_ds["image"])
    steps_per_epoch = train_ds_size // batch_size
    perms = jax.random.permutation(rng, len(train_ds["image"]))
    perms = perms[: steps_per_epoch * batch_size]
    perms = perms.reshape((steps_per_epoch, batch_size))
    batch_metrics = []
    for perm in perms:
        batch = {k: v[perm, ...] for k, v in train_ds.items()}
        state, metrics = train_step(state, batch, learning_rate_fn)
        batch_metrics.append(metrics)
    batch_metrics = jax.device_get(batch_metrics)
    epoch_metrics = {
        k: np.mean([metrics[k] for metrics in batch_metrics]) for k in batch_metrics[0]
    }
    return state, epoch_metrics


def create_train_state(rng, config, learning_rate_fn):
    cnn = CNN()
    params = cnn.init(rng, jnp.ones([1, 8, 8, 1]))["params"]
    tx = optax.sgd(learning_rate_fn, config.momentum)
    return train_state.TrainState.create(apply_fn=cnn.apply, params=params, tx=tx)


CONFIG = types.SimpleNamespace(
    warmup_epochs=1, num_epochs=3, momentum=0.9, learning_rate=0.1
)


def data():
    image = jax.random.normal(jax.random.PRNGKey(2), (32, 8, 8, 1))
    return {"image": image, "label": jnp.arange(32) % 10}


def test_training_with_a_schedule():
    train_ds = data()
    learning_rate_fn = create_learning_rate_fn(CONFIG, 0.1, steps_per_epoch=4)
    state = create_train_state(jax.random.PRNGKey(0), CONFIG, learning_rate_fn)
    rng = jax.random.PRNGKey(1)
    rates, losses = [], []
    for _ in range(CONFIG.num_epochs):
        rng, input_rng = jax.random.split(rng)
        state, metrics = train_epoch(state, train_ds, 8, learning_rate_fn, input_rng)
        rates.append(metrics["learning_rate"])
        losses.append(metrics["loss"])
    assert state.step == 12
    assert losses[-1] < losses[0]
    # Rising in the first epoch, then half a cosine over eight steps.
    cosine = 0.05 * (1 + np.cos(np.pi * np.arange(8) / 8))
    expected = [
        np.mean([0, 0.025, 0.05, 0.075]),
        cosine[:4].mean(),
        cosine[4:].mean(),
    ]
    assert rates == pytest.approx(expected, rel=1e-5)


def test_training_without_a_schedule():
    state = create_train_state(jax.random.PRNGKey(0), CONFIG, CONFIG.learning_rate)
    state, metrics = train_epoch(state, data(), 8, None, jax.random.PRNGKey(1))
    assert state.step == 4
    assert sorted(metrics) == ["accuracy", "loss"]
