"""The graph network on ogbg-molpcba: 437,929 molecules with 128 bioassays."""

from __future__ import annotations

from ml_collections import ConfigDict

__all__ = ["get_config"]


def get_config() -> ConfigDict:
    """The full task, for one accelerator."""
    config = ConfigDict()
    config.seed = 0

    config.dataset = "ogbg_molpcba"
    config.num_tasks = 128
    config.batch_size = 256
    config.smallest_bucket = 6144  # atoms of a padded batch
    config.loader = "numpy"  # or "grain": what makes batches ahead of time

    config.features = 256
    config.layers = 5
    config.dropout = 0.1

    config.num_epochs = 60
    config.learning_rate = 1e-3
    config.log_every_steps = 100
    config.checkpoint_every_steps = 1000
    return config
