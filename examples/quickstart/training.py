"""The training state, the jitted steps, and the loop over epochs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import optax
from data import Digits, batches
from jax import numpy as jnp

from batiste.core import struct
from batiste.training import train_state

__all__ = ["Metrics", "TrainState", "create_train_state", "evaluate", "fit"]


class Metrics(struct.PyTreeNode):
    """Sums over the examples seen so far."""

    loss_sum: Any
    correct: Any
    count: Any

    @classmethod
    def empty(cls) -> Metrics:
        """Returns the sums over no example."""
        return cls(loss_sum=jnp.zeros(()), correct=jnp.zeros(()), count=jnp.zeros(()))

    def add(self, losses: jax.Array, logits: jax.Array, labels: Any) -> Metrics:
        """Takes in the losses (batch,), logits (batch, 10) and labels (batch,)."""
        return Metrics(
            loss_sum=self.loss_sum + losses.sum(),
            correct=self.correct + (logits.argmax(-1) == labels).sum(),
            count=self.count + labels.size,
        )

    def compute(self) -> dict[str, float]:
        """The mean loss and the share of right answers."""
        return {
            "loss": float(self.loss_sum / self.count),
            "accuracy": float(self.correct / self.count),
        }


class TrainState(train_state.TrainState):
    """Parameters and optimizer state, with the metrics of the running epoch."""

    metrics: Metrics


def create_train_state(
    module: Any,
    rng: jax.Array,
    image_shape: tuple[int, ...],
    learning_rate: float,
    num_steps: int,
) -> TrainState:
    """Initializes the parameters for images of one shape (height, width, channels).

    The learning rate falls to zero over `num_steps`, along a cosine.
    """
    schedule = optax.cosine_decay_schedule(learning_rate, num_steps)
    params = module.init(rng, jnp.ones((1, *image_shape)))["params"]
    return TrainState.create(
        apply_fn=module.apply,
        params=params,
        tx=optax.adam(schedule),
        metrics=Metrics.empty(),
    )


@jax.jit
def train_step(state: TrainState, batch: Digits) -> TrainState:
    """Descends the gradient of the loss of one batch."""

    def loss_fn(params: Any) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
        logits = state.apply_fn({"params": params}, batch.image)
        losses = optax.softmax_cross_entropy_with_integer_labels(logits, batch.label)
        return losses.mean(), (losses, logits)

    grads, (losses, logits) = jax.grad(loss_fn, has_aux=True)(state.params)
    state = state.apply_gradients(grads=grads)
    return state.replace(metrics=state.metrics.add(losses, logits, batch.label))


@jax.jit
def eval_step(state: TrainState, metrics: Metrics, batch: Digits) -> Metrics:
    """Adds one batch to the metrics."""
    logits = state.apply_fn({"params": state.params}, batch.image)
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, batch.label)
    return metrics.add(losses, logits, batch.label)


def evaluate(state: TrainState, data: Digits, batch_size: int) -> dict[str, float]:
    """The mean loss and accuracy on all of a data set."""
    metrics = Metrics.empty()
    for batch in batches(data, batch_size):
        metrics = eval_step(state, metrics, batch)
    return metrics.compute()


def fit(
    state: TrainState,
    train: Digits,
    test: Digits,
    *,
    epochs: int,
    batch_size: int,
    seed: int,
    report: Callable[[int, dict[str, float]], None],
) -> tuple[TrainState, list[dict[str, float]]]:
    """Trains, and evaluates after each epoch.

    Args:
      state: the state to start from.
      train: the training set.
      test: the test set.
      epochs: how many times to go through the training set.
      batch_size: how many examples a step takes.
      seed: of the shuffling.
      report: is given the number of each epoch and its row of the history.

    Returns:
      The last state, and a history: for each epoch `train_loss`, `train_accuracy`,
      `test_loss` and `test_accuracy`.
    """
    rng = np.random.default_rng(seed)
    history = []
    for epoch in range(1, epochs + 1):
        state = state.replace(metrics=Metrics.empty())
        for batch in batches(train, batch_size, rng):
            state = train_step(state, batch)
        row = {f"train_{k}": v for k, v in state.metrics.compute().items()}
        tested = evaluate(state, test, batch_size)
        row |= {f"test_{k}": v for k, v in tested.items()}
        history.append(row)
        report(epoch, row)
    return state, history
