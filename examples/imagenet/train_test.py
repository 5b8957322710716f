import itertools
import json
import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
import steps
import train
from configs import default, small
from jax import numpy as jnp

from batiste.training import checkpoints

HERE = Path(__file__).parent


def a_batch(config, seed=0):
    rng = np.random.default_rng(seed)
    size = (config.batch_size, config.image_size, config.image_size, 3)
    return {
        "image": rng.integers(0, 256, size=size, dtype=np.uint8),
        "label": rng.integers(0, config.num_classes, size=config.batch_size),
    }


def loss_of_step(config, number=3):
    """The mean loss of each of some steps on one batch, and the state after them."""
    program = steps.Program(config, 10, jax.devices()[:1])
    state = program.create(jax.random.key(0))
    batch = program.on_devices(a_batch(config))
    losses = []
    for _ in range(number):
        empty = jax.device_put(steps.Metrics.empty(), program.whole)
        state = program.train_step(state.replace(metrics=empty), batch)
        losses.append(state.metrics.compute()["loss"])
    return losses, state


def assert_same(left, right):
    """Bit for bit."""
    paths = jax.tree_util.tree_leaves_with_path
    for (path, a), (other, b) in zip(paths(left), paths(right), strict=True):
        assert path == other
        np.testing.assert_array_equal(np.asarray(a), np.asarray(b))


def test_one_epoch_decreases_the_loss(tiny, tmp_path, digits):
    tiny.update(num_epochs=1, warmup_epochs=0.0, learning_rate=0.8)
    images, labels = digits[0].images[:160, ::2, ::2], digits[0].labels[:160]
    x = steps.normalize(tiny, images)

    @jax.jit
    def loss(state):
        variables = {"params": state.params, "batch_stats": state.batch_stats}
        logits, _ = state.apply_fn(variables, x, train=True, mutable=["batch_stats"])
        return -jax.nn.log_softmax(logits)[np.arange(160), labels].mean()

    fresh = steps.create_state(tiny, 5, jax.random.key(tiny.seed))
    state, history = train.train_and_evaluate(tiny, tmp_path)
    assert loss(state) < loss(fresh) - 0.05
    assert [row["step"] for row in history] == [5]
    assert history[0]["learning_rate"] == 0
    assert json.loads((tmp_path / "history.json").read_text()) == history
    assert (tmp_path / "curves.png").read_bytes()[:4] == b"\x89PNG"
    assert list(tmp_path.glob("events.out.tfevents.*"))


def test_a_resumed_run_equals_the_uninterrupted_one(tiny, tmp_path, monkeypatch):
    whole, whole_history = train.train_and_evaluate(tiny, tmp_path / "whole")

    # Stopped before the first epoch is over, and in the middle of the second, each time
    # some steps after a checkpoint.
    real = train.prefetch
    for number, last, epochs in ((4, 3, 0), (5, 6, 1)):

        def stopped(make, steps, loader, number=number):
            yield from itertools.islice(real(make, steps, loader), number)
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(train, "prefetch", stopped)
            with pytest.raises(KeyboardInterrupt):
                train.train_and_evaluate(tiny, tmp_path / "parts")
        found = checkpoints.latest_checkpoint(tmp_path / "parts/checkpoints")
        assert Path(found).name == f"checkpoint_{last}"
        path = tmp_path / "parts/history.json"
        assert len(json.loads(path.read_text()) if path.exists() else []) == epochs
    resumed, history = train.train_and_evaluate(tiny, tmp_path / "parts")

    assert int(resumed.step) == int(whole.step) == 10
    assert_same(resumed, whole)
    assert history == whole_history


def test_a_finished_run_is_not_run_again(tiny, tmp_path):
    state, history = train.train_and_evaluate(tiny, tmp_path)
    again, same = train.train_and_evaluate(tiny, tmp_path)
    assert_same(again, state)
    assert same == history


