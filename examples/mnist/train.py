"""Training: the state, the jitted steps, and the loop over epochs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import input_pipeline
import jax
import numpy as np
import optax
import orbax.checkpoint as ocp
import pictures
from input_pipeline import Digits
from jax import numpy as jnp
from models import CNN
from tqdm import tqdm

from batiste.training import checkpoints
from batiste.training.tensorboard import SummaryWriter
from batiste.training.train_state import TrainState

__all__ = [
    "Result",
    "create_train_state",
    "eval_step",
    "evaluate",
    "mean_image_accuracy",
    "predict",
    "train_and_evaluate",
    "train_step",
    "write_history",
]

Row = dict[str, float]


class Result(NamedTuple):
    """What training comes to.

    Attributes:
      state: the last state.
      history: of each epoch, `train_loss`, `train_accuracy`, `test_loss` and
        `test_accuracy`.
      baseline: the test accuracy of `mean_image_accuracy`.
    """

    state: TrainState
    history: list[Row]
    baseline: float


def create_train_state(
    config: Any, image_shape: tuple[int, ...], num_steps: int
) -> TrainState:
    """Initializes parameters and optimizer for images (height, width, channels)."""
    model = CNN(config.features, config.hidden, config.dropout_rate)
    images = jnp.zeros((1, *image_shape))
    params = model.init(jax.random.key(config.seed), images)["params"]
    schedule = optax.cosine_decay_schedule(config.learning_rate, num_steps)
    tx = optax.adamw(schedule, weight_decay=config.weight_decay)
    return TrainState.create(apply_fn=model.apply, params=params, tx=tx)


def _sums(logits: jax.Array, labels: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The sums of loss and of right answers over a batch."""
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
    return losses.sum(), (logits.argmax(-1) == labels).sum()


@jax.jit
def train_step(
    state: TrainState, batch: Digits, key: jax.Array
) -> tuple[TrainState, tuple[jax.Array, jax.Array]]:
    """Descends the gradient of the mean loss; returns the sums of the batch, too."""
    rngs = {"dropout": jax.random.fold_in(key, state.step)}

    def loss_fn(params: Any) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
        variables = {"params": params}
        logits = state.apply_fn(variables, batch.image, train=True, rngs=rngs)
        loss, correct = _sums(logits, jnp.asarray(batch.label))
        return loss / len(batch.label), (loss, correct)

    grads, sums = jax.grad(loss_fn, has_aux=True)(state.params)
    return state.apply_gradients(grads=grads), sums


@jax.jit
def eval_step(state: TrainState, batch: Digits) -> tuple[jax.Array, jax.Array]:
    """The sums of loss and of right answers over a batch."""
    logits = state.apply_fn({"params": state.params}, batch.image)
    return _sums(logits, jnp.asarray(batch.label))


def _means(sums: list[Any], count: int) -> tuple[float, float]:
    loss, correct = np.array(jax.device_get(sums), np.float64).sum(0)
    return float(loss / count), float(correct / count)


def evaluate(
    state: TrainState, data: Digits, batch_size: int = 256
) -> tuple[float, float]:
    """The mean loss and the share of right answers on all of a data set."""
    found = input_pipeline.batches(data, batch_size)
    return _means([eval_step(state, batch) for batch in found], len(data.label))


def predict(state: TrainState, images: np.ndarray) -> np.ndarray:
    """The digit, 0 to 9, that each image (number, height, width, 1) shows."""
    return np.asarray(state.apply_fn({"params": state.params}, images).argmax(-1))


def mean_image_accuracy(train: Digits, test: Digits) -> float:
    """How often the nearest of the ten mean images tells the digit: the baseline."""
    means = np.stack([train.image[train.label == d].mean(0) for d in range(10)])
    means, images = means.reshape(10, -1), test.image.reshape(len(test.label), -1)
    # The squared distance, up to what all ten have in common.
    distances = (means**2).sum(-1) - 2 * images @ means.T
    return float((distances.argmin(-1) == test.label).mean())


def _restore(workdir: Path, state: TrainState) -> tuple[TrainState, list[Row]]:
    """The last checkpoint and its history; without one, `state` and none."""
    folder = workdir / "checkpoints"
    if checkpoints.latest_checkpoint(folder) is None:
        return state, []
    state = checkpoints.restore_checkpoint(folder, state)
    return state, json.loads((workdir / "history.json").read_text("utf-8"))


def write_history(path: Path, history: list[Row]) -> None:
    """Writes the rows; a program that is stopped meanwhile leaves the old ones."""
    part = path.with_suffix(".part")
    part.write_text(json.dumps(history, indent=1), "utf-8")
    part.replace(path)


def _save(workdir: Path, state: TrainState, history: list[Row]) -> None:
    # In this order: a history may be ahead of the checkpoint, but never behind it.
    write_history(workdir / "history.json", history)
    checkpoints.save_checkpoint(
        workdir / "checkpoints",
        state,
        int(state.step),
        keep=2,
        orbax_checkpointer=ocp.PyTreeCheckpointer(),
    )


def _train_epoch(
    state: TrainState, batches: Iterator[Digits], key: jax.Array, bar: tqdm
) -> tuple[TrainState, float, float]:
    sums, count = [], 0
    for batch in batches:
        state, found = train_step(state, batch, key)
        sums.append(found)
        count += len(batch.label)
        bar.update()
    return state, *_means(sums, count)


def train_and_evaluate(config: Any, workdir: str | Path) -> Result:
    """Trains, from the last checkpoint in `workdir` if there is one.

    Args:
      config: a `ConfigDict`, as `configs/default.py` returns it.
      workdir: gets `checkpoints/`, `history.json`, the summaries for TensorBoard, and
        the pictures `curves.png` and `predictions.png`.

    Raises:
      ValueError: the configuration names what there is not.
      ImportError: it needs a package that is not installed.
    """
    workdir = Path(workdir).absolute()
    workdir.mkdir(parents=True, exist_ok=True)
    train, test = input_pipeline.load(config.dataset, config.data_dir)
    steps_per_epoch = len(train.label) // config.batch_size
    num_steps = config.num_epochs * steps_per_epoch
    initial = create_train_state(config, train.image.shape[1:], num_steps)
    state, history = _restore(workdir, initial)
    done = int(state.step) // max(steps_per_epoch, 1)
    history = history[:done]

    key = jax.random.key(config.seed + 1)
    with (
        SummaryWriter(workdir) as writer,
        tqdm(
            total=num_steps, initial=int(state.step), unit="step", disable=None
        ) as bar,
    ):
        for epoch in range(done + 1, config.num_epochs + 1):
            batches = input_pipeline.train_batches(
                train,
                config.batch_size,
                shift=config.shift,
                seed=config.seed,
                epoch=epoch,
                loader=config.loader,
            )
            row: Row = {}
            state, row["train_loss"], row["train_accuracy"] = _train_epoch(
                state, batches, key, bar
            )
            row["test_loss"], row["test_accuracy"] = evaluate(state, test)
            history.append(row)
            for name, value in row.items():
                writer.scalar(name.replace("_", "/"), value, epoch)
            bar.write(
                f"epoch {epoch:>3}  "
                + "  ".join(f"{name} {value:.4f}" for name, value in row.items())
            )
            if epoch % config.checkpoint_every == 0 or epoch == config.num_epochs:
                _save(workdir, state, history)
    if history:
        pictures.draw_curves(history, workdir / "curves.png")
    predicted = predict(state, test.image[:25])
    pictures.draw_predictions(test, predicted, workdir / "predictions.png")
    return Result(state, history, mean_image_accuracy(train, test))
