"""A minute on two cores: scikit-learn's digits, 1,797 images of 8x8 pixels."""

import ml_collections


def get_config() -> ml_collections.ConfigDict:
    """Returns the hyperparameters."""
    config = ml_collections.ConfigDict()
    config.dataset = "digits"  # or "mnist", which needs TensorFlow Datasets
    config.data_dir = ""
    config.loader = "numpy"  # or "grain"
    config.seed = 0

    config.features = (64, 128)
    config.hidden = 256
    config.dropout_rate = 0.5
    config.shift = 0  # of 8 pixels there is none to spare

    config.num_epochs = 40
    config.batch_size = 64
    config.learning_rate = 2e-3
    config.weight_decay = 1e-3
    config.checkpoint_every = 10
    return config
