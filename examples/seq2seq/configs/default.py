"""The full task: sums of two numbers of up to eight digits."""

from ml_collections import ConfigDict

__all__ = ["get_config"]


def get_config() -> ConfigDict:
    """Returns the options; each can be overridden with `--config.NAME=VALUE`."""
    config = ConfigDict()
    config.seed = 0

    # The data.
    config.max_digits = 8  # of each number that is added
    config.any_length = 0.5  # share of numbers whose count of digits is drawn first
    config.reverse_answer = True  # write the units first
    config.loader = "numpy"  # or "grain": the same batches, from worker processes
    config.num_workers = 4  # of grain

    # The model.
    config.embed_size = 64
    config.hidden_size = 512
    config.num_layers = 2

    # Training.
    config.batch_size = 512
    config.num_train_steps = 100_000
    config.learning_rate = 2e-3  # the highest
    config.warmup_steps = 1_000
    config.max_grad_norm = 1.0

    # What happens now and then.
    config.eval_every_steps = 2_000
    config.num_eval_examples = 5_000
    config.keep_checkpoints = 2
    return config