def test_the_seed_decides_and_not_the_loader(tiny, tmp_path):
    tiny.num_epochs = 1
    one, _ = train.train_and_evaluate(tiny, tmp_path / "a")
    tiny.loader = "grain"
    two, _ = train.train_and_evaluate(tiny, tmp_path / "b")
    assert_same(one, two)
    tiny.seed = 1
    other, _ = train.train_and_evaluate(tiny, tmp_path / "c")
    kernel = "stem"
    assert (other.params[kernel]["kernel"] != one.params[kernel]["kernel"]).any()


@pytest.mark.parametrize(
    ("dtype", "tolerance"), [("bfloat16", 2e-2), ("float16", 2e-3)]
)
def test_half_precision_agrees_with_float32(dtype, tolerance):
    """Losses of three steps agree to 2 % and 0.2 %; parameters stay float32."""
    config = small.get_config()
    config.update(num_filters=8, batch_size=16, image_size=16, dtype="float32")
    exact, _ = loss_of_step(config)
    config.dtype = dtype
    half, state = loss_of_step(config)
    np.testing.assert_allclose(half, exact, rtol=tolerance)
    assert half != exact
    arrays = (state.params, state.batch_stats, state.opt_state)
    floating = [
        a for a in jax.tree.leaves(arrays) if jnp.issubdtype(a.dtype, jnp.floating)
    ]
    assert {a.dtype for a in floating} == {jnp.dtype("float32")}
    assert (state.dynamic_scale is not None) == (dtype == "float16")


def test_a_step_that_overflows_changes_only_the_loss_scale():
    config = small.get_config()
    config.update(num_filters=4, batch_size=8, image_size=16, dtype="float16")
    program = steps.Program(config, 10, jax.devices()[:1])
    state = program.create(jax.random.key(0))
    huge = state.dynamic_scale.replace(scale=jnp.float32(2.0**30))
    state = state.replace(dynamic_scale=huge)
    before = jax.tree.map(np.array, state)
    after = program.train_step(state, program.on_devices(a_batch(config)))
    assert int(after.step) == 1
    assert float(after.dynamic_scale.scale) == 2.0**29
    for name in ("params", "opt_state", "batch_stats"):
        assert_same(getattr(after, name), getattr(before, name))
    # At last the scale fits, and the step is made.
    for _ in range(20):
        after = program.train_step(after, program.on_devices(a_batch(config)))
    assert 1 < float(after.dynamic_scale.scale) < 2.0**29
    assert (after.params["head"]["kernel"] != before.params["head"]["kernel"]).any()


def test_weight_decay_shrinks_kernels_alone():
    config = small.get_config()
    config.update(weight_decay=0.1, momentum=0.0, warmup_epochs=0.0, batch_size=256)
    tx = steps.make_optimizer(config, 10)
    params = {"kernel": jnp.ones((2, 3)), "bias": jnp.ones(3)}
    zero = jax.tree.map(jnp.zeros_like, params)
    updates, _ = tx.update(zero, tx.init(params), params)
    np.testing.assert_allclose(updates["kernel"], -0.4 * 0.1 * np.ones((2, 3)))
    np.testing.assert_array_equal(updates["bias"], np.zeros(3))


