"""What the tests share: a small run, and eight devices made of one processor."""

from __future__ import annotations

import os

import pytest
from configs import small

# Compiling takes most of the time, and less so where XLA optimizes less.
os.environ["XLA_FLAGS"] = (
    "--xla_force_host_platform_device_count=8 --xla_backend_optimization_level=0 "
    "--xla_llvm_disable_expensive_passes=true"
)


@pytest.fixture
def config():
    """The small config, smaller."""
    config = small.get_config()
    config.vocab_size = 200
    config.max_length = 64
    config.tokens_per_batch = 512
    config.model.embed = 32
    config.model.heads = 8
    config.model.layers = 1
    config.model.mlp = 64
    config.model.dropout = 0.0
    config.model.attention_dropout = 0.0
    config.num_steps = 4
    config.warmup_steps = 20
    config.learning_rate = 1e-2
    config.log_every = 1
    config.eval_every = 100
    config.save_every = 100
    config.num_samples = 2
    config.ngram_orders = (2, 3)
    return config
