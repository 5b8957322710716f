"""Finding and restoring checkpoints: the newest, one of a step, any tree."""

from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batiste.training import checkpoints
from batiste.training.checkpoints import restore

DATA = Path(__file__).with_name("data")
TREE = {"a": np.arange(3), "b": {"c": np.float32(0.5), "name": "dense"}}


def test_a_checkpoint_is_restored_raw_and_to_a_target(
    tmp_path, make_state, assert_trees_equal
):
    state = make_state()
    path = checkpoints.save_checkpoint(tmp_path, state, 3)
    assert path == str(tmp_path / "checkpoint_3")
    assert_trees_equal(checkpoints.restore_checkpoint(tmp_path, make_state()), state)
    assert_trees_equal(checkpoints.restore_checkpoint(path, make_state()), state)
    raw = checkpoints.restore_checkpoint(tmp_path, None)
    assert sorted(raw) == ["opt_state", "params", "step"]
    assert type(raw["params"]["dense"]["kernel"]) is np.ndarray


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


def test_checkpoints_that_flax_wrote_are_restored(recorded, target, assert_trees_equal):
    folder = DATA / "flax_msgpack"
    assert checkpoints.available_steps(folder, step_type=float) == [3, 7.5]
    for step in (3, 7.5, None):
        restored = checkpoints.restore_checkpoint(folder, target, step)
        assert_trees_equal(restored, recorded)
        assert type(restored["model"].params) is type(target["model"].params)


def test_a_checkpoint_that_is_deleted_meanwhile_gives_way_to_the_next(
    tmp_path, monkeypatch
):
    checkpoints.save_checkpoint(tmp_path, {"s": 1}, 1)
    read = restore.checkpoint_msgpack.restore_file

    def read_after_a_save(path, target):
        # What another process may do between finding a checkpoint and opening it.
        monkeypatch.setattr(restore.checkpoint_msgpack, "restore_file", read)
        checkpoints.save_checkpoint(tmp_path, {"s": 2}, 2)
        return read(path, target)

    monkeypatch.setattr(restore.checkpoint_msgpack, "restore_file", read_after_a_save)
    assert checkpoints.restore_checkpoint(tmp_path, None) == {"s": 2}


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
