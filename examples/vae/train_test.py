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
from input_pipeline import Images, load

HERE = Path(train.__file__).parent
PICTURES = ("curves", "reconstructions", "samples", "latent_plane")


def tiny(**changes):
    config = small.get_config()
    config.update({"num_epochs": 3, "checkpoint_every": 1, "hidden": (32,)})
    config.update({"train_samples": 1, "eval_samples": 20, **changes})
    return config


def same(one, other):
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A short run, and its folder."""
    folder = tmp_path_factory.mktemp("whole")
    return train.train_and_evaluate(tiny(), folder), folder


def test_it_learns(tmp_path):
    config = tiny(num_epochs=15, latents=8, learning_rate=5e-3, checkpoint_every=15)
    result = train.train_and_evaluate(config, tmp_path)
    first, *_, last = [row["test_elbo"] for row in result.history]
    assert last > first + 2
    # More is known of an image than how often each pixel is black.
    assert result.elbo > result.baseline + 1
    assert result.importance_weighted > result.elbo


def test_a_run_leaves_pictures_and_summaries(whole):
    folder = whole[1]
    for name in PICTURES:
        assert (folder / f"{name}.png").read_bytes().startswith(b"\x89PNG")
    assert list(folder.glob("events.out.tfevents.*"))
    assert json.loads((folder / "history.json").read_text()) == whole[0].history


def test_pictures_of_more_latents_and_no_labels(tmp_path, monkeypatch):
    found = load("digits")
    monkeypatch.setattr(
        train.input_pipeline,
        "load",
        lambda *_: tuple(Images(part.pixels, None) for part in found),
    )
    train.train_and_evaluate(tiny(num_epochs=1, latents=5), tmp_path)
    assert {f"{name}.png" for name in PICTURES} <= {p.name for p in tmp_path.iterdir()}


def test_the_same_seed_gives_the_same_numbers_with_either_loader(whole, tmp_path):
    again = train.train_and_evaluate(tiny(loader="grain"), tmp_path / "again")
    assert again[1:] == whole[0][1:]
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
    assert resumed[1:] == whole[0][1:]
    same(resumed.state, whole[0].state)


def test_the_baseline_is_the_likelihood_of_independent_pixels():
    pixels = np.array([[0, 1], [1, 1]], np.float32)
    data = Images(pixels, None)
    # One more of each than were seen: 2/4 and 3/4.
    expected = np.log(0.5) + np.log(0.75)
    np.testing.assert_allclose(train.independent_pixels(data, data), expected)


def test_one_step_of_the_full_task():
    config = default.get_config()
    config.update({"hidden": (4, 3), "latents": 2})
    state = train.create_train_state(config, 784, 10)
    x = np.ones((2, 784), np.float32)
    before = train.evaluate(state, Images(x, None), 5)[0]
    state, _ = train.train_step(state, x, jax.random.key(0), config.train_samples)
    assert int(state.step) == 1
    assert train.evaluate(state, Images(x, None), 5)[0] > before


def test_the_command_takes_changes_and_tells_the_result(tmp_path):
    command = [sys.executable, "main.py", "--config=configs/small.py"]
    command += [f"--workdir={tmp_path}", "--config.num_epochs=1"]
    command += ["--config.eval_samples=10"]
    run = subprocess.run(command, cwd=HERE, capture_output=True, text=True, timeout=900)
    assert run.returncode == 0, run.stderr
    baseline, elbo, weighted = run.stdout.splitlines()[-3:]
    assert baseline.startswith("  independent pixels: ")
    assert elbo.startswith("  evidence lower bound: ")
    assert weighted.startswith("  10 importance weights: ")
    assert float(weighted.split()[-1]) > float(elbo.split()[-1])


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
