"""Saving checkpoints as files: bytes, order, keeping, overwriting."""

import os
import tracemalloc
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batiste import serialization
from batiste.training import checkpoints
from batiste.training.errors import InvalidCheckpointError

DATA = Path(__file__).with_name("data")
TREE = {"a": np.arange(3), "b": {"c": np.float32(0.5), "name": "dense"}}


def names(folder):
    return sorted(os.listdir(folder))


def test_the_file_holds_the_bytes_of_serialization(tmp_path):
    path = checkpoints.save_checkpoint(tmp_path, TREE, 1)
    assert Path(path).read_bytes() == serialization.to_bytes(TREE)


def test_keep_deletes_the_oldest(tmp_path):
    for step in range(6):
        checkpoints.save_checkpoint(tmp_path, TREE, step, keep=2)
    assert checkpoints.available_steps(tmp_path) == [4, 5]
    checkpoints.save_checkpoint(tmp_path, TREE, 6)
    assert checkpoints.available_steps(tmp_path) == [6]


@pytest.mark.parametrize(
    ("steps", "keep", "every", "left"),
    [
        (range(6), 1, 2, [0, 2, 4, 5]),
        (range(6), 3, 2, [0, 2, 3, 4, 5]),
        (range(1, 10), 2, 3, [1, 4, 7, 8, 9]),
        ([-6, -4, -2, 0, 2, 4, 6, 8], 1, 4, [-6, -2, 2, 6, 8]),
        ([3, 5, 8, 9, 14, 20], 1, 5, [3, 8, 14, 20]),
        ([0.5, 0.75, 1.5, 1.75], 1, 1, [0.5, 1.5, 1.75]),
    ],
)
def test_keep_every_n_steps_keeps_checkpoints_that_far_apart(
    tmp_path, steps, keep, every, left
):
    for step in steps:
        checkpoints.save_checkpoint(
            tmp_path, TREE, step, keep=keep, keep_every_n_steps=every
        )
    assert checkpoints.available_steps(tmp_path, step_type=float) == left


@pytest.mark.parametrize("step", [2, 5])
def test_an_older_or_equal_step_needs_overwrite(tmp_path, step):
    for done in (1, 5):
        checkpoints.save_checkpoint(tmp_path, TREE, done, keep=9)
    with pytest.raises(InvalidCheckpointError, match=r"overwrite=True") as caught:
        checkpoints.save_checkpoint(tmp_path, TREE, step, keep=9)
    assert f"checkpoint_{step}" in str(caught.value)
    assert checkpoints.available_steps(tmp_path) == [1, 5]
    checkpoints.save_checkpoint(tmp_path, {"new": 1}, step, keep=9, overwrite=True)
    assert checkpoints.available_steps(tmp_path) == [1, step]
    assert checkpoints.restore_checkpoint(tmp_path, None) == {"new": 1}


def test_steps_are_numbers_of_any_kind_in_their_order(tmp_path):
    steps = [-1.0, 0.25, 0.5, 1, np.int64(2), jnp.float32(2.5), 1e5, 1e16]
    for step in steps:
        checkpoints.save_checkpoint(tmp_path, TREE, step, keep=99)
    found = checkpoints.available_steps(tmp_path, step_type=float)
    assert found == [float(step) for step in steps]
    assert checkpoints.latest_checkpoint(tmp_path) == str(tmp_path / "checkpoint_1e+16")
    checkpoints.restore_checkpoint(tmp_path, None, step=0.25)
    with pytest.raises(ValueError, match=r"step 0\.25, which is no integer"):
        checkpoints.available_steps(tmp_path)


@pytest.mark.parametrize("step", [float("nan"), float("inf"), "best", None])
def test_a_step_that_is_no_number_is_an_error(tmp_path, step):
    with pytest.raises(ValueError, match="needs a finite number"):
        checkpoints.save_checkpoint(tmp_path, TREE, step)


@pytest.mark.parametrize("keep", [0, -1])
def test_keep_below_one_is_an_error(tmp_path, keep):
    with pytest.raises(ValueError, match="at least 1 checkpoint"):
        checkpoints.save_checkpoint(tmp_path, TREE, 1, keep=keep)


