"""Batches ahead of time are those that are made when they are asked for."""

from __future__ import annotations

import itertools
import sys
import threading

import input_pipeline
import loader
import numpy as np
import packed_dataset
import pytest
from input_pipeline import Corpus


@pytest.fixture
def numbered(config):
    """The batches of 200 short texts, from a number on."""
    config.max_length, config.tokens_per_batch = 24, 96
    lengths = np.random.default_rng(0).integers(1, 13, 200)
    starts = np.cumsum([0, *lengths])
    tokens = np.arange(starts[-1], dtype=np.int32)
    corpus = Corpus(tokens, starts)

    def batches(start):
        return input_pipeline.training_batches(corpus, config, start, multiple=2)

    return batches


def some(batches, count):
    """The arrays of the next batches."""
    return [batch.arrays() for batch in itertools.islice(batches, count)]


def assert_same(left, right):
    for one, other in zip(left, right, strict=True):
        assert one.keys() == other.keys()
        for name, value in one.items():
            np.testing.assert_array_equal(value, other[name])


@pytest.mark.parametrize("start", [0, 17])
def test_grain_makes_the_same_batches(numbered, start):
    wanted = some(numbered(start), 40)  # more than one epoch
    read = loader.read(lambda batch: batch.arrays(), numbered, start, "grain")
    assert_same(itertools.islice(read, 40), wanted)
    read.close()


def test_a_data_set_of_grain_goes_on_from_its_state(numbered):
    wanted = some(numbered(0), 12)
    first = packed_dataset.ahead(lambda batch: batch.arrays(), numbered, 0)
    assert_same(itertools.islice(first, 5), wanted[:5])
    state = first.get_state()
    assert state == {"next": 5}  # and not of what was made ahead
    other = packed_dataset.ahead(lambda batch: batch.arrays(), numbered, 0)
    other.set_state(state)
    assert_same(itertools.islice(other, 7), wanted[5:])
    first.close()
    other.close()


def test_the_thread_ends_with_the_reading(numbered):
    before = threading.active_count()
    read = loader.read(lambda batch: batch, numbered, 0, "grain")
    next(read)
    assert threading.active_count() > before
    read.close()
    assert threading.active_count() == before


@pytest.mark.parametrize("name", ["numpy", "grain"])
def test_what_making_raises_is_raised(numbered, name):
    def broken(batch):
        raise KeyError("no such text")

    with pytest.raises(KeyError, match="no such text"):
        next(loader.read(broken, numbered, 0, name))


def test_a_loader_that_is_unknown_or_not_installed_is_named(numbered, monkeypatch):
    with pytest.raises(ValueError, match=r"config.loader is 'torch'; it must be 'num"):
        next(loader.read(str, numbered, 0, "torch"))
    monkeypatch.delitem(sys.modules, "packed_dataset")
    monkeypatch.setitem(sys.modules, "grain", None)
    with pytest.raises(ImportError, match="needs the package grain: pip install grain"):
        next(loader.read(str, numbered, 0, "grain"))
