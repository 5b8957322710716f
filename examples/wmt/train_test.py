"""Runs: learning, going on, several processes; and the full task, planned."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import input_pipeline
import jax
import layout
import numpy as np
import pytest
import train
from configs import default, small
from journal import Journal, check_config
from program import Program, abstract_state, schedule

from batiste import spmd

HERE = Path(__file__).resolve().parent


def params_of(result):
    return [np.asarray(x) for x in jax.tree.leaves(result.state.params)]


def losses(history):
    return {row["step"]: row["train_loss"] for row in history if "train_loss" in row}


def test_it_learns_and_writes_what_the_readme_says(config, tmp_path):
    config.num_steps, config.log_every, config.eval_every = 80, 20, 80
    result = train.train_and_evaluate(config, tmp_path)
    found = losses(result.history)
    assert found[20] > 3.5
    assert found[80] < 2.0
    assert result.metrics["test_loss"] < 1.9
    assert result.metrics["test_accuracy"] > 0.5
    assert result.history[-1]["validation_loss"] < 1.9
    for name in ("test_bleu", "baseline_bleu"):
        assert 0 <= result.metrics[name] <= 100
    # What a memory remembers, it says as it was.
    texts = train.read_texts(config, tmp_path)
    known = texts.pairs["train"][:20]
    assert train.bleu(train.recalled(texts, known), known) > 90

    lines = (tmp_path / "translations.tsv").read_text("utf-8").splitlines()
    rows = [line.split("\t") for line in lines]
    assert [tuple(row[:2]) for row in rows] == input_pipeline.load(config, "test")
    written = (tmp_path / "metrics.jsonl").read_text("utf-8").splitlines()
    assert [json.loads(line) for line in written] == result.history
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")
    assert list((tmp_path / "tensorboard").glob("events.*"))


def test_a_resumed_run_equals_the_uninterrupted_one(config, tmp_path):
    config.model.dropout = 0.1
    config.num_steps, config.save_every, config.eval_every = 4, 2, 2
    whole = train.train_and_evaluate(config, tmp_path / "whole")
    config.num_steps = 3  # as if stopped behind a step that is not kept
    train.train_and_evaluate(config, tmp_path / "parts")
    for path in (tmp_path / "parts" / "checkpoints").glob("checkpoint_3"):
        path.rename(tmp_path / "lost")
    config.num_steps = 4
    config.loader = "grain"  # which makes the same batches
    resumed = train.train_and_evaluate(config, tmp_path / "parts")
    assert int(resumed.state.step) == 4
    for one, other in zip(params_of(whole), params_of(resumed), strict=True):
        np.testing.assert_array_equal(one, other)
    assert resumed.history == whole.history
    assert resumed.metrics == whole.metrics

    config.model.embed = 64
    with pytest.raises(ValueError, match=r"is of a run with config\.model .* not .*64"):
        train.train_and_evaluate(config, tmp_path / "parts")


def test_more_steps_are_no_other_run(config, tmp_path):
    check_config(tmp_path, config)
    config.num_steps, config.log_every = 99, 3
    check_config(tmp_path, config)
    config.seed = 5
    message = r"config\.seed 0, not 5. Give that, or another --workdir"
    with pytest.raises(ValueError, match=message):
        check_config(tmp_path, config)


def command(config, workdir, *options):
    """The command line that makes the small config into this one."""
    given = []
    for name, value in small.get_config().items():
        if name != "model" and config[name] != value:
            given.append(f"--config.{name}={config[name]}")
    given += [f"--config.model.{name}={value}" for name, value in config.model.items()]
    path = HERE / "configs" / "small.py"
    main = [sys.executable, str(HERE / "main.py"), f"--config={path}"]
    return [*main, *given, f"--workdir={workdir}", *options]


def test_two_processes_do_what_one_does(config, tmp_path):
    """And what they saved, one goes on with."""
    config.num_steps, config.save_every = 3, 3
    found, said = [], []
    for workdir, options in (("one", ()), ("two", ("--processes=2", "--devices=1"))):
        result = subprocess.run(
            command(config, tmp_path / workdir, *options),
            capture_output=True,
            text=True,
            timeout=500,
        )
        assert result.returncode == 0, result.stderr
        said.append(result.stdout)
        rows = (tmp_path / workdir / "metrics.jsonl").read_text("utf-8").splitlines()
        found.append(losses(map(json.loads, rows)))
    assert "1 processes, 1 devices" in said[0]
    assert "2 processes, 2 devices" in said[1]
    assert found[0].keys() == found[1].keys() == {1, 2, 3}
    for step, loss in found[0].items():
        assert found[1][step] == pytest.approx(loss, rel=1e-5)
    results = [re.findall(r"^BLEU .*$", each, re.M) for each in said]
    assert len(results[0]) == 1
    assert results[0] == results[1]

    config.num_steps = 4
    config.eval_every = config.save_every = 100
    resumed = train.train_and_evaluate(config, tmp_path / "two")
    assert losses(resumed.history).keys() == {1, 2, 3, 4}


def test_a_mesh_that_does_not_fit(config):
    config.mesh = (("data", 3), ("model", -1))
    with pytest.raises(ValueError, match=r"data=3, model=-1, does not fit 4 devices"):
        layout.make_mesh(config, jax.devices() * 4)


def test_the_schedule_rises_and_falls(config):
    config.warmup_steps, config.learning_rate = 10, 0.5
    rate = schedule(config)
    assert float(rate(0)) == pytest.approx(0.05)
    assert float(rate(9)) == pytest.approx(0.5)
    assert float(rate(39)) == pytest.approx(0.25)


def test_the_full_model_and_its_plan():
    config = default.get_config()
    _, state = abstract_state(config, config.vocab_size)
    sizes = [np.prod(x.shape) for x in jax.tree.leaves(state.params)]
    # "big" of the paper has 213 million, with a vocabulary of 37,000, and biases.
    assert sum(sizes) == pytest.approx(209e6, rel=0.01)
    mesh = jax.sharding.AbstractMesh((64,), ("data",))
    plan = spmd.plan(state.params, mesh, layout.rules(config))
    assert not plan.uneven
    assert "total: 797." in str(plan), str(plan).splitlines()[-3:]
    # Over the same devices, with parameters split too (FSDP).
    config.rules = (("batch", "data"), ("embed", "data"))
    split = spmd.plan(state.params, mesh, layout.rules(config))
    assert not split.uneven
    assert str(split) != str(plan)


def test_a_step_of_the_full_config_with_tiny_widths(config):
    full = default.get_config()
    full.model.embed, full.model.heads, full.model.mlp = 16, 2, 32
    full.max_length, full.tokens_per_batch, full.seed = 16, 32, 1
    assert (full.dtype, full.model.layers, full.pack) == ("bfloat16", 6, True)
    program = Program(full, 50, layout.make_mesh(full))
    state = program.create()
    before = [np.asarray(x) for x in jax.tree.leaves(state.params)]
    assert {x.dtype for x in before} == {np.dtype("float32")}
    rng = np.random.default_rng(0)
    starts = np.arange(0, 41, 4)
    side = rng.integers(2, 50, 40).astype(np.int32)
    corpus = input_pipeline.Corpus((side, side), (starts, starts), 0)
    batches = input_pipeline.training_batches(corpus, full, 0, program.multiple)
    state, sums = program.train_step(state, program.put(next(batches)))
    assert np.isfinite(float(sums["loss"]))
    assert float(sums["tokens"]) == 32
    after = [np.asarray(x) for x in jax.tree.leaves(state.params)]
    assert all(np.isfinite(x).all() for x in after)
    assert any((a != b).any() for a, b in zip(before, after, strict=True))


def test_a_line_that_was_not_written_whole_is_left_out(tmp_path):
    path = tmp_path / "metrics.jsonl"
    whole = [{"step": 2, "loss": 0.5}, {"step": 4, "loss": 0.25}]
    text = "".join(json.dumps(row) + "\n" for row in whole)
    path.write_text(text + '{"step": 6, "lo')
    with Journal(tmp_path, 4, 8) as journal:
        assert journal.history == whole
        journal.write(6, {"loss": 0.125})
    lines = path.read_text("utf-8").splitlines()
    assert [json.loads(line) for line in lines] == [*whole, {"step": 6, "loss": 0.125}]
