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
from baseline import MostFrequentTag
from input_pipeline import (
    NUM_AFFIXES,
    PAD,
    Batch,
    Encoder,
    Sentence,
    batches,
    load,
    pieces_of,
)
from jax import numpy as jnp
from models import Tagger
from pictures import draw_curves
from tqdm import tqdm

from batiste.training import checkpoints
from batiste.training.tensorboard import SummaryWriter
from batiste.training.train_state import TrainState

__all__ = [
    "Result",
    "Sizes",
    "create_state",
    "make_model",
    "score",
    "tag",
    "train_and_evaluate",
    "train_step",
    "write_history",
]

Row = dict[str, float]


class Sizes(NamedTuple):
    """What of the model depends on the treebank: how many words and tags there are."""

    words: int
    tags: int


class Result(NamedTuple):
    """What a run ends with.

    Attributes:
      state: the last state.
      history: a row for each epoch.
      model_scores: what `score` gives for the model, of validation and test.
      baseline_scores: the same for the most frequent tags.
      encoder: what turns sentences into numbers.
    """

    state: TrainState
    history: list[Row]
    model_scores: Row
    baseline_scores: Row
    encoder: Encoder


def make_model(config: Any, sizes: Sizes) -> Tagger:
    """The model of these options."""
    return Tagger(
        num_words=sizes.words,
        num_affixes=config.num_affixes,
        num_tags=sizes.tags,
        features=config.features,
        num_layers=config.num_layers,
        num_heads=config.num_heads,
        mlp_size=config.mlp_size,
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


def create_state(config: Any, sizes: Sizes, num_steps: int) -> TrainState:
    """Initializes parameters and optimizer from `config.seed`."""
    model = make_model(config, sizes)
    words = jnp.ones((1, 16), jnp.int32)
    affixes = jnp.ones((1, 16, NUM_AFFIXES), jnp.int32)
    params = model.init(jax.random.key(config.seed), words, affixes)["params"]
    tx = _optimizer(
        config.learning_rate, num_steps, config.max_grad_norm, config.weight_decay
    )
    return TrainState.create(apply_fn=model.apply, params=params, tx=tx)


@jax.jit
def train_step(
    state: TrainState, batch: Batch, key: jax.Array, label_smoothing: float
) -> tuple[TrainState, Row]:
    """Descends the gradient of one batch.

    Returns:
      The new state, and sums over the batch: `loss`, `right` and `count`.
    """
    # Of the step, so that a run that goes on drops what it would have dropped.
    rngs = {"dropout": jax.random.fold_in(key, state.step)}

    def loss_fn(params: Any) -> tuple[jax.Array, Row]:
        variables = {"params": params}
        logits = state.apply_fn(
            variables, batch.words, batch.affixes, train=True, rngs=rngs
        )
        sums = _sums(logits, batch.tags, label_smoothing)
        return sums["loss"] / sums["count"], sums

    grads, sums = jax.grad(loss_fn, has_aux=True)(state.params)
    return state.apply_gradients(grads=grads), sums


@jax.jit
def _eval_step(state: TrainState, batch: Batch) -> tuple[jax.Array, Row]:
    logits = state.apply_fn({"params": state.params}, batch.words, batch.affixes)
    return logits[..., 1:].argmax(-1) + 1, _sums(logits, batch.tags)


def _sums(logits: jax.Array, tags: Any, smoothing: float = 0.0) -> dict[str, Any]:
    targets = optax.smooth_labels(jax.nn.one_hot(tags, logits.shape[-1]), smoothing)
    losses = optax.softmax_cross_entropy(logits, targets)
    counts = tags != PAD
    return {
        "loss": (losses * counts).sum(),
        "right": ((logits.argmax(-1) == tags) & counts).sum(),
        "count": counts.sum(),
    }


def _means(rows: list[Row], part: str) -> Row:
    total = jax.tree.map(lambda *values: float(sum(values)), *rows)
    return {
        f"{part}_loss": total["loss"] / total["count"],
        f"{part}_accuracy": total["right"] / total["count"],
    }


def tag(
    state: TrainState, encoder: Encoder, sentences: Sequence[Sentence]
) -> list[list[str]]:
    """The likeliest tag of each word of sentences; their own tags are not looked at."""
    found = []
    for sentence in sentences:
        tags: list[str] = []
        for piece in pieces_of([encoder(sentence)]):
            (batch,) = batches([piece], 1)
            numbers, _ = _eval_step(state, batch)
            given = np.asarray(numbers)[0, : len(piece.words)]
            tags += [encoder.tags[number] for number in given]
        found.append(tags)
    return found


def score(
    given: Sequence[Sequence[str]],
    sentences: Sequence[Sentence],
    baseline: MostFrequentTag,
    part: str,
) -> Row:
    """The shares of words that have their right tag.

    Returns:
      `accuracy`, and `new_accuracy` of those words that training did not have, under
      names that begin with `part`.
    """
    right, new = [], []
    for tags, sentence in zip(given, sentences, strict=True):
        right += [a == b for a, b in zip(tags, sentence.tags, strict=True)]
        new += [not baseline.knows(word) for word in sentence.words]
    of_new = np.array(right)[new]
    return {
        f"{part}_accuracy": float(np.mean(right)),
        f"{part}_new_accuracy": float(of_new.mean()) if len(of_new) else 1.0,
    }


def train_and_evaluate(config: Any, workdir: str | Path) -> Result:
    """Trains, or goes on from the last checkpoint in `workdir`.

    Args:
      config: the options, as of `configs/small.py`.
      workdir: the folder for checkpoints, history, curves and TensorBoard's files.
    """
    workdir = Path(workdir).absolute()
    workdir.mkdir(parents=True, exist_ok=True)
    splits = load(config)
    baseline = MostFrequentTag(splits.train)
    encoder = Encoder(splits.train, config.min_count, config.num_affixes)
    train, validation = (
        [encoder(sentence) for sentence in part]
        for part in (splits.train, splits.validation)
    )
    # How many batches there are does not depend on their order.
    epoch_steps = sum(1 for _ in batches(train, config.batch_size))
    num_steps = config.num_epochs * epoch_steps
    sizes = Sizes(len(encoder.words), len(encoder.tags))

    checkpointer = ocp.Checkpointer(ocp.PyTreeCheckpointHandler())
    state: TrainState = checkpoints.restore_checkpoint(
        workdir / "checkpoints",
        create_state(config, sizes, num_steps),
        orbax_checkpointer=checkpointer,
    )
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
            for batch in batches(train, config.batch_size, rng, config.loader):
                state, row = train_step(state, batch, key, config.label_smoothing)
                sums.append(row)
                bar.update()
            step = int(state.step)
            row = {"epoch": epoch, "step": step} | _means(sums, "train")
            found = [_eval_step(state, b)[1] for b in batches(validation, 128)]
            row |= _means(found, "validation")
            given = tag(state, encoder, splits.validation)
            row |= score(given, splits.validation, baseline, "validation")
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
    ours, theirs = {}, {}
    for part in ("validation", "test"):
        sentences = getattr(splits, part)
        ours |= score(tag(state, encoder, sentences), sentences, baseline, part)
        given = [baseline(sentence.words) for sentence in sentences]
        theirs |= score(given, sentences, baseline, part)
    draw_curves(history, theirs, workdir / "curves.png")
    return Result(state, history, ours, theirs, encoder)


def _read_history(path: Path, step: int) -> list[Row]:
    """The rows up to a step; later ones belong to steps that are done again."""
    rows = json.loads(path.read_text("utf-8")) if path.exists() else []
    return [row for row in rows if row["step"] <= step]


def write_history(path: Path, history: list[Row]) -> None:
    """Writes the rows; a program that is stopped meanwhile leaves the old ones."""
    part = path.with_suffix(".part")
    part.write_text(json.dumps(history, indent=1), "utf-8")
    part.replace(path)
