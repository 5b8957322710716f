"""Proximal policy optimization: advantages, the clipped objective, and an update.

See "Proximal Policy Optimization Algorithms" (https://arxiv.org/abs/1707.06347).
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import jax
import optax
from jax import numpy as jnp
from models import create_model

from batiste.training.train_state import TrainState

__all__ = [
    "Rollout",
    "Samples",
    "abstract_state",
    "act",
    "clipped_objective",
    "create_state",
    "generalized_advantages",
    "num_updates",
    "update",
    "value_of",
]


class Rollout(NamedTuple):
    """What was played, each array (steps, environments, ...).

    Attributes:
      seen: the observations that were acted on.
      actions: what was done.
      log_probs: how likely that was.
      values: what the critic expected.
      rewards: what came of it; where an episode was cut off, with the discounted value
        of what would have come.
      over: 1 where the episode was over after the action.
      next_values: what the critic expects after the last step (environments,).
    """

    seen: Any
    actions: Any
    log_probs: Any
    values: Any
    rewards: Any
    over: Any
    next_values: Any


class Samples(NamedTuple):
    """What an update learns from, each array (number, ...)."""

    seen: Any
    actions: Any
    log_probs: Any
    advantages: Any
    returns: Any


def num_updates(config: Any) -> int:
    """How many rollouts there are in all, the last one perhaps over the mark."""
    return -(-config.total_steps // (config.num_environments * config.rollout_steps))


def create_state(
    config: Any, num_actions: int, observation: Any, seed: Any
) -> TrainState:
    """A fresh state, with a learning rate that falls along a line to 0.

    Args:
      config: the config.
      num_actions: how many actions there are.
      observation: one observation, or its shape and dtype.
      seed: of the parameters.
    """
    model = create_model(config, num_actions)
    seen = jnp.zeros((1, *observation.shape), observation.dtype)
    params = model.init(jax.random.PRNGKey(seed), seen)["params"]
    count = num_updates(config) * config.num_epochs * config.num_minibatches
    tx = optax.chain(
        optax.clip_by_global_norm(config.max_gradient),
        optax.adam(optax.linear_schedule(config.learning_rate, 0.0, count), eps=1e-5),
    )
    state = TrainState.create(apply_fn=model.apply, params=params, tx=tx)
    return state.replace(step=jnp.int32(0))


def abstract_state(config: Any, num_actions: int, observation: Any) -> Any:
    """The state without its values: every array is a `jax.ShapeDtypeStruct`."""
    create = functools.partial(create_state, config, num_actions, observation)
    return jax.eval_shape(create, 0)


@jax.jit
def act(state: TrainState, seen: Any, key: jax.Array) -> tuple[Any, Any, Any]:
    """Draws an action for each observation: the actions, log-likelihoods and values."""
    logits, values = state.apply_fn({"params": state.params}, seen)
    actions = jax.random.categorical(key, logits)
    return actions, _log_probs(logits, actions), values


@jax.jit
def value_of(state: TrainState, seen: Any) -> jax.Array:
    """What the critic expects of observations (batch, ...)."""
    return state.apply_fn({"params": state.params}, seen)[1]


def generalized_advantages(
    rewards: Any, values: Any, over: Any, next_values: Any, gamma: float, lam: float
) -> jax.Array:
    """Generalized advantage estimates (https://arxiv.org/abs/1506.02438).

    Args:
      rewards: (steps, environments); for these three see `Rollout`.
      values: (steps, environments).
      over: (steps, environments).
      next_values: (environments,).
      gamma: how much less a reward counts for each step that it is away.
      lam: how far to look: 0 is to the next value, 1 to the end.

    Returns:
      (steps, environments).
    """

    def back(later: Any, now: Any) -> tuple[Any, jax.Array]:
        advantage, next_value = later
        reward, value, ended = now
        going_on = 1.0 - ended
        surprise = reward + gamma * going_on * next_value - value
        advantage = surprise + gamma * lam * going_on * advantage
        return (advantage, value), advantage

    start = jnp.zeros_like(next_values), next_values
    return jax.lax.scan(back, start, (rewards, values, over), reverse=True)[1]


def clipped_objective(
    log_probs: jax.Array, old_log_probs: Any, advantages: Any, clip: float
) -> jax.Array:
    """How much better the new policy is, as far as it is near to the old one.

    Equation 7 of the paper, to be made large.
    """
    ratio = jnp.exp(log_probs - old_log_probs)
    near = jnp.clip(ratio, 1.0 - clip, 1.0 + clip)
    return jnp.minimum(ratio * advantages, near * advantages).mean()


def samples_of(config: Any, rollout: Rollout) -> Samples:
    """The steps of all environments in one row, with their advantages."""
    advantages = generalized_advantages(
        rollout.rewards,
        rollout.values,
        rollout.over,
        rollout.next_values,
        config.gamma,
        config.gae_lambda,
    )
    whole = Samples(
        seen=rollout.seen,
        actions=rollout.actions,
        log_probs=rollout.log_probs,
        advantages=advantages,
        returns=advantages + rollout.values,
    )
    return jax.tree.map(lambda a: a.reshape((-1, *a.shape[2:])), whole)


def loss_of(config: Any, state: TrainState, params: Any, batch: Samples):
    """The loss of some samples, and its parts for the logs."""
    logits, values = state.apply_fn({"params": params}, batch.seen)
    log_probs = _log_probs(logits, batch.actions)
    spread = batch.advantages.std() + 1e-8
    normal = (batch.advantages - batch.advantages.mean()) / spread
    objective = clipped_objective(log_probs, batch.log_probs, normal, config.clip)
    value_loss = 0.5 * ((values - batch.returns) ** 2).mean()
    every = jax.nn.log_softmax(logits)
    entropy = -(jnp.exp(every) * every).sum(-1).mean()
    loss = -objective + config.value_weight * value_loss
    ratio = jnp.exp(log_probs - batch.log_probs)
    parts = {
        "objective": objective,
        "value_loss": value_loss,
        "entropy": entropy,
        "clipped": (jnp.abs(ratio - 1) > config.clip).mean(),
    }
    return loss - config.entropy_weight * entropy, parts


@functools.partial(jax.jit, static_argnums=0)
def update(
    config: Any, state: TrainState, rollout: Rollout, key: jax.Array
) -> tuple[TrainState, dict[str, jax.Array]]:
    """Learns from a rollout, some times over, in random minibatches.

    Args:
      config: a `ml_collections.FrozenConfigDict`.
      state: the state.
      rollout: what was played with it.
      key: of the order of samples.

    Returns:
      The state, and the means of the parts of the loss.
    """
    samples = samples_of(config, rollout)
    number = samples.actions.shape[0]

    def epoch(state: TrainState, key: jax.Array) -> tuple[TrainState, Any]:
        order = jax.random.permutation(key, number)
        parts = order.reshape((config.num_minibatches, -1))
        return jax.lax.scan(minibatch, state, parts)

    def minibatch(state: TrainState, chosen: jax.Array) -> tuple[TrainState, Any]:
        batch = jax.tree.map(lambda array: array[chosen], samples)
        grad_fn = jax.grad(lambda p: loss_of(config, state, p, batch), has_aux=True)
        grads, parts = grad_fn(state.params)
        return state.apply_gradients(grads=grads), parts

    keys = jax.random.split(key, config.num_epochs)
    state, parts = jax.lax.scan(epoch, state, keys)
    return state, jax.tree.map(jnp.mean, parts)


def _log_probs(logits: jax.Array, actions: Any) -> jax.Array:
    every = jax.nn.log_softmax(logits)
    return jnp.take_along_axis(every, actions[..., None], axis=-1)[..., 0]
