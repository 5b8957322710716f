"""The Turkish Web Treebank from a package: minutes on two cores."""

from configs import default
from ml_collections import ConfigDict

__all__ = ["get_config"]


def get_config() -> ConfigDict:
    """Returns the options of the full task, made smaller."""
    config = default.get_config()
    config.treebank = "turkish_web"
    config.num_affixes = 2**13
    config.features = 128
    config.num_layers = 2
    config.num_heads = 4
    config.mlp_size = 256
    config.batch_size = 32
    config.num_epochs = 6
    config.word_dropout = 0.1
    config.dropout = 0.2
    config.label_smoothing = 0.0
    config.learning_rate = 2e-3
    return config
