"""Sums of two numbers of up to three digits: minutes on two cores."""

from configs import default
from ml_collections import ConfigDict

__all__ = ["get_config"]


def get_config() -> ConfigDict:
    """Returns the options of the full task, made smaller."""
    config = default.get_config()
    config.max_digits = 3
    config.any_length = 0.0
    config.embed_size = 32
    config.hidden_size = 128
    config.num_layers = 1
    config.batch_size = 128
    config.num_train_steps = 4_000
    config.learning_rate = 5e-3
    config.warmup_steps = 200
    config.eval_every_steps = 500
    config.num_eval_examples = 2_000
    return config
