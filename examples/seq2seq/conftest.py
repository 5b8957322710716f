"""What the tests share: sums of single digits, and a narrow model."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from configs import small

# Compiling takes most of the time: a run finds what one like it has compiled, and so do
# the processes that tests start.
_COMPILED = tempfile.TemporaryDirectory(prefix="compiled-")
os.environ["JAX_COMPILATION_CACHE_DIR"] = _COMPILED.name
os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
os.environ["JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES"] = "-1"


@pytest.fixture
def tiny():
    """Options for sums of single digits."""
    config = small.get_config()
    config.update(max_digits=1, embed_size=16, hidden_size=48, batch_size=32)
    config.update(num_train_steps=20, eval_every_steps=10, num_eval_examples=40)
    config.update(warmup_steps=5)
    return config
