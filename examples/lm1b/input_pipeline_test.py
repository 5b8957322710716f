"""The texts, and batches of them."""

from __future__ import annotations

import itertools
import sys
import types

import input_pipeline
import numpy as np
import pytest
import tokenizer
from input_pipeline import Corpus


def test_paragraphs_of_help(config):
    splits = {
        split: input_pipeline.load(config, split)
        for split in ("train", "validation", "test")
    }
    assert len(splits["train"]) > 1000
    assert len(splits["validation"]) == len(splits["test"]) > 100
    for one, other in itertools.combinations(splits.values(), 2):
        assert not set(one) & set(other)
    assert any("statement" in text for text in splits["test"])
    assert all("\n" not in text for text in splits["train"])


def test_files(config, tmp_path):
    config.dataset = f"files:{tmp_path}"
    (tmp_path / "test.txt").write_text("Ein Baum .\nZwei Bäume .\n", "utf-8")
    assert input_pipeline.load(config, "test") == ["Ein Baum .", "Zwei Bäume ."]


def test_tensorflow_datasets(config, monkeypatch):
    config.dataset = "tfds:lm1b"
    asked = []

    def load(name, split):
        asked.append((name, split))
        return [{"text": "Über alles .".encode()}]

    fake = types.SimpleNamespace(load=load, as_numpy=iter)
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", fake)
    for split in ("train", "validation", "test"):
        assert input_pipeline.load(config, split) == ["Über alles ."]
    wanted = ["train", "test[:5000]", "test[5000:]"]
    assert asked == [("lm1b", split) for split in wanted]

    monkeypatch.setitem(sys.modules, "tensorflow_datasets", None)
    with pytest.raises(SystemExit, match="needs TensorFlow Datasets: pip install"):
        input_pipeline.load(config, "test")


def test_no_such_data_set(config):
    config.dataset = "letters"
    with pytest.raises(ValueError, match="There is no data set 'letters'"):
        input_pipeline.load(config, "train")


def test_long_texts_are_cut_and_nothing_is_lost(tmp_path):
    texts = ["a b c", "one two three four " * 5, "the end of it all"]
    pieces = tokenizer.load_or_train(tmp_path / "pieces", texts, 40)
    corpus = Corpus.make(texts, pieces, 16)
    assert corpus.lengths.max() == 16
    assert len(corpus) > 3
    assert corpus.lengths.sum() == len(corpus.tokens)
    again = np.split(corpus.tokens, np.flatnonzero(corpus.tokens == tokenizer.EOS) + 1)
    assert [pieces.decode(text) for text in again[:-1]] == [t.strip() for t in texts]
    assert corpus.words == 3 + 20 + 5 + 3
    assert corpus.characters == sum(map(len, texts)) + 3


def corpus_of(lengths):
    """Texts of which each token is the number of its text, from 3."""
    each = [np.full(length, 3 + index) for index, length in enumerate(lengths)]
    return Corpus(np.concatenate(each), np.cumsum([0, *lengths]))


def test_packed_rows():
    corpus = corpus_of([3, 4, 2, 2, 5, 6])
    first, second = input_pipeline.packed(corpus, range(6), rows=2, length=6)
    assert first.rows == ((0, 2), (1, 3))
    assert second.rows == ((4,), (5,))
    wanted = {
        "tokens": [[3, 3, 3, 5, 5, 0], [4, 4, 4, 4, 6, 6]],
        "positions": [[0, 1, 2, 0, 1, 0], [0, 1, 2, 3, 0, 1]],
        "segments": [[1, 1, 1, 2, 2, 0], [1, 1, 1, 1, 2, 2]],
    }
    arrays = first.arrays()
    assert {name: value.tolist() for name, value in arrays.items()} == wanted
    part = first.arrays(slice(1, 2))
    for name, value in arrays.items():
        np.testing.assert_array_equal(part[name], value[1:])


def test_the_last_batch_is_given_where_it_is_asked_for():
    corpus = corpus_of([5, 1, 2])
    one = input_pipeline.packed(corpus, range(3), rows=2, length=8)
    assert not list(one)  # it is half full, but not more
    (one,) = input_pipeline.packed(corpus, range(3), rows=2, length=8, partial=True)
    assert one.rows == ((0, 1, 2), ())


def test_batches_follow_from_seed_and_number(config):
    corpus = corpus_of(np.random.default_rng(0).integers(1, 13, 200))
    config.max_length, config.tokens_per_batch = 24, 100

    def some(start, count):
        made = input_pipeline.training_batches(corpus, config, start, multiple=2)
        return [batch.rows for batch in itertools.islice(made, count)]

    whole = some(0, 40)  # more than one epoch
    assert some(30, 10) == whole[30:]
    assert all(len(rows) == 4 for rows in whole)
    config.seed = 1
    assert some(0, 40) != whole


def test_too_few_texts_for_a_batch(config):
    batches = input_pipeline.training_batches(corpus_of([2]), config)
    with pytest.raises(ValueError, match="1 texts do not fill a batch of 512 tokens"):
        next(batches)
