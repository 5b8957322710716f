"""What the tests share: reviews of a few words in the package's form, narrow models."""

from __future__ import annotations

import csv
import os
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))

import input_pipeline
from configs import small

# Compiling takes most of the time: a run finds what one like it has compiled, and so do
# the processes that tests start.
_COMPILED = tempfile.TemporaryDirectory(prefix="compiled-")
os.environ["JAX_COMPILATION_CACHE_DIR"] = _COMPILED.name
os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
os.environ["JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES"] = "-1"


def review(rng: np.random.Generator) -> tuple[str, int]:
    """A sentence whose order of words decides: "not", at once before, turns a word."""
    good, turned = rng.integers(2, size=2)
    word = rng.choice([["awful", "dull"], ["lovely", "clever"]][good])
    subject = rng.choice(["the film", "the plot, not the cast,"])
    end = rng.choice(["", "at all", "for once"])
    return f"{subject} is {'not ' if turned else ''}{word} {end}", int(good != turned)


@pytest.fixture
def csv_path(tmp_path):
    """A file like that of the package, with 500 sentences and ten longer reviews."""
    rng = np.random.default_rng(0)
    path = tmp_path / "reviews.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "label", "source"])
        for _ in range(500):
            writer.writerow([*review(rng), "rotten_tomatoes"])
        for _ in range(10):
            text = "<br />".join(review(rng)[0] for _ in range(20))
            writer.writerow([text, 1, "imdb"])
    return path


@pytest.fixture
def tiny(csv_path, monkeypatch):
    """Options for the reviews in that file, which stands for the package's."""
    config = small.get_config()
    config.update(embed_size=8, hidden_size=16, batch_size=16, num_epochs=2)
    config.update(word_dropout=0.05, dropout=0.1)
    monkeypatch.setattr(input_pipeline, "package_file", lambda: csv_path)
    return config
