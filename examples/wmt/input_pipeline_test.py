"""The sentences, the tokenizer, and batches: packed and in buckets."""

from __future__ import annotations

import itertools
import sys
import types

import grammar
import input_pipeline
import numpy as np
import pytest
import tokenizer
from input_pipeline import Corpus


@pytest.mark.parametrize(
    ("number", "german", "english"),
    [
        (1, "eins", "one"),
        (17, "siebzehn", "seventeen"),
        (21, "einundzwanzig", "twenty-one"),
        (80, "achtzig", "eighty"),
        (101, "einhunderteins", "one hundred and one"),
        (345, "dreihundertfünfundvierzig", "three hundred and forty-five"),
        (1001, "eintausendeins", "one thousand and one"),
        (12_300, "zwölftausenddreihundert", "twelve thousand three hundred"),
        (101_000, "einhunderteintausend", "one hundred and one thousand"),
        (21_000, "einundzwanzigtausend", "twenty-one thousand"),
    ],
)
def test_numbers_in_words(number, german, english):
    assert grammar.german_number(number) == german
    assert grammar.english_number(number) == english


def test_sentences_differ_and_follow_from_the_seed():
    made = grammar.pairs(200, seed=3)
    assert len({german for german, _ in made}) == 200
    assert made[:50] == grammar.pairs(50, seed=3)
    assert made[:50] != grammar.pairs(50, seed=4)


@pytest.mark.parametrize(
    ("count", "largest", "message"),
    [
        (1, 1, "largest is 1; give one from 2 to 999999"),
        (1, 1_000_000, "largest is 1000000"),
        (10**4, 2, "make too few sentences for 10000 different ones; raise largest"),
    ],
)
def test_what_the_grammar_cannot_make_is_refused(count, largest, message, monkeypatch):
    monkeypatch.setattr(grammar, "_NAMES", ["Anna"])
    with pytest.raises(ValueError, match=message):
        grammar.pairs(count, 0, largest)


def test_splits_have_no_source_in_common(config):
    splits = [
        {source for source, _ in input_pipeline.load(config, split)}
        for split in ("train", "validation", "test")
    ]
    assert [len(split) for split in splits] == [600, 16, 16]
    for one, other in itertools.combinations(splits, 2):
        assert not one & other


def test_direction(config):
    there = input_pipeline.load(config, "test")
    config.source, config.target = "de", "en"
    assert input_pipeline.load(config, "test") == [(b, a) for a, b in there]


def test_files(config, tmp_path):
    config.dataset = f"files:{tmp_path}"
    (tmp_path / "train.en").write_text("A tree.\nTwo trees.\n", "utf-8")
    (tmp_path / "train.de").write_text("Ein Baum.\nZwei Bäume.\n", "utf-8")
    wanted = [("A tree.", "Ein Baum."), ("Two trees.", "Zwei Bäume.")]
    assert input_pipeline.load(config, "train") == wanted
    (tmp_path / "train.de").write_text("Ein Baum.\n", "utf-8")
    with pytest.raises(ValueError, match="train: 2 sentences in en and 1 in de"):
        input_pipeline.load(config, "train")


def test_tensorflow_datasets(config, monkeypatch):
    config.dataset = "tfds:wmt17_translate/de-en"
    asked = []

    def load(name, split):
        asked.append((name, split))
        return [{"de": "Zwei Bäume.".encode(), "en": b"Two trees."}]

    fake = types.SimpleNamespace(load=load, as_numpy=iter)
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", fake)
    assert input_pipeline.load(config, "test") == [("Two trees.", "Zwei Bäume.")]
    assert asked == [("wmt17_translate/de-en", "test")]

    monkeypatch.setitem(sys.modules, "tensorflow_datasets", None)
    with pytest.raises(SystemExit, match="needs TensorFlow Datasets: pip install"):
        input_pipeline.load(config, "test")


def test_no_such_data_set(config):
    config.dataset = "letters"
    with pytest.raises(ValueError, match="There is no data set 'letters'"):
        input_pipeline.load(config, "train")


def test_tokenizer_gives_the_text_back_and_is_made_once(tmp_path):
    texts = [text for pair in grammar.pairs(300, 0) for text in pair]
    pieces = tokenizer.load_or_train(tmp_path / "one", texts, 200)
    for text in texts:
        tokens = pieces.encode(text)
        assert tokens[-1] == tokenizer.EOS
        assert tokenizer.PAD not in tokens
        assert pieces.decode([*tokens, 5, 0]) == text
    assert pieces.vocab_size <= 200
    tokenizer.load_or_train(tmp_path / "other", texts, 200)
    again = tokenizer.load_or_train(tmp_path / "one", ["something else"], 50)
    assert again.encode(texts[0]) == pieces.encode(texts[0])
    assert (tmp_path / "one").read_bytes() == (tmp_path / "other").read_bytes()


def corpus(lengths):
    """Pairs of which each token is the number of its pair, from 3."""
    sides = []
    for side in range(2):
        each = [np.full(both[side], 3 + index) for index, both in enumerate(lengths)]
        starts = np.cumsum([0, *(both[side] for both in lengths)])
        sides.append((np.concatenate(each), starts))
    return Corpus((sides[0][0], sides[1][0]), (sides[0][1], sides[1][1]), 0)


