"""The state, the steps and the loop, which goes on where it was stopped."""

from __future__ import annotations

import collections
import functools
import json
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import jax
import jraph
import numpy as np
import optax
from input_pipeline import in_order, load, prefetch, training_batch
from jax import numpy as jnp
from metrics import constant_baseline, mean_average_precision
from models import create_model
from molecules import Molecule
from pictures import draw_curves
from tqdm import tqdm

from batiste.core import struct
from batiste.training import checkpoints, train_state
from batiste.training.tensorboard import SummaryWriter

__all__ = [
    "TRACES",
    "Losses",
    "abstract_state",
    "create_state",
    "evaluate",
    "predict",
    "train_and_evaluate",
    "train_step",
    "write_history",
]

History = list[dict[str, float]]

# How often each function was compiled in this process: once for each size of batch.
TRACES: collections.Counter[str] = collections.Counter()


class Losses(struct.PyTreeNode):
    """The sum of the losses of an epoch so far, and of how many labels."""

    total: Any
    count: Any

    @classmethod
    def empty(cls) -> Losses:
        """Returns the sums over no label."""
        return cls(total=jnp.zeros(()), count=jnp.zeros(()))

    def mean(self) -> float:
        """The mean loss of a label."""
        return float(self.total) / max(float(self.count), 1.0)


class TrainState(train_state.TrainState):
    """Parameters, optimizer, the key of dropout, and the losses of the epoch."""

    key: Any
    losses: Losses


def create_state(config: Any, num_steps: int, seed: Any) -> TrainState:
    """A fresh state, whose learning rate warms up and falls along a cosine.

    Args:
      config: the config.
      num_steps: how many steps there will be.
      seed: of the parameters and of dropout.
    """
    model = create_model(config)
    params_key, key = jax.random.split(jax.random.PRNGKey(seed))
    graph = jraph.GraphsTuple(
        nodes=jnp.zeros((2, 9), jnp.int32),
        edges=jnp.zeros((2, 3), jnp.int32),
        senders=jnp.array([0, 1]),
        receivers=jnp.array([1, 0]),
        n_node=jnp.array([2]),
        n_edge=jnp.array([2]),
        globals=None,
    )
    schedule = optax.warmup_cosine_decay_schedule(
        init_value=0.0,
        peak_value=config.learning_rate,
        warmup_steps=num_steps // 20,
        decay_steps=num_steps,
    )
    tx = optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(schedule))
    return TrainState.create(
        apply_fn=model.apply,
        params=model.init(params_key, graph)["params"],
        tx=tx,
        key=key,
        losses=Losses.empty(),
    ).replace(step=jnp.int32(0))


def abstract_state(config: Any) -> Any:
    """The state without its values: every array is a `jax.ShapeDtypeStruct`."""
    return jax.eval_shape(functools.partial(create_state, config, 100), 0)


@jax.jit
def train_step(state: TrainState, graphs: jraph.GraphsTuple) -> TrainState:
    """Descends the gradient of the mean loss of the labels that there are."""
    TRACES["train_step"] += 1
    key = jax.random.fold_in(state.key, state.step)
    labels: Any = graphs.globals

    def loss_fn(params: Any) -> tuple[jax.Array, Losses]:
        logits = state.apply_fn(
            {"params": params}, graphs, train=True, rngs={"dropout": key}
        )
        each = optax.sigmoid_binary_cross_entropy(logits, labels["labels"])
        total = (each * labels["measured"]).sum()
        count = labels["measured"].sum()
        return total / jnp.maximum(count, 1.0), Losses(total=total, count=count)

    grads, losses = jax.grad(loss_fn, has_aux=True)(state.params)
    summed = jax.tree.map(jnp.add, state.losses, losses)
    return state.apply_gradients(grads=grads, losses=summed)


@jax.jit
def predict(state: TrainState, graphs: jraph.GraphsTuple) -> jax.Array:
    """The logits (graphs, tasks), those of padding included."""
    TRACES["predict"] += 1
    return state.apply_fn({"params": state.params}, graphs, train=False)


