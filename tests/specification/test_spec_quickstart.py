"""The programs of the Quickstart.

Its data set and its pictures are those of `examples/quickstart`, which has a test of
its own; here its network is trained for a few steps on drawn images.
"""

import re

import jax
import numpy as np
import optax
from jax import numpy as jnp

from batiste import linen as nn
from batiste.core import struct
from batiste.training import train_state


class CNN(nn.Module):
    @nn.compact
    def __call__(self, x):
        x = nn.Conv(features=32, kernel_size=(3, 3))(x)
        x = nn.relu(x)
        x = nn.avg_pool(x, window_shape=(2, 2), strides=(2, 2))
        x = nn.Conv(features=64, kernel_size=(3, 3))(x)
        x = nn.relu(x)
        x = nn.avg_pool(x, window_shape=(2, 2), strides=(2, 2))
        x = x.reshape((x.shape[0], -1))
        x = nn.Dense(features=256)(x)
        x = nn.relu(x)
        return nn.Dense(features=10)(x)


@struct.dataclass
class Metrics:
    """What the guide takes from clu: means of loss and accuracy over batches."""

    right: jax.Array
    loss: jax.Array
    count: jax.Array

    @classmethod
    def empty(cls):
        return cls(*(jnp.zeros(()) for _ in range(3)))

    @classmethod
    def single_from_model_output(cls, *, logits, labels, loss):
        right = (logits.argmax(axis=-1) == labels).sum().astype(jnp.float32)
        count = jnp.float32(len(labels))
        return cls(right, loss * count, count)

    def merge(self, other):
        return jax.tree.map(jnp.add, self, other)

    def compute(self):
        return {"accuracy": self.right / self.count, "loss": self.loss / self.count}


class TrainState(train_state.TrainState):
    metrics: Metrics


def create_train_state(module, rng, learning_rate, momentum):
    params = module.init(rng, jnp.ones([1, 28, 28, 1]))["params"]
    tx = optax.sgd(learning_rate, momentum)
    return TrainState.create(
        apply_fn=module.apply, params=params, tx=tx, metrics=Metrics.empty()
    )


@jax.jit
def train_step(state, batch):
    def loss_fn(params):
        logits = state.apply_fn({"params": params}, batch["image"])
        return optax.softmax_cross_entropy_with_integer_labels(
            logits=logits, labels=batch["label"]
        ).mean()

    grads = jax.grad(loss_fn)(state.params)
    return state.apply_gradients(grads=grads)


@jax.jit
def compute_metrics(*, state, batch):
    logits = state.apply_fn({"params": state.params}, batch["image"])
    loss = optax.softmax_cross_entropy_with_integer_labels(
        logits=logits, labels=batch["label"]
    ).mean()
    metric_updates = state.metrics.single_from_model_output(
        logits=logits, labels=batch["label"], loss=loss
    )
    return state.replace(metrics=state.metrics.merge(metric_updates))


@jax.jit
def pred_step(state, batch):
    logits = state.apply_fn({"params": state.params}, batch["image"])
    return logits.argmax(axis=1)


def test_the_table_is_the_documented_one():
    # Wide enough that nothing is broken into lines.
    table = CNN().tabulate(
        jax.random.PRNGKey(0),
        jnp.ones((1, 28, 28, 1)),
        console_kwargs={"width": 160},
    )
    text = re.sub(r"\x1b\[[0-9;]*m", "", table)
    assert "CNN Summary" in text
    assert "Total Parameters: 824,458 (3.3 MB)" in text
    for part in (
        "320 (1.3 KB)",
        "18,496 (74.0 KB)",
        "803,072 (3.2 MB)",
        "2,570 (10.3 KB)",
        "kernel: float32[3,3,1,32]",
        "kernel: float32[3136,256]",
        "kernel: float32[256,10]",
    ):
        assert part in text, text
    words = [line.split() for line in text.replace("│", " ").splitlines()]
    assert any(w[:2] == ["Conv_1", "Conv"] for w in words)
    assert any(w[:2] == ["Dense_0", "Dense"] for w in words)


def test_training():
    labels = np.arange(32) % 10
    rng = np.random.default_rng(0)
    prototypes = rng.normal(size=(10, 28, 28, 1))
    images = prototypes[labels] + 0.1 * rng.normal(size=(32, 28, 28, 1))
    ds = [
        {"image": images[i : i + 16].astype(np.float32), "label": labels[i : i + 16]}
        for i in (0, 16)
    ]
    state = create_train_state(CNN(), jax.random.PRNGKey(0), 0.01, 0.9)
    history = []
    for _ in range(6):
        for batch in ds:
            state = train_step(state, batch)
            state = compute_metrics(state=state, batch=batch)
        history.append({k: float(v) for k, v in state.metrics.compute().items()})
        state = state.replace(metrics=state.metrics.empty())
    assert state.step == 12
    assert history[-1]["loss"] < history[0]["loss"]
    assert history[-1]["accuracy"] > 0.8
    pred = pred_step(state, ds[0])
    assert (np.asarray(pred) == ds[0]["label"]).mean() > 0.8
