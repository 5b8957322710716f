"""The training state, the jitted steps, and the loop that can be interrupted."""

from __future__ import annotations

import functools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import optax
import orbax.checkpoint as ocp
from baseline import bag_of_words
from input_pipeline import Batch, Reviews, Splits, Vocabulary, batches, load
from jax import numpy as jnp
from models import SentimentLSTM
from pictures import draw_curves
from tqdm import tqdm
from vectors import word_vectors

from batiste.core.frozen_dict import unfreeze
from batiste.training import checkpoints
from batiste.training.tensorboard import SummaryWriter
from batiste.training.train_state import TrainState

__all__ = [
    "Result",
    "create_state",
    "evaluate",
    "make_model",
    "make_vocabulary",
    "predict",
    "train_and_evaluate",
    "train_step",
    "write_history",
]

Row = dict[str, float]
EVAL_BATCH_SIZE = 256


class Result(NamedTuple):
    """What a run ends with.

    Attributes:
      state: the last state.
      history: a row for each epoch.
      baseline: the accuracies of a bag of words.
      vocabulary: the words that have a number.
    """

    state: TrainState
    history: list[Row]
    baseline: Row
    vocabulary: Vocabulary


class _Encoded(NamedTuple):
    """Reviews as word numbers."""

    numbers: Sequence[np.ndarray]
    labels: np.ndarray


def make_vocabulary(config: Any, splits: Splits) -> Vocabulary:
    """The words of the training reviews, and with vectors of the unlabelled ones."""
    texts = [*splits.train.texts]
    if config.use_vectors:
        texts += splits.unlabelled
    return Vocabulary(texts, config.vocab_size, config.min_count)


def make_model(config: Any, vocab_size: int) -> SentimentLSTM:
    """The model of these options."""
    return SentimentLSTM(
        vocab_size=vocab_size,
        embed_size=config.embed_size,
        hidden_size=config.hidden_size,
        word_dropout=config.word_dropout,
        dropout=config.dropout,
    )


