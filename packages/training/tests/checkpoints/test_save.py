"""Checkpoints as files: names, order, keeping, overwriting, restoring."""

import os
import tracemalloc
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batiste import serialization
from batiste.core import freeze
from batiste.training import checkpoints, train_state
from batiste.training.errors import InvalidCheckpointError

DATA = Path(__file__).with_name("data")
TX = optax.adam(0.5)
TREE = {"a": np.arange(3), "b": {"c": np.float32(0.5), "name": "dense"}}


def names(folder):
    return sorted(os.listdir(folder))


def make_state():
    params = freeze(
        {
            "dense": {
                "kernel": jnp.arange(6.0, dtype=jnp.float32).reshape(2, 3),
                "bias": jnp.array([1, 2, 3], jnp.bfloat16),
            }
        }
    )
    return train_state.TrainState.create(apply_fn=None, params=params, tx=TX)


def target_of_recorded():
    return {
        "model": make_state(),
        "config": {"dimensions": np.array([0, 0]), "name": ""},
        "data": [np.zeros(2, np.float32), (0, 0.0)],
        "none": None,
        "empty": {},
    }


def expected_of_recorded():
    state = make_state()
    state = state.apply_gradients(grads=jax.tree.map(jnp.ones_like, state.params))
    return {
        "model": state,
        "config": {"dimensions": np.array([5, 3]), "name": "dense"},
        "data": [np.array([0.5, 0.25], np.float32), (1, 2.5)],
        "none": None,
        "empty": {},
    }


def assert_trees_equal(got: Any, want: Any):
    assert jax.tree.structure(got) == jax.tree.structure(want)
    for g, w in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
        if isinstance(w, str):
            assert g == w
            continue
        assert np.asarray(g).dtype == np.asarray(w).dtype
        np.testing.assert_array_equal(np.asarray(g), np.asarray(w))


def test_a_checkpoint_is_restored_raw_and_to_a_target(tmp_path):
    state = make_state()
    path = checkpoints.save_checkpoint(tmp_path, state, 3)
    assert path == str(tmp_path / "checkpoint_3")
    assert_trees_equal(checkpoints.restore_checkpoint(tmp_path, make_state()), state)
    assert_trees_equal(checkpoints.restore_checkpoint(path, make_state()), state)
    raw = checkpoints.restore_checkpoint(tmp_path, None)
    assert sorted(raw) == ["opt_state", "params", "step"]
    assert type(raw["params"]["dense"]["kernel"]) is np.ndarray


def test_the_file_holds_the_bytes_of_serialization(tmp_path):
    path = checkpoints.save_checkpoint(tmp_path, TREE, 1)
    assert Path(path).read_bytes() == serialization.to_bytes(TREE)


def test_without_checkpoints_the_target_is_returned(tmp_path):
    for folder in (tmp_path, tmp_path / "missing", tmp_path / "checkpoint_3"):
        assert checkpoints.restore_checkpoint(folder, TREE) is TREE
        assert checkpoints.latest_checkpoint(folder) is None
        assert checkpoints.available_steps(folder) == []


@pytest.mark.parametrize("step", [0, 3, 99])
def test_a_missing_step_is_an_error_that_lists_the_others(tmp_path, step):
    with pytest.raises(ValueError, match=rf"not found: .*checkpoint_{step}\. .*none"):
        checkpoints.restore_checkpoint(tmp_path, TREE, step=step)
    checkpoints.save_checkpoint(tmp_path, TREE, 5)
    with pytest.raises(ValueError, match="There are checkpoint_5 in that folder"):
        checkpoints.restore_checkpoint(tmp_path, TREE, step=step)


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


def test_damaged_and_misfit_files_are_errors_that_name_the_file(tmp_path):
    path = Path(checkpoints.save_checkpoint(tmp_path, TREE, 1))
    with pytest.raises(ValueError, match="other") as caught:
        checkpoints.restore_checkpoint(tmp_path, {"other": 1})
    assert str(path) in caught.value.__notes__[0]
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(ValueError, match="end|offset") as caught:
        checkpoints.restore_checkpoint(tmp_path, None)
    assert str(path) in caught.value.__notes__[0]


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


def test_checkpoints_that_flax_wrote_are_restored():
    folder = DATA / "flax_msgpack"
    assert checkpoints.available_steps(folder, step_type=float) == [3, 7.5]
    for step in (3, 7.5, None):
        restored = checkpoints.restore_checkpoint(folder, target_of_recorded(), step)
        assert_trees_equal(restored, expected_of_recorded())
        assert type(restored["model"].params) is type(make_state().params)


def test_a_checkpoint_has_the_bytes_that_flax_wrote(tmp_path):
    path = checkpoints.save_checkpoint(tmp_path, expected_of_recorded(), 3)
    recorded = (DATA / "flax_msgpack" / "checkpoint_3").read_bytes()
    assert Path(path).read_bytes() == recorded


class Point(NamedTuple):
    x: Any
    y: Any


leaves = st.one_of(
    st.integers(-(2**31), 2**31 - 1),
    st.floats(allow_nan=False),
    st.text(max_size=5),
    st.booleans(),
    st.none(),
    st.lists(st.integers(0, 255), max_size=4).map(lambda x: np.array(x, np.uint8)),
)
trees = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.dictionaries(st.text("abc/_.", max_size=3), inner, max_size=3),
        st.lists(inner, max_size=3),
        st.tuples(inner, inner),
        st.builds(Point, inner, inner),
    ),
    max_leaves=8,
)


@settings(max_examples=40, deadline=None)
@given(tree=trees, step=st.integers(-5, 5))
def test_any_tree_comes_back(tmp_path_factory, tree, step):
    folder = tmp_path_factory.mktemp("ckpt")
    checkpoints.save_checkpoint(folder, tree, step)
    restored = checkpoints.restore_checkpoint(folder, tree)
    assert jax.tree.structure(restored) == jax.tree.structure(tree)
    for got, want in zip(jax.tree.leaves(restored), jax.tree.leaves(tree), strict=True):
        np.testing.assert_array_equal(got, want)


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
            assert not overwrite and step <= steps[-1]
        else:
            steps.append(step)
            found = checkpoints.available_steps(folder)
            assert found[-1] == step
            assert len(found) == len(set(found))
        if steps:
            assert checkpoints.restore_checkpoint(folder, None) == {"s": steps[-1]}
