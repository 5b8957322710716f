"""The full task: MNIST, 60,000 images of 28x28 pixels."""

import ml_collections


def get_config() -> ml_collections.ConfigDict:
    """Returns the hyperparameters."""
    config = ml_collections.ConfigDict()
    config.dataset = "mnist"  # or "digits", which comes with scikit-learn
    config.data_dir = ""  # where TensorFlow Datasets keeps its files; its default if ""
    config.loader = "numpy"  # or "grain"
    config.seed = 0

    config.features = (32, 64)  # of the convolutions
    config.hidden = 256  # features of the dense layer
    config.dropout_rate = 0.5
    config.shift = 2  # training images are moved by up to so many pixels

    config.num_epochs = 15
    config.batch_size = 128
    config.learning_rate = 2e-3  # at the start; falls to 0 along a cosine
    config.weight_decay = 1e-4
    config.checkpoint_every = 1  # epochs
    return config