# The same object for the same options: steps that were compiled for one state then
# serve the next one.
@functools.cache
def _optimizer(
    learning_rate: float, num_steps: int, max_grad_norm: float, weight_decay: float
) -> optax.GradientTransformation:
    rate = optax.warmup_cosine_decay_schedule(
        init_value=0.0,
        peak_value=learning_rate,
        warmup_steps=max(1, num_steps // 20),
        decay_steps=num_steps,
    )
    return optax.chain(
        optax.clip_by_global_norm(max_grad_norm),
        optax.adamw(rate, weight_decay=weight_decay),
    )


def create_state(config: Any, vocab_size: int, num_steps: int) -> TrainState:
    """Initializes parameters and optimizer from `config.seed`."""
    model = make_model(config, vocab_size)
    key = jax.random.key(config.seed)
    params = unfreeze(model.init(key, jnp.ones((1, 16), jnp.int32))["params"])
    tx = _optimizer(
        config.learning_rate, num_steps, config.max_grad_norm, config.weight_decay
    )
    return TrainState.create(apply_fn=model.apply, params=params, tx=tx)


def _with_vectors(
    state: TrainState, config: Any, splits: Splits, vocabulary: Vocabulary
) -> TrainState:
    """Begins with vectors of words that the unlabelled texts tell."""
    texts = [*splits.train.texts, *splits.unlabelled]
    found = word_vectors(
        [vocabulary.numbers_of(text) for text in texts],
        len(vocabulary),
        config.embed_size,
        window=config.vector_window,
        seed=config.seed,
    )
    embedding = jnp.asarray(config.vector_scale * found)
    params = {**state.params, "embed": {"embedding": embedding}}
    return state.replace(params=params)


@jax.jit
def train_step(
    state: TrainState, batch: Batch, key: jax.Array
) -> tuple[TrainState, Row]:
    """Descends the gradient of one batch.

    Returns:
      The new state, and sums over the batch: `loss`, `right` and `count`.
    """
    # Of the step, so that a run that goes on drops what it would have dropped.
    rngs = {"dropout": jax.random.fold_in(key, state.step)}

    def loss_fn(params: Any) -> tuple[jax.Array, Row]:
        logits = state.apply_fn({"params": params}, batch.words, train=True, rngs=rngs)
        sums = _sums(logits, batch)
        return sums["loss"] / sums["count"], sums

    grads, sums = jax.grad(loss_fn, has_aux=True)(state.params)
    return state.apply_gradients(grads=grads), sums


@jax.jit
def _eval_step(state: TrainState, batch: Batch) -> tuple[jax.Array, Row]:
    logits = state.apply_fn({"params": state.params}, batch.words)
    return logits, _sums(logits, batch)


def _sums(logits: jax.Array, batch: Batch) -> dict[str, Any]:
    losses = optax.sigmoid_binary_cross_entropy(logits, batch.labels)
    right = (logits > 0) == (batch.labels == 1)
    return {
        "loss": (losses * batch.weights).sum(),
        "right": (right * batch.weights).sum(),
        "count": batch.weights.sum(),
    }


def _means(rows: list[Row], part: str) -> Row:
    total = jax.tree.map(lambda *values: float(sum(values)), *rows)
    return {
        f"{part}_loss": total["loss"] / total["count"],
        f"{part}_accuracy": total["right"] / total["count"],
    }


def evaluate(state: TrainState, data: _Encoded, part: str) -> Row:
    """The loss and accuracy on a data set, under names that begin with `part`."""
    found = batches(data.numbers, data.labels, EVAL_BATCH_SIZE)
    return _means([_eval_step(state, batch)[1] for batch in found], part)


def predict(
    state: TrainState, vocabulary: Vocabulary, texts: Sequence[str]
) -> np.ndarray:
    """The probability that each text is good, (number,)."""
    found = []
    for text in texts:
        labels = np.zeros(1, np.int32)
        (batch,) = batches([vocabulary.numbers_of(text)], labels, 1)
        found.append(jax.nn.sigmoid(_eval_step(state, batch)[0][0]))
    return np.array(found)


def train_and_evaluate(config: Any, workdir: str | Path) -> Result:
    """Trains, or goes on from the last checkpoint in `workdir`.

    Args:
      config: the options, as of `configs/small.py`.
      workdir: the folder for checkpoints, history, curves and TensorBoard's files.
    """
    workdir = Path(workdir).absolute()
    workdir.mkdir(parents=True, exist_ok=True)
    splits = load(config)
    baseline = bag_of_words(splits)
    vocabulary = make_vocabulary(config, splits)

    def encoded(reviews: Reviews) -> _Encoded:
        return _Encoded([*map(vocabulary.numbers_of, reviews.texts)], reviews.labels)

    train, validation, test = map(encoded, splits[:3])
    # How many batches there are does not depend on their order.
    epoch_steps = sum(1 for _ in batches(*train, config.batch_size))
    num_steps = config.num_epochs * epoch_steps

    checkpointer = ocp.Checkpointer(ocp.PyTreeCheckpointHandler())
    state = create_state(config, len(vocabulary), num_steps)
    if checkpoints.latest_checkpoint(workdir / "checkpoints") is not None:
        state = checkpoints.restore_checkpoint(
            workdir / "checkpoints", state, orbax_checkpointer=checkpointer
        )
    elif config.use_vectors:
        state = _with_vectors(state, config, splits, vocabulary)
    start = int(state.step)
    history = _read_history(workdir / "history.json", start)
    key = jax.random.key(config.seed)
    with (
        SummaryWriter(workdir / "tensorboard") as writer,
        tqdm(total=num_steps, initial=start, unit="step", disable=None) as bar,
    ):
        for epoch in range(start // epoch_steps + 1, config.num_epochs + 1):
            rng = np.random.default_rng([config.seed, epoch])
            sums = []
            for batch in batches(*train, config.batch_size, rng, config.loader):
                state, row = train_step(state, batch, key)
                sums.append(row)
                bar.update()
            step = int(state.step)
            row = {"epoch": epoch, "step": step} | _means(sums, "train")
            row |= evaluate(state, validation, "validation")
            row |= evaluate(state, test, "test")
            history.append(row)
            for name, value in row.items():
                writer.scalar(name, value, step)
            bar.write(
                f"epoch {epoch}: train loss {row['train_loss']:.4f}, validation loss "
                f"{row['validation_loss']:.4f}, accuracy "
                f"{100 * row['validation_accuracy']:.2f} %"
            )
            # First the history: a row too many is left out when training goes on.
            write_history(workdir / "history.json", history)
            checkpoints.save_checkpoint(
                workdir / "checkpoints",
                state,
                step,
                keep=config.keep_checkpoints,
                orbax_checkpointer=checkpointer,
            )
    draw_curves(history, baseline, workdir / "curves.png")
    return Result(state, history, baseline, vocabulary)


def _read_history(path: Path, step: int) -> list[Row]:
    """The rows up to a step; later ones belong to steps that are done again."""
    rows = json.loads(path.read_text("utf-8")) if path.exists() else []
    return [row for row in rows if row["step"] <= step]


def write_history(path: Path, history: list[Row]) -> None:
    """Writes the rows; a program that is stopped meanwhile leaves the old ones."""
    part = path.with_suffix(".part")
    part.write_text(json.dumps(history, indent=1), "utf-8")
    part.replace(path)
