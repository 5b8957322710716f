"""The training state, the jitted steps, and the loop that can be interrupted."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

import jax
import numpy as np
import optax
import orbax.checkpoint as ocp
from input_pipeline import PAD, Batch, test_batch, train_batches
from jax import numpy as jnp
from models import Seq2seq, greedy_answers
from pictures import draw_curves
from tqdm import tqdm

from batiste.training import checkpoints
from batiste.training.tensorboard import SummaryWriter
from batiste.training.train_state import TrainState

__all__ = [
    "create_state",
    "evaluate",
    "make_model",
    "schedule",
    "train_and_evaluate",
    "train_step",
    "write_history",
]

Row = dict[str, float]


def make_model(config: Any) -> Seq2seq:
    """The model of these options."""
    return Seq2seq(config.embed_size, config.hidden_size, config.num_layers)


def schedule(config: Any) -> optax.Schedule:
    """The learning rate at each step: up along a line, down along a cosine."""
    return optax.warmup_cosine_decay_schedule(
        init_value=0.0,
        peak_value=config.learning_rate,
        warmup_steps=config.warmup_steps,
        decay_steps=config.num_train_steps,
    )


def create_state(config: Any) -> TrainState:
    """Initializes parameters and optimizer from `config.seed`."""
    model = make_model(config)
    query = jnp.zeros((1, 2 * config.max_digits + 2), jnp.int32)
    answer = jnp.zeros((1, config.max_digits + 2), jnp.int32)
    params = model.init(jax.random.key(config.seed), query, answer)["params"]
    tx = optax.chain(
        optax.clip_by_global_norm(config.max_grad_norm),
        optax.adam(schedule(config)),
    )
    return TrainState.create(apply_fn=model.apply, params=params, tx=tx)


def _loss(logits: jax.Array, answer: Any) -> jax.Array:
    """The mean cross-entropy of the tokens of answers, their ends included."""
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, answer)
    weights = answer != PAD
    return (losses * weights).sum() / weights.sum()


@jax.jit
def train_step(state: TrainState, batch: Batch) -> tuple[TrainState, jax.Array]:
    """Descends the gradient of one batch; returns the loss before that, too."""

    def loss_fn(params: Any) -> jax.Array:
        logits = state.apply_fn({"params": params}, batch.query, batch.answer)
        return _loss(logits, batch.answer)

    loss, grads = jax.value_and_grad(loss_fn)(state.params)
    return state.apply_gradients(grads=grads), loss


@functools.partial(jax.jit, static_argnums=0)
def _eval_step(model: Seq2seq, params: Any, batch: Batch) -> tuple[Any, jax.Array]:
    logits = model.apply({"params": params}, batch.query, batch.answer)
    given = greedy_answers(model, params, batch.query, batch.answer.shape[1])
    counts = batch.answer != PAD
    right = given == batch.answer
    row = {
        "test_loss": _loss(logits, batch.answer),
        "test_token_accuracy": (right & counts).sum() / counts.sum(),
        "test_exact": (right | ~counts).all(-1).mean(),
    }
    return row, given


def evaluate(config: Any, params: Any, batch: Batch) -> tuple[Row, np.ndarray]:
    """Answers all queries of a batch without seeing the answers.

    Returns:
      `test_loss`, with teacher forcing; `test_token_accuracy` and `test_exact`, the
      shares of tokens and of whole answers that are right; and the answers (batch,
      length) that were given.
    """
    row, given = _eval_step(make_model(config), params, batch)
    return {name: float(value) for name, value in row.items()}, np.asarray(given)


def _read_history(path: Path, step: int) -> list[Row]:
    """The rows up to a step; later ones belong to steps that are done again."""
    rows = json.loads(path.read_text("utf-8")) if path.exists() else []
    return [row for row in rows if row["step"] <= step]


def write_history(path: Path, history: list[Row]) -> None:
    """Writes the rows; a program that is stopped meanwhile leaves the old ones."""
    part = path.with_suffix(".part")
    part.write_text(json.dumps(history, indent=1), "utf-8")
    part.replace(path)


def train_and_evaluate(
    config: Any, workdir: str | Path
) -> tuple[TrainState, list[Row]]:
    """Trains, or goes on from the last checkpoint in `workdir`.

    Args:
      config: the options, as of `configs/small.py`.
      workdir: the folder for checkpoints, history, curves and TensorBoard's files.

    Returns:
      The last state, and a history with a row for each evaluation.
    """
    workdir = Path(workdir).absolute()
    workdir.mkdir(parents=True, exist_ok=True)
    history_path = workdir / "history.json"
    checkpointer = ocp.Checkpointer(ocp.PyTreeCheckpointHandler())
    state: TrainState = checkpoints.restore_checkpoint(
        workdir / "checkpoints", create_state(config), orbax_checkpointer=checkpointer
    )
    start = int(state.step)
    history = _read_history(history_path, start)
    test = test_batch(config)
    losses = []
    with (
        SummaryWriter(workdir / "tensorboard") as writer,
        tqdm(
            total=config.num_train_steps, initial=start, unit="step", disable=None
        ) as bar,
    ):
        for step, batch in enumerate(train_batches(config, start), start + 1):
            state, loss = train_step(state, batch)
            losses.append(loss)
            bar.update()
            if step % config.eval_every_steps and step != config.num_train_steps:
                continue
            row = {"step": step, "train_loss": float(jnp.stack(losses).mean())}
            row |= evaluate(config, state.params, test)[0]
            losses.clear()
            history.append(row)
            for name, value in row.items():
                writer.scalar(name, value, step)
            bar.write(
                f"step {step}: train loss {row['train_loss']:.4f}, test loss "
                f"{row['test_loss']:.4f}, exact {100 * row['test_exact']:.2f} %"
            )
            # First the history: a row too many is left out when training goes on.
            write_history(history_path, history)
            checkpoints.save_checkpoint(
                workdir / "checkpoints",
                state,
                step,
                keep=config.keep_checkpoints,
                orbax_checkpointer=checkpointer,
            )
    draw_curves(history, workdir / "curves.png")
    return state, history
