"""The loop: trains, evaluates, logs, saves, and goes on where it was stopped."""

from __future__ import annotations

import json
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import jax
from input_pipeline import Pipeline, load, prefetch
from pictures import draw_curves
from steps import Metrics, Program, TrainState, learning_rate_schedule
from tqdm import tqdm

from batiste.training import checkpoints
from batiste.training.tensorboard import SummaryWriter

__all__ = ["evaluate", "train_and_evaluate", "write_history"]

History = list[dict[str, float]]


def train_and_evaluate(
    config: Any, workdir: str | Path, devices: Any = None
) -> tuple[TrainState, History]:
    """Trains from the last checkpoint in a folder, or from the start.

    Args:
      config: see configs/default.py.
      workdir: takes checkpoints, `history.json`, `curves.png` and the logs for
        TensorBoard. All processes need to see the same folder.
      devices: those to use; by default all of all processes.

    Returns:
      The final state, and for each epoch `step`, `learning_rate`, and loss and accuracy
      of training and test.

    Raises:
      ValueError: the batch is too large for the data, or not to be shared evenly.
    """
    workdir = Path(workdir).absolute()
    first = jax.process_index() == 0
    train, test = load(config.dataset)
    steps_per_epoch = len(train) // config.batch_size
    if not steps_per_epoch:
        raise ValueError(
            f"config.batch_size is {config.batch_size}, more than the {len(train)} "
            "examples to train on."
        )
    program = Program(config, steps_per_epoch, devices)
    pipeline = Pipeline(train, config, program.rows, config.threads)
    test_pipeline = Pipeline(test, config, program.rows, config.threads)
    learning_rate = learning_rate_schedule(config, steps_per_epoch)

    state, history = _start(program, config, workdir)
    start, stop = int(state.step), config.num_epochs * steps_per_epoch

    def make_batch(step: int) -> dict[str, jax.Array]:
        return program.on_devices(pipeline.training_batch(step))

    with ExitStack() as stack:
        writer = stack.enter_context(SummaryWriter(workdir)) if first else None
        bar = stack.enter_context(
            tqdm(
                total=stop, initial=start, unit="step", disable=None if first else True
            )
        )
        for step, batch in enumerate(
            prefetch(make_batch, range(start, stop), config.loader), start + 1
        ):
            state = program.train_step(state, batch)
            bar.update()
            if writer is not None and step % config.log_every_steps == 0:
                _log_step(writer, state, step, float(learning_rate(step)))
            if step % steps_per_epoch == 0:
                row = {"step": step, "learning_rate": float(learning_rate(step))}
                row |= {f"train_{k}": v for k, v in state.metrics.compute().items()}
                tested = evaluate(program, state, test_pipeline)
                row |= {f"test_{k}": v for k, v in tested.items()}
                history.append(row)
                state = state.replace(metrics=_empty(program))
                if writer is not None:
                    _log_epoch(writer, workdir, history)
                    bar.write(_text(len(history), row))
            if step % config.checkpoint_every_steps == 0 or step == stop:
                _save(workdir, state, step)
    if first:
        draw_curves(history, workdir / "curves.png")
    return state, history


def evaluate(program: Program, state: TrainState, pipeline: Pipeline):
    """The mean loss and the accuracy on all of a data set."""
    metrics = _empty(program)
    for batch in pipeline.test_batches():
        metrics = program.eval_step(state, metrics, program.on_devices(batch))
    return metrics.compute()


def _empty(program: Program) -> Metrics:
    return jax.device_put(Metrics.empty(), program.whole)


def _start(program: Program, config: Any, workdir: Path) -> tuple[Any, History]:
    """The state and the history to go on from."""
    folder = workdir / "checkpoints"
    if checkpoints.latest_checkpoint(folder) is None:
        return program.create(jax.random.key(config.seed)), []
    state: Any = checkpoints.restore_checkpoint(folder, program.state)
    step = int(state.step)
    if jax.process_index() == 0:
        print(f"Goes on from step {step} of {folder}.", flush=True)
    return state, _read_history(workdir / "history.json", step)


def _read_history(path: Path, step: int) -> History:
    """The rows up to a step; later ones belong to steps that are done again."""
    # There is none if not one epoch was over.
    rows = json.loads(path.read_text("utf-8")) if path.exists() else []
    return [row for row in rows if row["step"] <= step]


def write_history(path: Path, history: History) -> None:
    """Writes the rows; a program that is stopped meanwhile leaves the old ones."""
    part = path.with_suffix(".part")
    part.write_text(json.dumps(history, indent=1), "utf-8")
    part.replace(path)


def _save(workdir: Path, state: TrainState, step: int) -> None:
    """Saves from all processes together, each what it holds."""
    import orbax.checkpoint as ocp

    checkpoints.save_checkpoint_multiprocess(
        workdir / "checkpoints",
        state,
        step,
        keep=2,
        overwrite=True,
        orbax_checkpointer=ocp.PyTreeCheckpointer(),
    )


def _log_step(writer: SummaryWriter, state: TrainState, step: int, rate: float) -> None:
    for name, value in state.metrics.compute().items():
        writer.scalar(f"train/{name}_so_far", value, step)
    writer.scalar("learning_rate", rate, step)
    if state.dynamic_scale is not None:
        writer.scalar("loss_scale", float(state.dynamic_scale.scale), step)


def _log_epoch(writer: SummaryWriter, workdir: Path, history: History) -> None:
    row = history[-1]
    for part in ("train", "test"):
        for name in ("loss", "accuracy"):
            writer.scalar(f"{part}/{name}", row[f"{part}_{name}"], int(row["step"]))
    write_history(workdir / "history.json", history)


def _text(epoch: int, row: dict[str, float]) -> str:
    return (
        f"epoch {epoch:>3}: loss {row['train_loss']:.4f}, "
        f"accuracy {100 * row['train_accuracy']:5.2f} %; "
        f"test loss {row['test_loss']:.4f}, "
        f"accuracy {100 * row['test_accuracy']:5.2f} %"
    )
