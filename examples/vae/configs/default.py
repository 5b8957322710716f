"""The full task: binarized MNIST, with the network of Burda et al. (2015)."""

import ml_collections


def get_config() -> ml_collections.ConfigDict:
    """Returns the hyperparameters."""
    config = ml_collections.ConfigDict()
    config.dataset = "binarized_mnist"  # or "digits", which comes with scikit-learn
    config.data_dir = ""  # where TensorFlow Datasets keeps its files; its default if ""
    config.loader = "numpy"  # or "grain": the same batches, ahead of time
    config.seed = 0

    config.hidden = (200, 200)  # of the encoder; the decoder has them in reverse
    config.latents = 50
    config.train_samples = 1  # per image and step
    config.eval_samples = 1000  # of the importance-weighted bound

    config.num_epochs = 200
    config.batch_size = 128
    config.learning_rate = 1e-3  # at the start; falls to 0 along a cosine
    config.checkpoint_every = 10  # epochs
    return config
