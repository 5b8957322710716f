"""clu: metrics, parameter overview, writers, periodic actions and checkpoints.

A small convolutional network with batch statistics and dropout is trained as the
training loops that came with clu were.
"""

import logging
import sys
import tempfile
from typing import Any

import clu.checkpoint
import clu.parameter_overview
import clu.periodic_actions
import flax
import jax
import jax.numpy as jnp
import numpy as np
import optax
from clu import metric_writers, metrics
from flax import linen as nn
from flax.training import common_utils, train_state
from record import Record

CLASSES = 5


class Net(nn.Module):
    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        for features in (8, 16):
            x = nn.Conv(features, (3, 3), use_bias=False)(x)
            x = nn.BatchNorm(use_running_average=not train, momentum=0.9)(x)
            x = nn.max_pool(nn.relu(x), (2, 2), strides=(2, 2))
        x = nn.Dropout(0.2, deterministic=not train)(x.reshape(x.shape[0], -1))
        return nn.Dense(CLASSES)(x)


class TrainState(train_state.TrainState):
    batch_stats: Any
    key: jax.Array


@flax.struct.dataclass
class TrainMetrics(metrics.Collection):
    accuracy: metrics.Accuracy
    loss: metrics.Average.from_output("loss")  # pyright: ignore
    loss_std: metrics.Std.from_output("loss")  # pyright: ignore
    learning_rate: metrics.LastValue.from_output("learning_rate")  # pyright: ignore


@flax.struct.dataclass
class EvalMetrics(metrics.Collection):
    accuracy: metrics.Accuracy
    loss: metrics.Average.from_output("loss")  # pyright: ignore
    outputs: metrics.CollectingMetric.from_outputs(("labels", "logits"))  # pyright: ignore


def data(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, CLASSES, count)
    images = 0.7 * rng.standard_normal((count, 8, 8, 1))
    for row, label in enumerate(labels):
        images[row, label : label + 3, 1:7] += 1.0
    return images.astype(np.float32), labels.astype(np.int32)


@jax.jit
def train_step(
    state: TrainState, total: TrainMetrics, images: jax.Array, labels: jax.Array
) -> tuple[TrainState, TrainMetrics]:
    key = jax.random.fold_in(state.key, state.step)

    def loss_fn(params: Any):
        logits, updates = state.apply_fn(
            {"params": params, "batch_stats": state.batch_stats},
            images,
            train=True,
            mutable=["batch_stats"],
            rngs={"dropout": key},
        )
        losses = optax.softmax_cross_entropy(
            logits, common_utils.onehot(labels, CLASSES)
        )
        return losses.mean(), (losses, logits, updates)

    grad_fn = jax.value_and_grad(loss_fn, has_aux=True)
    (_, (losses, logits, updates)), grads = grad_fn(state.params)
    new = TrainMetrics.single_from_model_output(
        logits=logits, labels=labels, loss=losses, learning_rate=0.01
    )
    state = state.apply_gradients(grads=grads, batch_stats=updates["batch_stats"])
    return state, total.merge(new)


def main(out: str) -> None:
    record = Record()
    images, labels = data(256, 0)
    net = Net()
    variables = net.init(jax.random.PRNGKey(0), images[:1], train=False)
    record.exact("initial", variables)
    text = clu.parameter_overview.get_parameter_overview(variables["params"])
    record.exact("overview", text)
    record.exact("count", clu.parameter_overview.count_parameters(variables["params"]))
    state = TrainState.create(
        apply_fn=net.apply,
        params=variables["params"],
        tx=optax.adam(0.01),
        batch_stats=variables["batch_stats"],
        key=jax.random.PRNGKey(1),
    )
    with tempfile.TemporaryDirectory() as folder:
        writer = metric_writers.create_default_writer(folder, asynchronous=False)
        report = clu.periodic_actions.ReportProgress(num_train_steps=24, writer=writer)
        step = 0
        for epoch in range(3):
            total = TrainMetrics.empty()
            for start in range(0, 256, 32):
                batch = slice(start, start + 32)
                state, total = train_step(state, total, images[batch], labels[batch])
                step += 1
                report(step)
            computed = total.compute()
            writer.write_scalars(step, computed)
            record.close(f"train/{epoch}", computed)
        writer.flush()

        checkpoint = clu.checkpoint.Checkpoint(f"{folder}/checkpoints")
        checkpoint.save(state)
        fresh = state.replace(
            params=jax.tree_util.tree_map(jnp.zeros_like, state.params)
        )
        restored = checkpoint.restore(fresh)
        for left, right in zip(
            jax.tree_util.tree_leaves(state), jax.tree_util.tree_leaves(restored)
        ):
            assert np.array_equal(left, right)
    record.close("trained", restored)

    total = EvalMetrics.empty()
    images, labels = data(64, 1)
    for start in range(0, 64, 16):
        batch = slice(start, start + 16)
        logits = net.apply(
            {"params": restored.params, "batch_stats": restored.batch_stats},
            images[batch],
            train=False,
        )
        loss = optax.softmax_cross_entropy_with_integer_labels(logits, labels[batch])
        total = total.merge(
            EvalMetrics.single_from_model_output(
                logits=logits, labels=labels[batch], loss=loss
            )
        )
    record.close("evaluated", total.compute())
    replicated = flax.jax_utils.replicate(restored.params)
    record.close("unreplicated", flax.jax_utils.unreplicate(replicated))
    record.save(out)


if __name__ == "__main__":
    logging.getLogger().setLevel(logging.WARNING)
    main(sys.argv[1])
