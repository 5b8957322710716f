import json
import re
import subprocess
import sys
from pathlib import Path

import jax
import main
import numpy as np
import pytest
import train
from absl.testing import flagsaver
from configs import default
from input_pipeline import pad, training_batch

HERE = Path(__file__).parent


def assert_same(left, right):
    """Bit for bit."""
    paths = jax.tree_util.tree_leaves_with_path
    for (path, a), (other, b) in zip(paths(left), paths(right), strict=True):
        assert path == other
        np.testing.assert_array_equal(np.asarray(a), np.asarray(b))


def test_it_learns_what_a_constant_cannot_know(tiny, tmp_path):
    tiny.update(num_epochs=30, learning_rate=1e-2, checkpoint_every_steps=50)
    state, results = train.train_and_evaluate(tiny, tmp_path)
    history = results["history"]
    assert history[-1]["train_loss"] < history[0]["train_loss"] - 0.15
    # The first task can be learnt, the second is noise.
    assert results["test"]["map"] > results["test"]["constant_map"] + 0.1
    assert int(state.step) == 120
    assert json.loads((tmp_path / "history.json").read_text()) == history
    assert (tmp_path / "curves.png").read_bytes()[:4] == b"\x89PNG"
    assert list(tmp_path.glob("events.out.tfevents.*"))


def test_a_resumed_run_equals_the_uninterrupted_one(tiny, tmp_path, monkeypatch):
    tiny.dropout = 0.1
    whole, results = train.train_and_evaluate(tiny, tmp_path / "whole")

    # Stopped before the first epoch is over, and in the second, a step after a
    # checkpoint.
    real = train.train_step
    for step, epochs in ((3, 0), (7, 1)):

        def stopped(state, graphs, step=step):
            if int(state.step) == step:
                raise KeyboardInterrupt
            return real(state, graphs)

        with monkeypatch.context() as patch:
            patch.setattr(train, "train_step", stopped)
            with pytest.raises(KeyboardInterrupt):
                train.train_and_evaluate(tiny, tmp_path / "parts")
        path = tmp_path / "parts/history.json"
        assert len(json.loads(path.read_text()) if path.exists() else []) == epochs
    tiny.loader = "grain"  # which makes the same batches
    resumed, again = train.train_and_evaluate(tiny, tmp_path / "parts")
    assert int(whole.step) == 12
    assert_same(resumed, whole)
    assert again == results


def test_a_bucket_is_compiled_once(tiny, rings):
    """Batches of a hundred sizes are of a few buckets, and compile no more often."""
    rng = np.random.default_rng(1)
    state = train.create_state(tiny, 100, 0)
    before = train.TRACES.copy()
    buckets, atoms = set(), set()
    for _ in range(100):
        chosen = [rings[i] for i in rng.choice(96, size=rng.integers(8, 17))]
        graphs = pad(chosen, 16, tiny)
        atoms.add(sum(len(m.atoms) for m in chosen))
        buckets.add(len(graphs.nodes))
        state = train.train_step(state, graphs)
        train.predict(state, graphs)
    assert len(atoms) > 60
    assert 2 <= len(buckets) <= 6
    for name in ("train_step", "predict"):
        assert train.TRACES[name] - before[name] == len(buckets)


def test_missing_labels_have_no_part_in_the_loss(tiny, rings):
    state = train.create_state(tiny, 100, 0)
    graphs = pad(rings[:16], 16, tiny)
    flipped = np.where(graphs.globals["measured"] > 0, graphs.globals["labels"], 1.0)
    other = graphs._replace(globals={**graphs.globals, "labels": flipped})
    assert (flipped != graphs.globals["labels"]).any()
    one, two = (train.train_step(state, g) for g in (graphs, other))
    assert_same(one, two)
    known = sum(np.isfinite(m.labels).sum() for m in rings[:16])
    assert float(one.losses.count) == known < 32


def test_evaluation_counts_each_molecule_once(tiny, rings):
    state = train.create_state(tiny, 100, 0)
    found = train.evaluate(state, rings[:21], tiny)
    scores = np.concatenate(
        [train.predict(state, pad([m], 16, tiny))[:1] for m in rings[:21]]
    )
    labels = np.array([m.labels for m in rings[:21]])
    known = np.isfinite(labels)
    p = 1 / (1 + np.exp(-scores[known]))
    expected = -np.log(np.where(labels[known] > 0, p, 1 - p)).mean()
    assert found["loss"] == pytest.approx(expected, rel=1e-4)
    shares = [labels[known[:, t], t].mean() for t in (0, 1)]
    assert found["constant_map"] == pytest.approx(np.mean(shares))


def test_the_seed_decides(tiny):
    one, two = (train.create_state(tiny, 100, seed) for seed in (0, 0))
    assert_same(one.params, two.params)
    other = train.create_state(tiny, 100, 1)
    assert (other.params["head"]["kernel"] != one.params["head"]["kernel"]).any()


def test_one_step_of_the_full_task_at_tiny_widths(make):
    config = default.get_config()
    config.update(features=8, batch_size=4, smallest_bucket=64)
    rng = np.random.default_rng(0)
    graphs = training_batch([make(rng, 5, tasks=128) for _ in range(4)], config, 0)
    state = train.create_state(config, 100, 0)
    full = train.abstract_state(default.get_config())
    assert jax.tree.structure(state.params) == jax.tree.structure(full.params)
    before = state.params["head"]["kernel"]
    for _ in range(2):  # The learning rate of the very first step is 0.
        state = train.train_step(state, graphs)
    assert np.isfinite(state.losses.mean())
    assert (state.params["head"]["kernel"] != before).any()


def test_a_batch_that_is_too_large(tiny, tmp_path):
    tiny.batch_size = 65
    with pytest.raises(ValueError, match="batch_size is 65, more than the 64 mol"):
        train.train_and_evaluate(tiny, tmp_path)


def test_main_prints_the_result_beside_its_baseline(tiny, tmp_path, capsys):
    main.FLAGS(["main.py", f"--config={HERE}/configs/small.py"])
    tiny.num_epochs = 1
    with flagsaver.flagsaver(workdir=str(tmp_path)):
        main.FLAGS.config.update(tiny)
        main.main(["main.py"])
    output = capsys.readouterr().out
    found = re.search(r"test set: (0\.\d{4})\nThe same score .*: +(0\.\d{4})\n", output)
    assert found


def test_the_command_line():
    command = [sys.executable, HERE / "main.py", "--plan", "--config.features=32"]
    output = subprocess.run(
        command, check=True, capture_output=True, text=True, cwd=HERE
    ).stdout
    assert "params/head/kernel" in output
    assert re.search(r"32\D+128", output)


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
