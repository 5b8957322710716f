"""Arrays beside a checkpoint file, with arrays of one process in their place."""

import os
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from batiste.training import checkpoints
from batiste.training.checkpoints import arrays
from batiste.training.errors import (
    DamagedCheckpointError,
    MPACheckpointingRequiredError,
    MPARestoreDataCorruptedError,
    MPARestoreTargetRequiredError,
    NotACheckpointError,
)


@pytest.fixture(autouse=True)
def every_array_spans_processes(monkeypatch):
    # Really split arrays take several processes, as `test_processes` has them.
    monkeypatch.setattr(
        arrays, "is_multiprocess_array", lambda value: isinstance(value, jax.Array)
    )


@pytest.fixture
def manager():
    pytest.importorskip("tensorstore", reason="needs the extra 'orbax'")
    from jax.experimental.array_serialization import serialization

    return serialization.GlobalAsyncCheckpointManager()


@pytest.fixture
def saved(tmp_path, manager):
    """The path of a checkpoint with two arrays beside it."""
    tree = {"m": sharded(np.arange(16.0)), "inner": {"b": jnp.ones(2)}, "n": 3}
    path = checkpoints.save_checkpoint_multiprocess(
        tmp_path, tree, 1, gda_manager=manager
    )
    manager.wait_until_finished()
    return path


def sharded(values):
    mesh = Mesh(np.array(jax.devices()), ("x",))
    return jax.device_put(values, NamedSharding(mesh, PartitionSpec("x")))


def target():
    return {"m": sharded(np.zeros(16)), "inner": {"b": jnp.zeros(2)}, "n": 0}


def test_arrays_are_taken_out_by_their_paths():
    tree = {"m": jnp.ones(2), "inner": [jnp.zeros(1), 3]}
    state, taken = arrays.split(tree)
    assert sorted(taken) == ["inner/0", "m"]
    assert taken["m"] is tree["m"]
    assert state["inner"]["1"] == 3
    assert not any(isinstance(x, jax.Array) for x in jax.tree.leaves(state))


def test_arrays_come_back_with_the_shardings_of_the_target(saved, manager):
    restored = arrays.restore(manager, saved, target(), 1, False)
    np.testing.assert_array_equal(restored["m"], np.arange(16.0))
    assert restored["m"].sharding == target()["m"].sharding
    np.testing.assert_array_equal(restored["inner"]["b"], np.ones(2))
    assert restored["n"] == 3


def test_a_single_array_is_a_tree(tmp_path, manager):
    path = checkpoints.save_checkpoint_multiprocess(
        tmp_path, jnp.arange(3), 1, gda_manager=manager
    )
    manager.wait_until_finished()
    restored = arrays.restore(manager, path, jnp.zeros(3, int), 1, False)
    np.testing.assert_array_equal(restored, np.arange(3))


def test_arrays_without_a_counterpart_are_an_error_or_left_out(saved, manager):
    less = {"m": target()["m"], "inner": {"b": None}, "n": 0}
    with pytest.raises(MPARestoreTargetRequiredError, match='"inner/b"'):
        arrays.restore(manager, saved, less, 1, False)
    restored = arrays.restore(manager, saved, less, 1, True)
    np.testing.assert_array_equal(restored["m"], np.arange(16.0))
    assert restored["n"] == 3


def test_arrays_that_were_not_written_completely_are_an_error(saved, manager):
    assert arrays.are_beside(saved)
    os.remove(os.path.join(f"{saved}_gda", "commit_success.txt"))
    with pytest.raises(MPARestoreDataCorruptedError, match="save was interrupted"):
        arrays.restore(manager, saved, target(), 1, False)


def test_without_a_manager_the_error_says_what_to_pass(saved):
    with pytest.raises(MPACheckpointingRequiredError, match="gda_manager"):
        arrays.restore(None, saved, target(), 1, False)


def test_what_an_earlier_save_left_is_cleared(saved, manager):
    stale = os.path.join(f"{saved}_gda", "stale")
    os.mkdir(stale)
    checkpoints.save_checkpoint_multiprocess(
        os.path.dirname(saved), target(), 1, overwrite=True, gda_manager=manager
    )
    manager.wait_until_finished()
    assert not os.path.exists(stale)


def test_deleting_a_checkpoint_deletes_its_arrays(saved, manager):
    folder = os.path.dirname(saved)
    checkpoints.save_checkpoint_multiprocess(folder, {"n": 4}, 2)
    assert os.listdir(folder) == ["checkpoint_2"]


def test_a_flipped_bit_in_an_array_is_found(saved, manager):
    if not hasattr(os, "setxattr"):
        pytest.skip("needs attributes of files")
    files = [f for f in Path(f"{saved}_gda", "m").rglob("*") if f.is_file()]
    assert files
    for file in files:
        good = file.read_bytes()
        bad = bytearray(good)
        bad[len(bad) // 2] ^= 8
        file.write_bytes(bad)
        with pytest.raises(DamagedCheckpointError, match="_gda"):
            arrays.restore(manager, saved, target(), 1, False)
        file.write_bytes(good)
    restored = arrays.restore(manager, saved, target(), 1, False)
    np.testing.assert_array_equal(restored["m"], np.arange(16.0))


@pytest.mark.parametrize("kind", ["files", "link"])
def test_what_others_have_there_is_not_cleared(tmp_path, manager, kind):
    place = tmp_path / "checkpoint_1_gda"
    (tmp_path / "other").mkdir()
    if kind == "link":
        place.symlink_to(tmp_path / "other")
    else:
        place.mkdir()
        (place / "notes.txt").write_text("x")
    with pytest.raises(NotACheckpointError, match="checkpoint_1_gda"):
        checkpoints.save_checkpoint_multiprocess(
            tmp_path, target(), 1, gda_manager=manager
        )
    assert sorted(os.listdir(tmp_path)) == ["checkpoint_1_gda", "other"]
    assert os.listdir(place) == ([] if kind == "link" else ["notes.txt"])
    # Beside a checkpoint without arrays it is nobody's business.
    checkpoints.save_checkpoint(tmp_path, {"n": 1}, 1)
    assert checkpoints.restore_checkpoint(tmp_path, None) == {"n": 1}
    checkpoints.save_checkpoint(tmp_path, {"n": 2}, 2)
    assert os.path.lexists(place)
