"""A small graph network on the NCI's molecules that come with RDKit."""

from __future__ import annotations

from ml_collections import ConfigDict

__all__ = ["get_config"]


def get_config() -> ConfigDict:
    """What trains on two cores in some minutes."""
    config = ConfigDict()
    config.seed = 0

    config.dataset = "nci"
    config.num_tasks = 12
    config.batch_size = 64
    config.smallest_bucket = 1024  # atoms of a padded batch
    config.loader = "numpy"

    config.features = 64
    config.layers = 3
    config.dropout = 0.0

    config.num_epochs = 15
    config.learning_rate = 3e-3
    config.log_every_steps = 20
    config.checkpoint_every_steps = 61
    return config
