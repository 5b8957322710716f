"""It learns, and a run that was interrupted ends like one that was not."""

import json
import sys
from pathlib import Path

import input_pipeline
import jax
import main
import numpy as np
import pytest
import train

HERE = Path(__file__).parent


def assert_same(found, expected):
    """Compares two states bit for bit."""
    jax.tree.map(
        np.testing.assert_array_equal,
        (found.params, found.opt_state, found.step),
        (expected.params, expected.opt_state, expected.step),
    )


def test_it_learns_to_add_digits(tiny, tmp_path):
    tiny.update(num_train_steps=500, eval_every_steps=250, batch_size=64)
    tiny.update(warmup_steps=50, learning_rate=1e-2)
    state, history = train.train_and_evaluate(tiny, tmp_path)
    assert [row["step"] for row in history] == [250, 500]
    first, last = history
    assert last["train_loss"] < 0.1 < first["train_loss"]
    assert last["test_exact"] >= 0.6  # Pairs that were never seen; a guess has 0.1.
    text = main.report(tiny, state.params)
    exact = f"{100 * last['test_exact']:.2f} %"
    assert f"Exact sums of 40 held-out pairs of 1-digit numbers: {exact}" in text
    assert "the best constant answer: " in text


def test_a_run_writes_curves_history_and_tensorboard(tiny, tmp_path):
    _, history = train.train_and_evaluate(tiny, tmp_path)
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")
    assert json.loads((tmp_path / "history.json").read_text()) == history
    assert len(list((tmp_path / "tensorboard").iterdir())) == 1


def test_the_same_seed_gives_the_same_numbers(tiny, tmp_path):
    first, history = train.train_and_evaluate(tiny, tmp_path / "a")
    second, again = train.train_and_evaluate(tiny, tmp_path / "b")
    assert_same(second, first)
    assert again == history
    tiny.seed = 1
    assert train.train_and_evaluate(tiny, tmp_path / "c")[1] != history


@pytest.mark.parametrize("step", [13, 20])
def test_an_interrupted_run_ends_like_another(tiny, tmp_path, monkeypatch, step):
    tiny.num_train_steps = 25
    expected, history = train.train_and_evaluate(tiny, tmp_path / "whole")
    make_batch = input_pipeline.make_batch

    def interrupted(config, at):
        if at == step:
            raise KeyboardInterrupt
        return make_batch(config, at)

    with monkeypatch.context() as patch:
        patch.setattr(input_pipeline, "make_batch", interrupted)
        with pytest.raises(KeyboardInterrupt):
            train.train_and_evaluate(tiny, tmp_path / "parts")
    found, again = train.train_and_evaluate(tiny, tmp_path / "parts")
    assert_same(found, expected)
    assert again == history


def test_a_finished_run_is_only_read(tiny, tmp_path):
    state, history = train.train_and_evaluate(tiny, tmp_path)
    again, same = train.train_and_evaluate(tiny, tmp_path)
    assert_same(again, state)
    assert same == history


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
    command = [
        "main.py",
        f"--config={HERE}/configs/small.py",
        "--config.num_train_steps=10",
    ]
    command.append(f"--workdir={tmp_path}")
    monkeypatch.setattr(sys, "argv", command)  # where changes of a config are looked up
    main.FLAGS(command)
    assert main.FLAGS.config.num_train_steps == 10
    tiny.num_train_steps = main.FLAGS.config.num_train_steps
    main.FLAGS.config.update(tiny)
    main.main([])
    output = capsys.readouterr().out
    assert "Exact sums of 40 held-out pairs of 1-digit numbers: " in output
    assert f"Curves, history and checkpoints: {tmp_path}" in output
