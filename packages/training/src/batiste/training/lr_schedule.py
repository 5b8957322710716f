"""Learning rates as functions of the step: constant, stepped and cosine, with warmup.

Kept for programs that use them. For new code optax has richer schedules
(`optax.schedules`); both kinds are functions from a step to a rate, and any optax
optimizer takes either.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from jax import numpy as jnp

from batiste.core.types import Array

__all__ = [
    "Schedule",
    "create_constant_learning_rate_schedule",
    "create_cosine_learning_rate_schedule",
    "create_stepped_learning_rate_schedule",
]


Schedule = Callable[[float | Array], float | Array]


def _check_epoch_length(steps_per_epoch: float) -> None:
    if not steps_per_epoch > 0:
        raise ValueError(
            f"steps_per_epoch is {steps_per_epoch!r}; give the number of steps in "
            f"one epoch, a number above 0."
        )


def _warm_up(
    rate: float | Array, epoch: float | Array, warmup_length: float
) -> float | Array:
    """Scales `rate` linearly from 0 to 1 over the first `warmup_length` epochs."""
    if warmup_length > 0:
        return rate * jnp.minimum(1.0, epoch / float(warmup_length))
    return rate


def create_constant_learning_rate_schedule(
    base_learning_rate: float, steps_per_epoch: float, warmup_length: float = 0.0
) -> Schedule:
    """Returns a schedule that holds one rate, after an optional warmup.

    Warmup is that of Goyal et al., "Accurate, Large Minibatch SGD"
    (https://arxiv.org/abs/1706.02677).

    Args:
      base_learning_rate: the rate.
      steps_per_epoch: number of steps in an epoch.
      warmup_length: epochs over which the rate rises linearly from 0; none if 0.

    Returns:
      A function from a step (number or scalar array) to the rate.

    Raises:
      ValueError: `steps_per_epoch` is not above 0.

    >>> from batiste.training import lr_schedule
    >>> rate = lr_schedule.create_constant_learning_rate_schedule(
    ...     0.5, steps_per_epoch=10, warmup_length=2)
    >>> [float(rate(step)) for step in (0, 10, 20, 30)]
    [0.0, 0.25, 0.5, 0.5]
    """
    _check_epoch_length(steps_per_epoch)

    def learning_rate_fn(step: float | Array) -> float | Array:
        return _warm_up(base_learning_rate, step / steps_per_epoch, warmup_length)

    return learning_rate_fn


def create_stepped_learning_rate_schedule(
    base_learning_rate: float,
    steps_per_epoch: float,
    lr_sched_steps: Sequence[Sequence[float]],
    warmup_length: float = 0.0,
) -> Schedule:
    """Returns a schedule that changes the rate at given epochs.

    Args:
      base_learning_rate: rate before the first change.
      steps_per_epoch: number of steps in an epoch.
      lr_sched_steps: pairs `[epoch, factor]`: the steps that come after `epoch`,
        rounded to a whole step, have the rate `base_learning_rate * factor`.
      warmup_length: epochs over which the rate rises linearly from 0; none if 0.

    Returns:
      A function from a step (number or scalar array) to the rate.

    Raises:
      ValueError: `steps_per_epoch` is not above 0, or an item of `lr_sched_steps`
        is not a pair.

    >>> from batiste.training import lr_schedule
    >>> rate = lr_schedule.create_stepped_learning_rate_schedule(
    ...     1.0, steps_per_epoch=10, lr_sched_steps=[[3, 0.5], [6, 0.25]])
    >>> [float(rate(step)) for step in (0, 30, 31, 61)]
    [1.0, 1.0, 0.5, 0.25]
    """
    _check_epoch_length(steps_per_epoch)
    for pair in lr_sched_steps:
        if len(pair) != 2:
            raise ValueError(
                f"lr_sched_steps holds {pair!r}; each item is a pair [epoch, factor]."
            )
    changes = sorted((epoch, factor) for epoch, factor in lr_sched_steps)
    boundaries = jnp.array([round(epoch * steps_per_epoch) for epoch, _ in changes])
    factors = [1.0, *(factor for _, factor in changes)]
    rates = jnp.array([factor * base_learning_rate for factor in factors], "float32")

    def learning_rate_fn(step: float | Array) -> float | Array:
        rate = rates[jnp.sum(boundaries < step)]
        return _warm_up(rate, step / steps_per_epoch, warmup_length)

    return learning_rate_fn


def create_cosine_learning_rate_schedule(
    base_learning_rate: float,
    steps_per_epoch: float,
    halfcos_epochs: float,
    warmup_length: float = 0.0,
) -> Schedule:
    """Returns a schedule that falls to 0 along half a cosine wave.

    Args:
      base_learning_rate: rate at the start.
      steps_per_epoch: number of steps in an epoch.
      halfcos_epochs: epochs until the rate reaches 0; usually the length of the
        training. Beyond it the wave rises again.
      warmup_length: epochs over which the rate rises linearly from 0; none if 0.

    Returns:
      A function from a step (number or scalar array) to the rate.

    Raises:
      ValueError: `steps_per_epoch` or `halfcos_epochs` is not above 0.

    >>> from batiste.training import lr_schedule
    >>> rate = lr_schedule.create_cosine_learning_rate_schedule(
    ...     1.0, steps_per_epoch=10, halfcos_epochs=8)
    >>> [round(float(rate(step)), 3) for step in (0, 40, 80)]
    [1.0, 0.5, 0.0]
    """
    _check_epoch_length(steps_per_epoch)
    if not halfcos_epochs > 0:
        raise ValueError(
            f"halfcos_epochs is {halfcos_epochs!r}; give the number of epochs after "
            f"which the rate is 0, a number above 0."
        )

    def learning_rate_fn(step: float | Array) -> float | Array:
        epoch = step / steps_per_epoch
        rate = base_learning_rate * (
            0.5 * (jnp.cos(epoch * jnp.pi / halfcos_epochs) + 1.0)
        )
        return _warm_up(rate, epoch, warmup_length)

    return learning_rate_fn