def evaluate(
    state: TrainState, molecules: Sequence[Molecule], config: Any
) -> dict[str, float]:
    """The mean average precision, that of a constant, and the loss."""
    labels, measured, logits = [], [], []
    for graphs in in_order(molecules, config):
        real = int(np.asarray(jraph.get_graph_padding_mask(graphs)).sum())
        found: Any = graphs.globals
        labels.append(found["labels"][:real])
        measured.append(found["measured"][:real])
        logits.append(np.asarray(predict(state, graphs))[:real])
    truth, known, scores = (np.concatenate(a) for a in (labels, measured, logits))
    each = np.logaddexp(0.0, scores) - truth * scores
    return {
        "map": mean_average_precision(truth, known, scores),
        "constant_map": constant_baseline(truth, known),
        "loss": float((each * known).sum() / known.sum()),
    }


def train_and_evaluate(
    config: Any, workdir: str | Path
) -> tuple[TrainState, dict[str, Any]]:
    """Trains from the last checkpoint in a folder, or from the start.

    Args:
      config: see configs/default.py.
      workdir: takes checkpoints, `history.json`, `curves.png` and the logs for
        TensorBoard.

    Returns:
      The final state, and a dict of `history`, a row for each epoch, and `test`, what
      `evaluate` finds on the test set.

    Raises:
      ValueError: a batch is larger than the data set.
    """
    workdir = Path(workdir).absolute()
    data = load(config.dataset)
    steps_per_epoch = len(data["train"]) // config.batch_size
    if not steps_per_epoch:
        raise ValueError(
            f"config.batch_size is {config.batch_size}, more than the "
            f"{len(data['train'])} molecules to train on."
        )
    stop = config.num_epochs * steps_per_epoch
    state, history = _start(config, stop, workdir)
    start = int(state.step)

    def make(step: int) -> jraph.GraphsTuple:
        return training_batch(data["train"], config, step)

    with ExitStack() as stack:
        writer = stack.enter_context(SummaryWriter(workdir))
        bar = tqdm(total=stop, initial=start, unit="step", disable=None)
        stack.enter_context(bar)
        for step, graphs in enumerate(
            prefetch(make, range(start, stop), config.loader), start + 1
        ):
            state = train_step(state, graphs)
            bar.update()
            if step % config.log_every_steps == 0:
                writer.scalar("train/loss_so_far", state.losses.mean(), step)
            if step % steps_per_epoch == 0:
                row = {"step": step, "train_loss": state.losses.mean()}
                found = evaluate(state, data["validation"], config)
                row |= {f"validation_{name}": value for name, value in found.items()}
                for name, value in row.items():
                    writer.scalar(name.replace("_", "/", 1), value, step)
                history.append(row)
                write_history(workdir / "history.json", history)
                bar.write(_text(len(history), row))
                state = state.replace(losses=Losses.empty())
            if step % config.checkpoint_every_steps == 0 or step == stop:
                _save(workdir, state, step)
    draw_curves(history, workdir / "curves.png")
    return state, {"history": history, "test": evaluate(state, data["test"], config)}


def _start(config: Any, num_steps: int, workdir: Path) -> tuple[Any, History]:
    """The state and the history to go on from."""
    state: Any = create_state(config, num_steps, config.seed)
    folder = workdir / "checkpoints"
    if checkpoints.latest_checkpoint(folder) is None:
        return state, []
    state = checkpoints.restore_checkpoint(folder, state)
    step = int(state.step)
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
    import orbax.checkpoint as ocp

    checkpoints.save_checkpoint(
        workdir / "checkpoints",
        state,
        step,
        keep=2,
        overwrite=True,
        orbax_checkpointer=ocp.PyTreeCheckpointer(),
    )


def _text(epoch: int, row: dict[str, float]) -> str:
    return (
        f"epoch {epoch:>3}: loss {row['train_loss']:.4f}; "
        f"validation loss {row['validation_loss']:.4f}, "
        f"mean average precision {row['validation_map']:.4f}"
    )
