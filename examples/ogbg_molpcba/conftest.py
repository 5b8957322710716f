"""What the tests share: molecules that are drawn up here, and a tiny config."""

from __future__ import annotations

import os
import tempfile

import numpy as np
import pytest
from configs import small
from molecules import Molecule

# Compiling takes most of the time: a run finds what one like it has compiled, and so do
# the processes that tests start.
_COMPILED = tempfile.TemporaryDirectory(prefix="compiled-")
os.environ["JAX_COMPILATION_CACHE_DIR"] = _COMPILED.name
os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
os.environ["JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES"] = "-1"


def make_molecule(rng: np.random.Generator, number: int, tasks: int = 2) -> Molecule:
    """A ring of atoms; the first label says whether most of them are of kind 6."""
    kinds = rng.integers(5, 7, size=number)
    ring = np.arange(number)
    senders = np.concatenate([ring, (ring + 1) % number]).astype(np.int32)
    receivers = np.concatenate([(ring + 1) % number, ring]).astype(np.int32)
    atoms = np.zeros((number, 9), np.int32)
    atoms[:, 0] = kinds
    labels = np.full(tasks, np.nan, np.float32)
    labels[0] = (kinds == 6).mean() > 0.5
    labels[1:] = rng.integers(0, 2, size=tasks - 1)
    return Molecule(
        atoms, np.zeros((2 * number, 3), np.int32), senders, receivers, labels
    )


@pytest.fixture
def make():
    """`make_molecule`."""
    return make_molecule


@pytest.fixture
def rings():
    """Ninety-six rings of 3 to 30 atoms; every fifth lacks its second label."""
    rng = np.random.default_rng(0)
    found = [make_molecule(rng, int(rng.integers(3, 31))) for _ in range(96)]
    for molecule in found[::5]:
        molecule.labels[1] = np.nan
    return found


@pytest.fixture
def tiny(monkeypatch, rings):
    """A small network for the rings."""
    config = small.get_config()
    config.update(num_tasks=2, features=16, layers=2, batch_size=16, num_epochs=3)
    config.update(smallest_bucket=128, log_every_steps=2, checkpoint_every_steps=2)
    splits = {"train": rings[:64], "validation": rings[64:80], "test": rings[80:]}
    monkeypatch.setattr("train.load", lambda name: splits)
    return config
