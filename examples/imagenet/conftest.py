"""What the tests share: tiny configs and tiny images."""

from __future__ import annotations

import pytest
from configs import small
from input_pipeline import Arrays, load


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
