"""What the tests share: a small run, with sentences about numbers up to 99."""

from __future__ import annotations

import os

import pytest
from configs import small

# Compiling takes most of the time, and less so where XLA optimizes less.
os.environ.setdefault(
    "XLA_FLAGS",
    "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true",
)


@pytest.fixture
def config():
    """The small config, smaller."""
    config = small.get_config()
    config.num_train = 600
    config.num_validation = 16
    config.num_test = 16
    config.largest_number = 99
    config.vocab_size = 160
    config.vocab_texts = 1000
    config.max_length = 32
    config.bucket_lengths = (32,)
    config.tokens_per_batch = 512
    config.model.embed = 32
    config.model.heads = 2
    config.model.layers = 1
    config.model.mlp = 64
    config.beams = 2
    config.bleu_sentences = 8
    config.num_steps = 4
    config.warmup_steps = 20
    config.learning_rate = 1e-2
    config.log_every = 1
    config.eval_every = 100
    config.save_every = 100
    return config
