"""For two processor cores and some minutes: numbers in words, English to German."""

from __future__ import annotations

from typing import Any

from configs import default

__all__ = ["get_config"]


def get_config() -> Any:
    """Returns what can be changed with `--config.NAME=VALUE`."""
    config = default.get_config()
    config.dataset = "numbers"

    config.vocab_size = 256
    config.vocab_texts = 8000
    config.max_length = 64
    config.tokens_per_batch = 2048
    config.bucket_lengths = (16, 32, 64)

    config.model.embed = 128
    config.model.heads = 4
    config.model.layers = 2
    config.model.mlp = 256
    config.model.dropout = 0.0
    config.model.attention_dropout = 0.0
    config.dtype = "float32"

    config.num_steps = 400
    config.warmup_steps = 100
    config.learning_rate = 3e-3
    config.bleu_sentences = 64

    config.log_every = 20
    config.eval_every = 100
    config.save_every = 100
    return config
