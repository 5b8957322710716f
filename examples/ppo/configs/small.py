"""CartPole, for two cores."""

from __future__ import annotations

from ml_collections import ConfigDict

__all__ = ["get_config"]


def get_config() -> ConfigDict:
    """What is learnt here in some minutes: to hold the pole up."""
    config = ConfigDict()
    config.seed = 0
    config.environment = "CartPole-v1"
    config.num_environments = 16
    config.num_processes = 2
    config.total_steps = 100_000

    config.width = 64
    config.channels = (32, 64, 64)  # unused: there is no image

    config.rollout_steps = 64
    config.num_epochs = 10
    config.num_minibatches = 4
    config.learning_rate = 2.5e-3
    config.gamma = 0.98
    config.gae_lambda = 0.9
    config.clip = 0.2
    config.value_weight = 0.5
    config.entropy_weight = 0.0
    config.max_gradient = 0.5

    config.log_every_rollouts = 10
    config.checkpoint_every_rollouts = 20
    config.film_frames = 100
    config.film_every = 3
    return config
