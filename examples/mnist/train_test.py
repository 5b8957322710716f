"""Training learns, goes on where it was stopped, and is the same twice."""

import json
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
import train
from configs import default, small
from input_pipeline import Digits

HERE = Path(train.__file__).parent


def tiny(**changes):
    config = small.get_config()
    config.update({"num_epochs": 3, "checkpoint_every": 1, "features": (16, 32)})
    config.update({"hidden": 64, "learning_rate": 1e-2, "dropout_rate": 0.1})
    config.update(changes)
    return config


def same(one, other):
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A short run, and its folder."""
    folder = tmp_path_factory.mktemp("whole")
    return train.train_and_evaluate(tiny(), folder), folder


def test_it_learns(whole):
    history = whole[0].history
    assert len(history) == 3
    assert history[-1]["test_loss"] < 0.6 * history[0]["test_loss"]
    assert history[-1]["test_accuracy"] > 0.7


def test_a_run_leaves_pictures_and_summaries(whole):
    folder = whole[1]
    for name in ("curves.png", "predictions.png"):
        assert (folder / name).read_bytes().startswith(b"\x89PNG")
    assert list(folder.glob("events.out.tfevents.*"))
    assert json.loads((folder / "history.json").read_text()) == whole[0].history


def test_the_same_seed_gives_the_same_numbers(whole, tmp_path):
    again = train.train_and_evaluate(tiny(), tmp_path / "again")
    assert again.history == whole[0].history
    same(again.state, whole[0].state)
    other = train.train_and_evaluate(tiny(seed=1), tmp_path / "other")
    assert other.history != whole[0].history


@pytest.mark.parametrize("every", [1, 2])
def test_a_stopped_run_goes_on_as_if_it_had_not_been(
    whole, tmp_path, monkeypatch, every
):
    evaluate, calls = train.evaluate, []

    def stop_in_the_third_epoch(*args):
        calls.append(args)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return evaluate(*args)

    config = tiny(checkpoint_every=every)
    with monkeypatch.context() as patched:
        patched.setattr(train, "evaluate", stop_in_the_third_epoch)
        with pytest.raises(KeyboardInterrupt):
            train.train_and_evaluate(config, tmp_path)
    resumed = train.train_and_evaluate(config, tmp_path)
    assert resumed.history == whole[0].history
    same(resumed.state, whole[0].state)


def test_a_finished_run_is_not_run_again(whole, monkeypatch):
    result, folder = whole
    monkeypatch.setattr(train, "train_step", None)
    again = train.train_and_evaluate(tiny(), folder)
    assert again.history == result.history
    same(again.state, result.state)


def test_the_baseline_takes_the_nearest_mean():
    images = np.eye(10, dtype=np.float32).reshape(10, 2, 5, 1)
    data = Digits(images, np.arange(10))
    assert train.mean_image_accuracy(data, data) == 1
    turned = Digits(images, np.roll(data.label, 1))
    assert train.mean_image_accuracy(data, turned) == 0


def test_one_step_of_the_full_task():
    config = default.get_config()
    config.update({"features": (2, 3), "hidden": 4})
    state = train.create_train_state(config, (28, 28, 1), 10)
    batch = Digits(np.ones((2, 28, 28, 1), np.float32), np.array([3, 3]))
    before = train.eval_step(state, batch)[0]
    state, _ = train.train_step(state, batch, jax.random.key(0))
    assert int(state.step) == 1
    assert train.eval_step(state, batch)[0] < before


def test_the_command_takes_changes_and_tells_the_result(tmp_path):
    command = [sys.executable, "main.py", "--config=configs/small.py"]
    command += [f"--workdir={tmp_path}", "--config.num_epochs=1"]
    run = subprocess.run(command, cwd=HERE, capture_output=True, text=True, timeout=900)
    assert run.returncode == 0, run.stderr
    lines = run.stdout.splitlines()
    assert lines[-2].startswith("test accuracy: ")
    assert lines[-1] == "the nearest of ten mean images: 91.92%"
    assert len(json.loads((tmp_path / "history.json").read_text())) == 1


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
