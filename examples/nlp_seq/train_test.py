"""It learns, and a run that was interrupted ends like one that was not."""

import json
import re
import sys
from pathlib import Path

import jax
import main
import numpy as np
import pytest
import train
from baseline import MostFrequentTag
from input_pipeline import Sentence

HERE = Path(__file__).parent


def assert_same(found, expected):
    """Compares two states bit for bit."""
    jax.tree.map(
        np.testing.assert_array_equal,
        (found.params, found.opt_state, found.step),
        (expected.params, expected.opt_state, expected.step),
    )


def test_the_baseline_gives_the_most_frequent_tag():
    words = ["run", "Run", "RUN", "a", "cat", "dog"]
    tags = ["NOUN", "VERB", "VERB", "DET", "NOUN", "NOUN"]
    baseline = MostFrequentTag([Sentence(words, tags, [True] * 6)])
    assert baseline(["run", "a", "tree"]) == ["VERB", "DET", "NOUN"]
    assert baseline.knows("Cat")
    assert not baseline.knows("tree")


def test_scores_are_of_all_words_and_of_new_ones():
    baseline = MostFrequentTag([Sentence(["a"], ["DET"], [True])])
    sentences = [Sentence(["a", "b", "c"], ["DET", "NOUN", "VERB"], [True] * 3)]
    given = [["DET", "NOUN", "NOUN"]]
    found = train.score(given, sentences, baseline, "test")
    assert found == {
        "test_accuracy": pytest.approx(2 / 3),
        "test_new_accuracy": pytest.approx(1 / 2),
    }


def test_it_learns_the_endings_and_the_order_of_words(tiny, tmp_path):
    tiny.update(num_epochs=12, learning_rate=1e-2)
    result = train.train_and_evaluate(tiny, tmp_path / "run")
    ours, theirs = result.model_scores, result.baseline_scores
    assert result.history[-1]["train_loss"] < result.history[0]["train_loss"]
    # New words are told by their endings, "ru" by what is before it.
    assert ours["test_new_accuracy"] > 0.98 > 0.8 > theirs["test_new_accuracy"]
    assert ours["test_accuracy"] > 0.97 > 0.85 > theirs["test_accuracy"]
    text = main.report(tiny, result)
    assert f"Test accuracy: {100 * ours['test_accuracy']:.2f} % (each word's" in text
    assert f"tag: {100 * theirs['test_accuracy']:.2f} %)" in text


def test_a_run_writes_curves_history_and_tensorboard(tiny, tmp_path):
    result = train.train_and_evaluate(tiny, tmp_path)
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")
    assert json.loads((tmp_path / "history.json").read_text()) == result.history
    assert [row["epoch"] for row in result.history] == [1, 2]
    assert len(list((tmp_path / "tensorboard").iterdir())) == 1


def test_the_same_seed_gives_the_same_numbers_with_either_loader(tiny, tmp_path):
    first = train.train_and_evaluate(tiny, tmp_path / "a")
    tiny.loader = "grain"
    second = train.train_and_evaluate(tiny, tmp_path / "b")
    assert_same(second.state, first.state)
    assert second.history == first.history
    tiny.seed = 1
    other = train.train_and_evaluate(tiny, tmp_path / "c")
    assert other.history != first.history


def test_an_interrupted_run_ends_like_another(tiny, tmp_path, monkeypatch):
    expected = train.train_and_evaluate(tiny, tmp_path / "whole")
    train_step, steps = train.train_step, []

    def interrupted(*args):
        if len(steps) == 14:  # in the second of two epochs of ten steps
            raise KeyboardInterrupt
        steps.append(args)
        return train_step(*args)

    with monkeypatch.context() as patch:
        patch.setattr(train, "train_step", interrupted)
        with pytest.raises(KeyboardInterrupt):
            train.train_and_evaluate(tiny, tmp_path / "parts")
    found = train.train_and_evaluate(tiny, tmp_path / "parts")
    assert_same(found.state, expected.state)
    assert found[1:4] == expected[1:4]


def test_a_long_sentence_is_tagged_in_pieces(tiny, tmp_path):
    tiny.update(num_epochs=4, learning_rate=1e-2)
    result = train.train_and_evaluate(tiny, tmp_path)
    words = ["bbbata", "kkkomo", "."] * 50
    long = Sentence(words, ["NOUN", "VERB", "PUNCT"] * 50, [True] * 150)
    parts = [Sentence(*(x[k : k + 64] for x in long)) for k in (0, 64, 128)]
    (given,) = train.tag(result.state, result.encoder, [long])
    expected = train.tag(result.state, result.encoder, parts)
    assert given == [tag for tags in expected for tag in tags]
    assert len({*given[:64]}) > 1  # or any order would do


def test_a_history_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    path, write = tmp_path / "history.json", Path.write_text
    train.write_history(path, [{"step": 1}])

    def stopped(part, text, *args):
        write(part, text[:3], *args)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_text", stopped)
        with pytest.raises(KeyboardInterrupt):
            train.write_history(path, [{"step": 1}, {"step": 2}])
    assert json.loads(path.read_text()) == [{"step": 1}]


def test_the_command_takes_changes_and_tells_the_result(
    tiny, tmp_path, capsys, monkeypatch
):
    command = ["main.py", f"--config={HERE}/configs/small.py", "--config.num_epochs=1"]
    command.append(f"--workdir={tmp_path}")
    monkeypatch.setattr(sys, "argv", command)  # where changes of a config are looked up
    main.FLAGS(command)
    assert main.FLAGS.config.num_epochs == 1
    tiny.num_epochs = main.FLAGS.config.num_epochs
    main.FLAGS.config.update(tiny)
    main.main([])
    output = capsys.readouterr().out
    assert re.search(r"Test accuracy: \d+\.\d\d % \(each word's most", output)
    assert f"Curves, history and checkpoints: {tmp_path}" in output
