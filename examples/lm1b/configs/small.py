"""For two processor cores and some minutes: the texts of Python's `help()`."""

from __future__ import annotations

from typing import Any

from configs import default

__all__ = ["get_config"]


def get_config() -> Any:
    """Returns what can be changed with `--config.NAME=VALUE`."""
    config = default.get_config()
    config.dataset = "pydoc"
    config.vocab_size = 512
    config.vocab_multiple = 8
    config.tokens_per_batch = 1024

    config.model.embed = 128
    config.model.heads = 4
    config.model.layers = 2
    config.model.mlp = 512
    config.model.dropout = 0.0
    config.model.attention_dropout = 0.0
    config.dtype = "float32"

    config.num_steps = 600
    config.warmup_steps = 50
    config.learning_rate = 6e-3

    config.prompt = "The function"

    config.log_every = 30
    config.eval_every = 150
    config.save_every = 300
    return config
