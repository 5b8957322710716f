"""Pong, or any other game of Atari, for 40 million frames, as in the paper."""

from __future__ import annotations

from ml_collections import ConfigDict

__all__ = ["get_config"]


def get_config() -> ConfigDict:
    """The full task, with the values of the paper's table 5."""
    config = ConfigDict()
    config.seed = 0
    config.environment = "ALE/Pong-v5"
    config.num_environments = 8
    config.num_processes = 8
    config.total_steps = 10_000_000  # of four frames each

    config.width = 512
    config.channels = (32, 64, 64)

    config.rollout_steps = 128
    config.num_epochs = 3
    config.num_minibatches = 4
    config.learning_rate = 2.5e-4
    config.gamma = 0.99
    config.gae_lambda = 0.95
    config.clip = 0.1
    config.value_weight = 1.0
    config.entropy_weight = 0.01
    config.max_gradient = 0.5

    config.log_every_rollouts = 10
    config.checkpoint_every_rollouts = 100
    config.film_frames = 300
    config.film_every = 2
    return config
