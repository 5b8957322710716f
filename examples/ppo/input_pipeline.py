"""Rollouts: what the agent learns from, played by the workers."""

from __future__ import annotations

from typing import Any, NamedTuple

import agent
import jax
import numpy as np
from workers import Players

__all__ = ["Played", "play"]


class Played(NamedTuple):
    """A rollout, with the scores and lengths of the episodes that ended in it."""

    rollout: agent.Rollout
    scores: list[float]
    lengths: list[int]


def play(state: Any, players: Players, config: Any, key: jax.Array) -> Played:
    """Plays `config.rollout_steps` steps in each environment.

    Args:
      state: whose policy acts.
      players: the environments, which go on from where they are.
      config: has `rollout_steps` and `gamma`.
      key: of the actions.
    """
    rows: dict[str, list[Any]] = {
        name: []
        for name in ("seen", "actions", "log_probs", "values", "rewards", "over")
    }
    scores, lengths = [], []
    for step_key in jax.random.split(key, config.rollout_steps):
        seen = players.observations
        actions, log_probs, values = jax.device_get(agent.act(state, seen, step_key))
        found = players.step(actions)
        rewards = found.rewards
        if found.last:
            # Cut off is not over: what would have come counts, as the critic sees it.
            last = seen.copy()
            for number, observation in found.last.items():
                last[number] = observation
            expected = np.asarray(agent.value_of(state, last))
            rewards = rewards + config.gamma * expected * found.cut
        row = {
            "seen": seen,
            "actions": actions,
            "log_probs": log_probs,
            "values": values,
            "rewards": rewards.astype(np.float32),
            "over": (found.ended | found.cut).astype(np.float32),
        }
        for name, value in row.items():
            rows[name].append(value)
        scores += found.scores
        lengths += found.lengths
    next_values = np.asarray(agent.value_of(state, players.observations))
    arrays = {name: np.stack(values) for name, values in rows.items()}
    return Played(agent.Rollout(**arrays, next_values=next_values), scores, lengths)