def random_corpus(count=200, longest=12):
    rng = np.random.default_rng(0)
    return corpus(rng.integers(1, longest + 1, (count, 2)))


def test_packed_rows():
    pairs = corpus([(3, 2), (2, 4), (4, 1), (1, 1), (5, 5), (3, 3)])
    first, second = input_pipeline.packed(pairs, range(6), rows=2, length=6)
    assert first.rows == ((0, 1), (2, 3))
    assert second.rows == ((4,), (5,))
    arrays = first.arrays()
    wanted = {
        "inputs": [[3, 3, 3, 4, 4, 0], [5, 5, 5, 5, 6, 0]],
        "inputs_positions": [[0, 1, 2, 0, 1, 0], [0, 1, 2, 3, 0, 0]],
        "inputs_segments": [[1, 1, 1, 2, 2, 0], [1, 1, 1, 1, 2, 0]],
        "targets": [[3, 3, 4, 4, 4, 4], [5, 6, 0, 0, 0, 0]],
        "targets_positions": [[0, 1, 0, 1, 2, 3], [0, 0, 0, 0, 0, 0]],
        "targets_segments": [[1, 1, 2, 2, 2, 2], [1, 2, 0, 0, 0, 0]],
    }
    assert {name: value.tolist() for name, value in arrays.items()} == wanted
    part = first.arrays(slice(1, 2))
    for name, value in arrays.items():
        np.testing.assert_array_equal(part[name], value[1:])


def test_packing_keeps_every_pair_whole_and_fills_rows():
    pairs = random_corpus()
    batches = list(input_pipeline.packed(pairs, range(200), rows=4, length=24))
    placed = [pair for batch in batches for row in batch.rows for pair in row]
    assert len(set(placed)) == len(placed) > 190  # the last batch may be left out
    for batch in batches:
        for row in batch.rows:
            assert (pairs.lengths[list(row)].sum(axis=0) <= 24).all()
    full = np.mean([(batch.arrays()["inputs"] > 0).mean() for batch in batches])
    assert full > 0.75
    one_a_row = pairs.lengths[:, 0].mean() / 12  # rows as short as the longest pair
    assert full > one_a_row + 0.15


def test_buckets_have_few_shapes_like_sizes_and_every_pair():
    pairs = random_corpus()
    batches = list(input_pipeline.bucketed(pairs, range(200), 48, (4, 8, 12), 2))
    assert {batch.shape for batch in batches} == {(12, 4), (6, 8), (4, 12)}
    placed = [pair for batch in batches for row in batch.rows for pair in row]
    assert sorted(placed) == list(range(200))
    for batch in batches:
        shorter = {4: 0, 8: 4, 12: 8}[batch.length]
        longest = [pairs.lengths[list(row)].max() for row in batch.rows if row]
        assert all(shorter < each <= batch.length for each in longest)
    kept = input_pipeline.bucketed(pairs, range(200), 48, (4, 8, 12), 2, partial=False)
    assert all(len(row) == 1 for batch in kept for row in batch.rows)


def test_a_pair_longer_than_every_bucket():
    batches = input_pipeline.bucketed(corpus([(2, 9)]), [0], 8, (4, 8))
    with pytest.raises(ValueError, match="9 tokens is longer than the longest bucket"):
        next(batches)


@pytest.mark.parametrize("pack", [True, False])
def test_batches_follow_from_seed_and_number(config, pack):
    pairs = random_corpus()
    config.pack, config.max_length, config.bucket_lengths = pack, 24, (8, 16)
    config.tokens_per_batch = 100

    def some(start, count):
        made = input_pipeline.training_batches(pairs, config, start, multiple=2)
        return [(batch.length, batch.rows) for batch in itertools.islice(made, count)]

    whole = some(0, 60)  # more than one epoch
    assert some(40, 20) == whole[40:]
    assert all(len(rows) % 2 == 0 for _, rows in whole)
    assert whole[0] != next(batch for batch in whole[1:] if batch[0] == whole[0][0])
    config.seed = 1
    assert some(0, 60) != whole


@pytest.mark.parametrize("pack", [True, False])
def test_too_few_pairs_for_a_batch(config, pack):
    config.pack = pack
    batches = input_pipeline.training_batches(corpus([(2, 2)]), config)
    with pytest.raises(ValueError, match="1 pairs do not fill a batch of 512 tokens"):
        next(batches)


def test_pairs_that_are_too_long_are_left_out(config, tmp_path):
    pairs = input_pipeline.load(config, "train")
    texts = [text for pair in pairs for text in pair]
    pieces = tokenizer.load_or_train(tmp_path / "pieces", texts, 160)
    made = Corpus.make(pairs, pieces, 16)
    assert len(made) + made.dropped == len(pairs)
    assert made.dropped
    assert made.lengths.max() <= 16
    short = next(p for p in pairs if max(len(pieces.encode(t)) for t in p) <= 16)
    assert [pieces.decode(made.side(side, 0)) for side in (0, 1)] == list(short)
