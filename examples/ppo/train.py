"""The loop: plays and learns in turns, and goes on where it was stopped."""

from __future__ import annotations

import json
import pickle
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import agent
import jax
import numpy as np
from input_pipeline import play
from ml_collections import FrozenConfigDict
from pictures import draw_curves
from tqdm import tqdm
from workers import Players

from batiste.training import checkpoints
from batiste.training.tensorboard import SummaryWriter

__all__ = ["train_and_evaluate"]

History = list[dict[str, float]]


def train_and_evaluate(config: Any, workdir: str | Path) -> tuple[Any, History]:
    """Trains from the last checkpoint in a folder, or from the start.

    Args:
      config: see configs/default.py.
      workdir: takes checkpoints, `history.json`, `curves.png` and the logs for
        TensorBoard.

    Returns:
      The final state, and for each rollout `step`, `mean_return` (of the last hundred
      episodes, NaN before the first one ends), `episodes`, and the parts of the loss.

    Raises:
      ValueError: the minibatches do not divide a rollout.
    """
    config = FrozenConfigDict(config)
    workdir = Path(workdir).absolute()
    per_rollout = config.num_environments * config.rollout_steps
    if per_rollout % config.num_minibatches:
        raise ValueError(
            f"config.num_minibatches is {config.num_minibatches}, which does not "
            f"divide the {per_rollout} steps of a rollout: config.num_environments x "
            "config.rollout_steps. Choose a divisor."
        )
    stop = agent.num_updates(config)
    with ExitStack() as stack:
        players = stack.enter_context(
            Players(
                config.environment,
                config.num_environments,
                config.num_processes,
                config.seed,
            )
        )
        state, past = _start(config, players, workdir)
        history, scores = past["history"], past["scores"]
        writer = stack.enter_context(SummaryWriter(workdir))
        bar = tqdm(
            total=stop * per_rollout,
            initial=len(history) * per_rollout,
            unit="step",
            disable=None,
        )
        stack.enter_context(bar)
        root = jax.random.PRNGKey(config.seed)
        for number in range(len(history) + 1, stop + 1):
            key = jax.random.fold_in(root, number)
            playing, learning = jax.random.split(key)
            played = play(state, players, config, playing)
            state, parts = agent.update(config, state, played.rollout, learning)
            scores = [*scores, *played.scores][-100:]
            row = {
                "step": number * per_rollout,
                "mean_return": float(np.mean(scores)) if scores else float("nan"),
                "episodes": len(played.scores),
            }
            row |= {name: float(value) for name, value in parts.items()}
            history.append(row)
            for name, value in row.items():
                writer.scalar(f"ppo/{name}", value, row["step"])
            bar.update(per_rollout)
            if number % config.log_every_rollouts == 0 or number == stop:
                bar.write(
                    f"step {row['step']:>9,}: mean return {row['mean_return']:8.2f}, "
                    f"entropy {row['entropy']:.3f}, value loss {row['value_loss']:.4f}"
                )
            if number % config.checkpoint_every_rollouts == 0 or number == stop:
                past = {"history": history, "scores": scores, "games": players.save()}
                _save(workdir, state, past, number)
    (workdir / "history.json").write_text(json.dumps(history, indent=1), "utf-8")
    draw_curves(history, workdir / "curves.png")
    return state, history


def _start(config: Any, players: Players, workdir: Path) -> tuple[Any, dict[str, Any]]:
    """The state to go on from, with the history; the players go on from there, too."""
    observation = players.observations[0]
    state = agent.create_state(config, players.num_actions, observation, config.seed)
    folder = workdir / "checkpoints"
    last = checkpoints.latest_checkpoint(folder)
    if last is None:
        return state, {"history": [], "scores": []}
    state = checkpoints.restore_checkpoint(last, state)
    past = pickle.loads((workdir / f"past-{last.split('_')[-1]}.pickle").read_bytes())
    players.load(past["games"])
    print(f"Goes on from rollout {len(past['history'])} of {folder}.", flush=True)
    return state, past


def _save(workdir: Path, state: Any, past: dict[str, Any], number: int) -> None:
    """Saves the games and the history, then the state, then deletes older games."""
    import orbax.checkpoint as ocp

    path = workdir / f"past-{number}.pickle"
    path.write_bytes(pickle.dumps(past))
    checkpoints.save_checkpoint(
        workdir / "checkpoints",
        state,
        number,
        keep=1,
        overwrite=True,
        orbax_checkpointer=ocp.PyTreeCheckpointer(),
    )
    for other in workdir.glob("past-*.pickle"):
        if other != path:
            other.unlink()
