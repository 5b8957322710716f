"""Twenty thousand frames of Pong, to see that all of it runs. To win takes far more."""

from __future__ import annotations

from configs import default
from ml_collections import ConfigDict

__all__ = ["get_config"]


def get_config() -> ConfigDict:
    """The full task, cut short."""
    config = default.get_config()
    config.num_environments = 4
    config.num_processes = 2
    config.total_steps = 5_000  # of four frames each
    config.num_epochs = 1
    config.log_every_rollouts = 1
    config.checkpoint_every_rollouts = 5
    return config
