"""A minute on two cores: scikit-learn's digits, on a plane of two latents."""

import ml_collections


def get_config() -> ml_collections.ConfigDict:
    """Returns the hyperparameters."""
    config = ml_collections.ConfigDict()
    config.dataset = "digits"  # or "binarized_mnist", which needs TensorFlow Datasets
    config.data_dir = ""
    config.loader = "numpy"  # or "grain"
    config.seed = 0

    config.hidden = (256, 128)
    config.latents = 2
    config.train_samples = 4
    config.eval_samples = 500

    config.num_epochs = 100
    config.batch_size = 64
    config.learning_rate = 2e-3
    config.checkpoint_every = 25
    return config
