"""Runs: learning, going on, meshes of eight devices; and the full task, planned."""

from __future__ import annotations

import json
import math
import os
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
from journal import Journal
from program import Program, abstract_state

from batiste import spmd

HERE = Path(__file__).resolve().parent


def params_of(result):
    return [np.asarray(x) for x in jax.tree.leaves(result.state.params)]


def test_it_learns_and_writes_what_the_readme_says(config, tmp_path):
    config.num_steps, config.log_every, config.eval_every = 120, 20, 120
    result = train.train_and_evaluate(config, tmp_path, jax.devices()[:1])
    found = {r["step"]: r["train_loss"] for r in result.history if "train_loss" in r}
    assert found[120] < found[20] - 0.8
    metrics = result.metrics
    assert metrics["perplexity"] == pytest.approx(math.exp(metrics["test_loss"]))
    # Of pieces that do not depend on what is before, or are all alike.
    pieces, texts = train.read_texts(config, tmp_path)
    counts = np.bincount(texts["train"].tokens, minlength=pieces.vocab_size)
    shares = counts[counts > 0] / counts.sum()
    alone = math.exp(-(shares * np.log(shares)).sum())
    assert metrics["perplexity"] < 0.6 * alone < alone < pieces.vocab_size
    assert metrics["3gram_perplexity"] < metrics["2gram_perplexity"] < 0.6 * alone
    words = metrics["word_perplexity"]
    assert words > metrics["perplexity"]
    test = texts["test"]
    bits = metrics["bits_per_character"] * test.characters
    assert bits == pytest.approx(math.log2(words) * test.words)

    assert (tmp_path / "samples.txt").read_text("utf-8").splitlines() == result.samples
    assert all(text.startswith(config.prompt) for text in result.samples)
    assert len(result.samples) == 2
    written = (tmp_path / "metrics.jsonl").read_text("utf-8").splitlines()
    assert [json.loads(line) for line in written] == result.history
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")
    assert list((tmp_path / "tensorboard").glob("events.*"))


def test_a_resumed_run_equals_the_uninterrupted_one(config, tmp_path):
    config.model.dropout = 0.1
    config.num_steps, config.save_every, config.eval_every = 4, 2, 2
    config.mesh = (("data", 2), ("tensor", 1))
    devices = jax.devices()[:2]
    whole = train.train_and_evaluate(config, tmp_path / "whole", devices)
    config.num_steps = 2
    train.train_and_evaluate(config, tmp_path / "parts", devices)
    config.num_steps = 4
    config.loader = "grain"  # which makes the same batches
    resumed = train.train_and_evaluate(config, tmp_path / "parts", devices)
    for one, other in zip(params_of(whole), params_of(resumed), strict=True):
        np.testing.assert_array_equal(one, other)
    assert resumed.history == whole.history
    assert resumed.metrics == whole.metrics
    assert resumed.samples == whole.samples

    config.model.embed = 64
    with pytest.raises(ValueError, match=r"is of a run with config\.model .* not .*64"):
        train.train_and_evaluate(config, tmp_path / "parts", devices)


MESHES = {
    "one device": ((("data", 1), ("tensor", 1)), 1),
    "fsdp": ((("data", 8), ("tensor", 1)), 8),
    "tensor": ((("data", 1), ("tensor", 8)), 8),
    "both": ((("data", 4), ("tensor", 2)), 8),
}


@pytest.fixture
def corpus(config, tmp_path):
    pieces, texts = train.read_texts(config, tmp_path)
    return pieces, texts["train"]


