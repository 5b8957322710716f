"""What the tests share: tiny configs and tiny images."""

from __future__ import annotations

import os
import tempfile

import pytest
from configs import small
from input_pipeline import Arrays, load

# Compiling takes most of the time: less so where XLA optimizes less, and where a run
# finds what one like it has compiled. The processes that tests start find it, too.
os.environ.setdefault(
    "XLA_FLAGS",
    "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true",
)
_COMPILED = tempfile.TemporaryDirectory(prefix="compiled-")
os.environ["JAX_COMPILATION_CACHE_DIR"] = _COMPILED.name
os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
os.environ["JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES"] = "-1"


@pytest.fixture(scope="session")
def digits():
    """The training and the test digits, made once."""
    return load("digits")


@pytest.fixture
def tiny(monkeypatch, digits):
    """A narrow ResNet-18 for some hundred digits."""
    config = small.get_config()
    config.update(num_filters=4, dtype="float32", batch_size=32, num_epochs=2)
    config.update(image_size=16, log_every_steps=2, checkpoint_every_steps=3)
    train, test = digits
    few = Arrays(train.images[:160], train.labels[:160])
    monkeypatch.setattr(
        "train.load", lambda name: (few, Arrays(*(p[:40] for p in test)))
    )
    return config
