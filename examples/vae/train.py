"""Training: the state, the jitted steps, and the loop over epochs."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import input_pipeline
import jax
import models
import numpy as np
import optax
import orbax.checkpoint as ocp
import pictures
from input_pipeline import Images
from jax import numpy as jnp
from tqdm import tqdm

from batiste.training import checkpoints
from batiste.training.tensorboard import SummaryWriter
from batiste.training.train_state import TrainState

__all__ = [
    "Result",
    "create_train_state",
    "eval_step",
    "evaluate",
    "independent_pixels",
    "train_and_evaluate",
    "train_step",
    "write_history",
]

Row = dict[str, float]


class Result(NamedTuple):
    """What training comes to; the numbers are nats per image of the test set.

    Attributes:
      state: the last state.
      history: of each epoch, `train_elbo` and `test_elbo`.
      elbo: the evidence lower bound.
      importance_weighted: the bound of `config.eval_samples` samples.
      baseline: the log likelihood of `independent_pixels`.
    """

    state: TrainState
    history: list[Row]
    elbo: float
    importance_weighted: float
    baseline: float


def create_train_state(config: Any, pixels: int, num_steps: int) -> TrainState:
    """Initializes parameters and optimizer for images of so many pixels."""
    model = models.VAE(pixels, config.hidden, config.latents)
    params_key, latent_key = jax.random.split(jax.random.key(config.seed))
    rngs = {"params": params_key, "latent": latent_key}
    params = model.init(rngs, jnp.zeros((1, pixels)))["params"]
    schedule = optax.cosine_decay_schedule(config.learning_rate, num_steps)
    return TrainState.create(
        apply_fn=model.apply, params=params, tx=optax.adam(schedule)
    )


@functools.partial(jax.jit, static_argnames="samples")
def train_step(
    state: TrainState, x: jax.Array, key: jax.Array, samples: int
) -> tuple[TrainState, jax.Array]:
    """Ascends the evidence lower bound; returns the sum over the batch, too."""
    rngs = {"latent": jax.random.fold_in(key, state.step)}

    def loss_fn(params: Any) -> jax.Array:
        found = state.apply_fn({"params": params}, x, samples, rngs=rngs)
        mean, log_var, _, logits = found
        # The divergence is known, so it is not left to the samples.
        likelihood = models.bernoulli_log_prob(logits, x).mean(0)
        return -(likelihood - models.kl_divergence(mean, log_var)).mean()

    loss, grads = jax.value_and_grad(loss_fn)(state.params)
    return state.apply_gradients(grads=grads), -loss * len(x)


@functools.partial(jax.jit, static_argnames="samples")
def eval_step(
    state: TrainState, x: jax.Array, key: jax.Array, samples: int
) -> tuple[jax.Array, jax.Array]:
    """The sums of both bounds over a batch."""
    rngs = {"latent": key}
    found = state.apply_fn({"params": state.params}, x, samples, rngs=rngs)
    elbo, weighted = models.bounds(x, *found)
    return elbo.sum(), weighted.sum()


def evaluate(
    state: TrainState, data: Images, samples: int, batch_size: int = 64
) -> tuple[float, float]:
    """Both bounds, per image; the same samples each time."""
    sums = [
        eval_step(state, x, jax.random.key(number), samples)
        for number, x in enumerate(input_pipeline.batches(data, batch_size))
    ]
    elbo, weighted = np.array(jax.device_get(sums), np.float64).sum(0)
    return float(elbo / len(data.pixels)), float(weighted / len(data.pixels))


def independent_pixels(train: Images, test: Images) -> float:
    """The log likelihood if each pixel were drawn by itself, as often as in `train`."""
    share = (train.pixels.sum(0) + 1) / (len(train.pixels) + 2)
    found = test.pixels @ np.log(share) + (1 - test.pixels) @ np.log(1 - share)
    return float(found.mean())


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
    state: TrainState,
    batches: Iterator[np.ndarray],
    key: jax.Array,
    samples: int,
    bar: tqdm,
) -> tuple[TrainState, float]:
    sums, count = [], 0
    for x in batches:
        state, elbo = train_step(state, x, key, samples)
        sums.append(elbo)
        count += len(x)
        bar.update()
    return state, float(np.sum(jax.device_get(sums), dtype=np.float64) / count)


def train_and_evaluate(config: Any, workdir: str | Path) -> Result:
    """Trains, from the last checkpoint in `workdir` if there is one.

    Args:
      config: a `ConfigDict`, as `configs/default.py` returns it.
      workdir: gets `checkpoints/`, `history.json`, the summaries for TensorBoard, and
        the pictures `curves.png`, `reconstructions.png`, `samples.png` and
        `latent_plane.png`.

    Raises:
      ValueError: the configuration names what there is not.
      ImportError: it needs a package that is not installed.
    """
    workdir = Path(workdir).absolute()
    workdir.mkdir(parents=True, exist_ok=True)
    train, test = input_pipeline.load(config.dataset, config.data_dir)
    steps_per_epoch = len(train.pixels) // config.batch_size
    num_steps = config.num_epochs * steps_per_epoch
    initial = create_train_state(config, train.pixels.shape[1], num_steps)
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
                seed=config.seed,
                epoch=epoch,
                loader=config.loader,
            )
            state, train_elbo = _train_epoch(
                state, batches, key, config.train_samples, bar
            )
            row = {"train_elbo": train_elbo, "test_elbo": evaluate(state, test, 1)[0]}
            history.append(row)
            for name, value in row.items():
                writer.scalar(name.replace("_", "/"), value, epoch)
            bar.write(
                f"epoch {epoch:>3}  "
                + "  ".join(f"{name} {value:.2f}" for name, value in row.items())
            )
            if epoch % config.checkpoint_every == 0 or epoch == config.num_epochs:
                _save(workdir, state, history)
        elbo, weighted = evaluate(state, test, config.eval_samples)
        writer.scalar("test/importance_weighted", weighted, config.num_epochs)
        baseline = independent_pixels(train, test)
        for path in pictures.draw_all(state, history, baseline, test, workdir):
            writer.image(path.stem, pictures.read(path), config.num_epochs)
    return Result(state, history, elbo, weighted, baseline)