def test_the_learning_rate_rises_along_a_line_and_falls_along_a_cosine():
    config = default.get_config()
    rate = steps.learning_rate_schedule(config, 100)
    peak = 0.1 * 1024 / 256
    assert rate(0) == 0
    assert rate(250) == pytest.approx(peak / 2)
    assert rate(500) == pytest.approx(peak)
    assert rate(500 + 8500 // 2) == pytest.approx(peak / 2)
    assert rate(9000) == pytest.approx(0, abs=1e-6)


def test_smoothed_labels_are_in_the_loss(tiny):
    program = steps.Program(tiny, 10, jax.devices()[:1])
    batch = a_batch(tiny)
    state = program.create(jax.random.key(0))
    logits, _ = state.apply_fn(
        {"params": state.params, "batch_stats": state.batch_stats},
        steps.normalize(tiny, batch["image"]),
        train=True,
        mutable=["batch_stats"],
    )
    log_p = jax.nn.log_softmax(logits)
    right = log_p[np.arange(len(logits)), batch["label"]]
    expected = -(0.9 * right + 0.1 * log_p.mean(-1)).mean()
    found = program.train_step(state, program.on_devices(batch)).metrics.compute()
    assert found["loss"] == pytest.approx(float(expected), rel=1e-4)


def test_one_step_of_the_full_task_at_tiny_widths():
    config = default.get_config()
    config.update(num_filters=2, batch_size=2, image_size=32, num_classes=7)
    program = steps.Program(config, 10, jax.devices()[:1])
    state = program.create(jax.random.key(0))
    full = steps.abstract_state(default.get_config(), 10)
    assert jax.tree.structure(state.params) == jax.tree.structure(full.params)
    before = jax.tree.map(np.array, state.params)
    for seed in range(2):  # The learning rate of the very first step is 0.
        state = program.train_step(state, program.on_devices(a_batch(config, seed)))
    assert np.isfinite(state.metrics.compute()["loss"])
    assert (state.params["stem"]["kernel"] != before["stem"]["kernel"]).any()


def test_batches_that_do_not_fit(tiny, tmp_path):
    tiny.batch_size = 1000
    with pytest.raises(ValueError, match="batch_size is 1000, more than the 160 exam"):
        train.train_and_evaluate(tiny, tmp_path)
    tiny.batch_size = 9
    with pytest.raises(ValueError, match="9, which 2 devices cannot share evenly"):
        steps.Program(tiny, 10, 2 * jax.devices()[:1])


def run_main(workdir, *flags):
    """Starts the small task, two short epochs of a tiny model."""
    command = [sys.executable, HERE / "main.py", f"--config={HERE}/configs/small.py"]
    command += [f"--workdir={workdir}", "--config.num_filters=2", "--devices=2"]
    command += ["--config.num_epochs=2", "--config.batch_size=1436", "--config.seed=3"]
    command += ["--config.image_size=8", "--config.dtype=float32"]
    command += ["--config.learning_rate=0.05", *flags]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def finished(process):
    output, _ = process.communicate(timeout=900)
    assert process.returncode == 0, output
    return output


def test_processes_and_devices_do_not_change_the_result(tmp_path):
    """One device, and two processes of two: the same statistics and losses."""
    output = finished(run_main(tmp_path / "one", "--devices=1"))
    found = re.search(r"Test accuracy: (.*) %\nA linear classifier.*: (.*) %", output)
    assert 0 <= float(found[1]) <= 100
    assert 20 < float(found[2]) < 60

    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        address = f"localhost:{probe.getsockname()[1]}"
    join = [f"--coordinator={address}", "--num_processes=2"]
    running = [
        run_main(tmp_path / "four", *join, f"--process_id={index}") for index in (0, 1)
    ]
    outputs = [finished(process) for process in running]
    assert "Test accuracy" in outputs[0]
    assert "Test accuracy" not in outputs[1]

    one, four = (
        json.loads((tmp_path / name / "history.json").read_text())
        for name in ("one", "four")
    )
    for left, right in zip(one, four, strict=True):
        assert left == pytest.approx(right, rel=1e-2, abs=1e-2)
    one, four = (
        checkpoints.restore_checkpoint(tmp_path / name / "checkpoints", None)
        for name in ("one", "four")
    )
    found = jax.tree.map(np.asarray, one["batch_stats"])
    assert len(jax.tree.leaves(found)) == 2 * 20  # of means and variances
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-2, atol=1e-3),
        found,
        four["batch_stats"],
    )


def test_the_plan_is_printed(tmp_path):
    command = [sys.executable, HERE / "main.py", "--plan=8"]
    output = subprocess.run(
        command, check=True, capture_output=True, text=True, cwd=HERE, env=os.environ
    ).stdout
    assert "stem/kernel" in output


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