def test_losses_are_the_same_on_all_meshes(config, corpus):
    pieces, texts = corpus
    found = {}
    for name, (mesh, count) in MESHES.items():
        config.mesh = mesh
        devices = jax.devices()[:count]
        assert len(devices) == count
        program = Program(config, pieces.vocab_size, layout.make_mesh(config, devices))
        state = program.create()
        batches = input_pipeline.training_batches(texts, config, 0, 8)
        losses = []
        for _ in range(3):
            state, sums = program.train_step(state, program.put(next(batches)))
            losses.append(float(sums["loss"]) / float(sums["tokens"]))
        found[name] = losses
        sizes = dict(mesh)
        kernel = state.params["block_0"]["mlp"]["up"]["kernel"].value
        wanted = (32 // sizes["data"], 64 // sizes["tensor"])
        assert kernel.addressable_shards[0].data.shape == wanted, name
        table = state.params["embedding"]["embedding"].value
        wanted = (table.shape[0] // sizes["tensor"], 32 // sizes["data"])
        assert table.addressable_shards[0].data.shape == wanted, name
    assert len(set(found["one device"])) == 3
    for name, losses in found.items():
        np.testing.assert_allclose(losses, found["one device"], rtol=2e-5, err_msg=name)


def test_two_processes_do_what_one_does(config, tmp_path):
    config.num_steps, config.ngram_texts = 2, 20
    config.mesh = (("data", 2), ("tensor", 1))
    alone = train.train_and_evaluate(config, tmp_path / "one", jax.devices()[:2])
    given = [
        f"--config.{name}={config[name]}"
        for name, value in small.get_config().items()
        if name != "model" and config[name] != value
    ]
    given += [f"--config.model.{name}={value}" for name, value in config.model.items()]
    command = [sys.executable, str(HERE / "main.py")]
    command += [f"--config={HERE / 'configs' / 'small.py'}", *given]
    command += [f"--workdir={tmp_path / 'two'}", "--processes=2", "--devices=1"]
    environment = {**os.environ, "XLA_FLAGS": ""}
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=500, env=environment
    )
    assert done.returncode == 0, done.stderr
    assert "2 devices: data=2, tensor=1" in done.stdout
    written = (tmp_path / "two" / "metrics.jsonl").read_text("utf-8").splitlines()
    rows = [json.loads(line) for line in written]
    assert len(rows) == len(alone.history) == 3
    for row, wanted in zip(rows, alone.history, strict=True):
        assert row == pytest.approx(wanted, rel=1e-4)
    names = ("", "2gram_", "3gram_")
    ours, two, three = (f"{alone.metrics[n + 'perplexity']:.2f}" for n in names)
    text = f"perplexity of a piece {ours}; of 2-grams {two}, 3-grams {three}"
    assert text in done.stdout.splitlines()
    samples = (tmp_path / "two" / "samples.txt").read_text("utf-8").splitlines()
    assert samples == alone.samples


def test_a_mesh_that_does_not_fit(config):
    config.mesh = (("data", 3), ("tensor", -1))
    with pytest.raises(ValueError, match=r"data=3, tensor=-1, does not fit 8 devices"):
        layout.make_mesh(config)


def test_the_full_model_and_its_plan():
    config = default.get_config()
    _, state = abstract_state(config, config.vocab_size)
    sizes = [math.prod(x.shape) for x in jax.tree.leaves(state.params)]
    assert sum(sizes) == pytest.approx(34.3e6, rel=0.01)
    mesh = jax.sharding.AbstractMesh((8, 4), ("data", "tensor"))
    plan = spmd.plan(state.params, mesh, layout.rules(config))
    assert not plan.uneven
    text = str(plan)
    assert "block_5/mlp/up/kernel" in text
    line = next(x for x in text.splitlines() if "block_5/mlp/up/kernel" in x)
    assert "data, tensor" in line
    assert " 32 " in line  # each device has a part of its own


def test_a_step_of_the_full_config_with_tiny_widths():
    full = default.get_config()
    full.model.embed, full.model.heads, full.model.mlp = 16, 2, 32
    full.max_length, full.tokens_per_batch = 16, 128
    full.mesh = (("data", -1), ("tensor", 2))
    assert (full.dtype, full.model.layers) == ("bfloat16", 6)
    program = Program(full, 50, layout.make_mesh(full))
    state = program.create()
    before = [np.asarray(x) for x in jax.tree.leaves(state.params)]
    assert {x.dtype for x in before} == {np.dtype("float32")}
    tokens = np.random.default_rng(0).integers(2, 50, 160).astype(np.int32)
    corpus = input_pipeline.Corpus(tokens, np.arange(0, 161, 4))
    batches = input_pipeline.training_batches(corpus, full, 0, program.multiple)
    state, sums = program.train_step(state, program.put(next(batches)))
    assert np.isfinite(float(sums["loss"]))
    assert float(sums["tokens"]) == 128
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
