"""It learns what a bag of words cannot, and goes on as if never interrupted."""

import json
import re
import sys
from pathlib import Path

import input_pipeline
import jax
import main
import numpy as np
import pytest
import train
from baseline import bag_of_words

HERE = Path(__file__).parent


def assert_same(found, expected):
    """Compares two states bit for bit."""
    jax.tree.map(
        np.testing.assert_array_equal,
        (found.params, found.opt_state, found.step),
        (expected.params, expected.opt_state, expected.step),
    )


def test_it_learns_what_a_bag_of_words_cannot(tiny, tmp_path):
    tiny.update(num_epochs=12, learning_rate=1e-2)
    result = train.train_and_evaluate(tiny, tmp_path / "run")
    last = result.history[-1]
    assert last["train_loss"] < result.history[0]["train_loss"]
    assert last["test_accuracy"] > 0.95 > 0.8 > result.baseline["test_accuracy"]
    text = main.report(result)
    assert f"Test accuracy: {100 * last['test_accuracy']:.2f} % (logistic" in text
    assert f"words: {100 * result.baseline['test_accuracy']:.2f} %)" in text
    texts = ["the plot, not the cast, is lovely", "the film is not lovely at all"]
    good, bad = train.predict(result.state, result.vocabulary, texts)
    assert good > 0.8 > 0.2 > bad


def test_the_baseline_learns_words(tiny):
    splits = input_pipeline.load(tiny)
    texts = [["a bad film", "a good film"][label] for label in splits.test.labels]
    easy = splits.test._replace(texts=texts)
    found = bag_of_words(splits._replace(train=easy, validation=easy, test=easy))
    assert found == {"validation_accuracy": 1.0, "test_accuracy": 1.0}


def test_a_run_writes_curves_history_and_tensorboard(tiny, tmp_path):
    result = train.train_and_evaluate(tiny, tmp_path)
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")
    assert json.loads((tmp_path / "history.json").read_text()) == result.history
    assert [row["epoch"] for row in result.history] == [1, 2]
    assert len(list((tmp_path / "tensorboard").iterdir())) == 1


def test_the_vectors_are_what_it_begins_with(tiny, tmp_path, monkeypatch):
    tiny.learning_rate = 0.0
    vectors = np.random.default_rng(0).normal(size=(40, 8)).astype("f4")
    monkeypatch.setattr(
        train, "word_vectors", lambda _, size, *args, **kw: vectors[:size]
    )
    result = train.train_and_evaluate(tiny, tmp_path / "a")
    found = result.state.params["embed"]["embedding"]
    expected = tiny.vector_scale * vectors[: len(result.vocabulary)]
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    tiny.use_vectors = False
    result = train.train_and_evaluate(tiny, tmp_path / "b")
    assert (result.state.params["embed"]["embedding"] != found).all()


@pytest.mark.parametrize("use_vectors", [False, True])
def test_the_same_seed_gives_the_same_numbers_with_either_loader(
    tiny, tmp_path, use_vectors
):
    tiny.use_vectors = use_vectors
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
        if len(steps) == 30:  # in the second of two epochs of 23 steps
            raise KeyboardInterrupt
        steps.append(args)
        return train_step(*args)

    with monkeypatch.context() as patch:
        patch.setattr(train, "train_step", interrupted)
        with pytest.raises(KeyboardInterrupt):
            train.train_and_evaluate(tiny, tmp_path / "parts")
    found = train.train_and_evaluate(tiny, tmp_path / "parts")
    assert_same(found.state, expected.state)
    assert found.history == expected.history


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
    assert re.search(r"Test accuracy: \d+\.\d\d % \(logistic regression", output)
    assert f"Curves, history and checkpoints: {tmp_path}" in output
