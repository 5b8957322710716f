"""Treebanks are read as they are written; batches lose no word and repeat none."""

import sys

import input_pipeline
import jax
import numpy as np
import pytest
from input_pipeline import PAD, UNKNOWN, Encoder, Sentence, affixes_of, read_conllu

TEXT = """\
# sent_id = 1
# text = I didn't go.
1\tI\ti\tPRON\tPRP\t_\t4\tnsubj\t_\t_
2-3\tdidn't\t_\t_\t_\t_\t_\t_\t_\t_
2\tdid\tdo\tAUX\tVBD\t_\t4\taux\t_\tSpaceAfter=No
3\tn't\tnot\tPART\tRB\t_\t4\tadvmod\t_\t_
3.1\tever\t_\tADV\t_\t_\t_\t_\t_\t_
4\tgo\tgo\tVERB\tVB\t_\t0\troot\t_\tx=y|SpaceAfter=No
5\t.\t.\tPUNCT\t.\t_\t4\tpunct\t_\t_

# sent_id = 2
1\tYes\tyes\tINTJ\tUH\t_\t0\troot\t_\t_
"""


def test_words_tags_and_spaces_are_read(tmp_path):
    path = tmp_path / "a.conllu"
    path.write_text(TEXT, "utf-8")
    assert read_conllu(path) == [
        Sentence(
            ["I", "did", "n't", "go", "."],
            ["PRON", "AUX", "PART", "VERB", "PUNCT"],
            [True, True, False, True, False],
        ),
        Sentence(["Yes"], ["INTJ"], [True]),
    ]


def test_a_line_that_is_not_of_the_format_is_named(tmp_path):
    path = tmp_path / "a.conllu"
    path.write_text("# x\n1\tword\tNOUN\n", "utf-8")
    with pytest.raises(ValueError, match=r"a.conllu, line 2: 3 columns, where CoNLL-U"):
        read_conllu(path)


def test_each_tenth_sentence_is_tested_and_none_is_in_two_parts():
    parts = input_pipeline.split([*range(100)])
    assert [len(part) for part in parts] == [80, 10, 10]
    assert sorted(n for part in parts for n in part) == [*range(100)]


def test_the_package_has_the_treebank():
    config = __import__("configs.small").small.get_config()
    splits = input_pipeline.load(config)
    assert [len(part) for part in splits] == [3881, 485, 485]
    tags = {tag for sentence in splits.train for tag in sentence.tags}
    assert {"NOUN", "VERB", "ADJ", "ADV", "PRON", "DET", "ADP", "NUM"} <= tags


def test_what_is_missing_is_named(tiny, monkeypatch):
    tiny.test_file = "nowhere.conllu"
    with pytest.raises(FileNotFoundError, match="no file 'nowhere.conllu'. Treebanks"):
        input_pipeline.load(tiny)
    tiny.treebank = "penn"
    with pytest.raises(ValueError, match="'penn'; it must be 'turkish_web' or 'files'"):
        input_pipeline.load(tiny)
    tiny.treebank = "turkish_web"
    monkeypatch.setattr(sys, "path", [])
    with pytest.raises(ImportError, match="pip install turkish-treebanks"):
        input_pipeline.load(tiny)


def test_affixes_of_short_words_and_of_what_is_no_word():
    assert len(affixes_of("x", spaced=True)) == input_pipeline.NUM_AFFIXES
    assert affixes_of("B12", spaced=False)[-1] == "X0 glued"
    assert affixes_of("Ab", spaced=True)[:5] == ["a-", "ab-", "ab-", "ab-", "-b"]


def test_new_words_are_unknown_and_still_have_affixes():
    known = Sentence(["The", "the", "cat"], ["DET", "DET", "NOUN"], [True] * 3)
    encoder = Encoder([known], min_count=2, num_affixes=64)
    example = encoder(Sentence(["THE", "mat"], ["DET", "VERB"], [True, True]))
    assert encoder.words == ["<pad>", "<unknown>", "the"]
    assert encoder.tags == ["<pad>", "DET", "NOUN"]
    assert example.words.tolist() == [2, UNKNOWN]
    assert example.tags.tolist() == [1, PAD]
    assert example.affixes.shape == (2, input_pipeline.NUM_AFFIXES)
    assert example.affixes.min() > PAD
    assert example.affixes.max() < 64


@pytest.mark.parametrize("shuffled", [False, True])
def test_each_word_is_in_one_batch(shuffled):
    sizes = [3, 70, 16, 17, 64, 5, 130, 9]
    sentences = [
        Sentence([f"{n}.{k}" for k in range(size)], ["X"] * size, [True] * size)
        for n, size in enumerate(sizes)
    ]
    encoder = Encoder(sentences, 1, 64)
    rng = np.random.default_rng(0) if shuffled else None
    found = list(input_pipeline.batches([*map(encoder, sentences)], 2, rng))
    words = np.concatenate([batch.words[batch.words != PAD] for batch in found])
    assert sorted(words) == [*range(2, 2 + sum(sizes))]
    assert {batch.words.shape[0] for batch in found} == {2}
    assert {batch.words.shape[1] for batch in found} <= {*input_pipeline.LENGTHS}
    for batch in found:
        np.testing.assert_array_equal(batch.words == PAD, batch.tags == PAD)
        np.testing.assert_array_equal(batch.words == PAD, batch.affixes[..., 0] == PAD)


def test_the_order_is_that_of_the_seed(tiny):
    sentences = read_conllu(tiny.train_file)
    examples = [*map(Encoder(sentences, 1, 64), sentences)]

    def order(seed):
        rng = np.random.default_rng(seed)
        return [*input_pipeline.batches(examples, 8, rng)]

    jax.tree.map(np.testing.assert_array_equal, order(1), order(1))
    assert any(
        (a.words != b.words).any() for a, b in zip(order(1), order(2), strict=True)
    )


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