def test_prefixes_are_kept_apart(tmp_path):
    for prefix in ("checkpoint_", "run_1_", "run_1_step_", "", "sub/ckpt_"):
        for step in (1, 2):
            checkpoints.save_checkpoint(tmp_path, {"p": prefix}, step, prefix=prefix)
    assert names(tmp_path) == ["2", "checkpoint_2", "run_1_2", "run_1_step_2", "sub"]
    assert names(tmp_path / "sub") == ["ckpt_2"]
    for prefix in ("checkpoint_", "run_1_", "run_1_step_", "", "sub/ckpt_"):
        assert checkpoints.available_steps(tmp_path, prefix) == [2]
        restored = checkpoints.restore_checkpoint(tmp_path, None, prefix=prefix)
        assert restored == {"p": prefix}


def test_other_files_are_no_checkpoints(tmp_path):
    for name in ("checkpoint_best", "checkpoint_1_old", "checkpoint_", "x_7"):
        (tmp_path / name).write_text("x")
    assert checkpoints.latest_checkpoint(tmp_path) is None
    checkpoints.save_checkpoint(tmp_path, TREE, 2)
    assert len(names(tmp_path)) == 5


def test_a_folder_with_the_name_of_a_file_is_an_error(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(OSError, match="file"):
        checkpoints.save_checkpoint(tmp_path / "file", TREE, 1)


def test_a_single_array_is_saved_as_it_is(tmp_path):
    checkpoints.save_checkpoint(tmp_path, jnp.arange(10), 0)
    np.testing.assert_array_equal(
        checkpoints.restore_checkpoint(tmp_path, None), np.arange(10)
    )


def test_saving_builds_no_message_in_memory(tmp_path):
    target = {f"layer{i}": np.ones((1024, 1024), np.float32) for i in range(16)}
    tracemalloc.start()
    try:
        path = checkpoints.save_checkpoint(tmp_path, target, 1)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert Path(path).stat().st_size > 64 * 2**20
    assert peak < 8 * 2**20


def test_an_unserializable_target_leaves_no_trace(tmp_path):
    checkpoints.save_checkpoint(tmp_path, TREE, 1)
    with pytest.raises(TypeError, match="object"):
        checkpoints.save_checkpoint(tmp_path, {"x": object()}, 2)
    assert names(tmp_path) == ["checkpoint_1"]


def test_a_sharded_array_is_saved_whole_by_one_process(tmp_path):
    devices = jax.devices()
    mesh = jax.sharding.Mesh(np.array(devices), ("x",))
    spec = jax.sharding.PartitionSpec("x")
    array = jax.device_put(
        np.arange(2 * len(devices)), jax.sharding.NamedSharding(mesh, spec)
    )
    checkpoints.save_checkpoint_multiprocess(tmp_path, {"m": array}, 1)
    restored = checkpoints.restore_checkpoint(tmp_path, {"m": array})
    np.testing.assert_array_equal(restored["m"], array)


def test_a_checkpoint_has_the_bytes_that_flax_wrote(tmp_path, recorded):
    path = checkpoints.save_checkpoint(tmp_path, recorded, 3)
    written = (DATA / "flax_msgpack" / "checkpoint_3").read_bytes()
    assert Path(path).read_bytes() == written


@settings(max_examples=25, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(-3, 9), st.integers(1, 3), st.booleans(), st.booleans()),
        max_size=8,
    )
)
def test_the_newest_is_always_there_whatever_is_saved(tmp_path_factory, saves):
    folder = tmp_path_factory.mktemp("ckpt")
    steps = []
    for step, keep, overwrite, every in saves:
        try:
            checkpoints.save_checkpoint(
                folder,
                {"s": step},
                step,
                keep=keep,
                overwrite=overwrite,
                keep_every_n_steps=2 if every else None,
            )
        except InvalidCheckpointError:
            assert not overwrite
            assert step <= steps[-1]
        else:
            steps.append(step)
            found = checkpoints.available_steps(folder)
            assert found[-1] == step
            assert len(found) == len(set(found))
        if steps:
            assert checkpoints.restore_checkpoint(folder, None) == {"s": steps[-1]}
