"""The full task: a treebank of Universal Dependencies, from its three files."""

from ml_collections import ConfigDict

__all__ = ["get_config"]


def get_config() -> ConfigDict:
    """Returns the options; each can be overridden with `--config.NAME=VALUE`."""
    config = ConfigDict()
    config.seed = 0

    # The data.
    config.treebank = "files"  # these, or "turkish_web" of a package
    config.train_file = "en_ewt-ud-train.conllu"
    config.validation_file = "en_ewt-ud-dev.conllu"
    config.test_file = "en_ewt-ud-test.conllu"
    config.min_count = 2  # how often a word must be there to have a number
    config.num_affixes = 2**15  # into how many numbers affixes are hashed
    config.loader = "numpy"  # or "grain": the same batches, ahead of time

    # The model.
    config.features = 512
    config.num_layers = 6
    config.num_heads = 8
    config.mlp_size = 2048
    config.word_dropout = 0.2
    config.dropout = 0.3

    # Training.
    config.batch_size = 64
    config.num_epochs = 30
    config.learning_rate = 5e-4  # the highest
    config.weight_decay = 0.01
    config.label_smoothing = 0.1
    config.max_grad_norm = 1.0
    config.keep_checkpoints = 2
    return config
