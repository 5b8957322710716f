"""Checkpoints in a store of objects, which have a scheme: here in memory."""

import fsspec
import numpy as np
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from batiste.training import checkpoints, errors
from batiste.training.checkpoints import AsyncManager

TREE = {"w": np.arange(5.0), "step": 3}
FOLDER = "s3://bucket/run"


class Store(MemoryFileSystem):
    """A store of objects, in the memory of this process."""

    protocol = ("s3",)

    @classmethod
    def _strip_protocol(cls, path):
        return super()._strip_protocol(path.removeprefix("s3:/"))


@pytest.fixture
def names(monkeypatch):
    """Gives the names in the folder."""
    # One of the schemes that etils asks fsspec for, and that no other test uses.
    fsspec.register_implementation("s3", Store, clobber=True)
    monkeypatch.setattr(Store, "store", {})
    monkeypatch.setattr(Store, "pseudo_dirs", [""])
    return lambda: sorted(
        name.rpartition("/")[2] for name in Store().ls(FOLDER, detail=False)
    )


def same(tree, other=TREE):
    np.testing.assert_array_equal(tree["w"], other["w"])
    assert tree["step"] == other["step"]


def test_saved_listed_restored_and_removed(names):
    folder = FOLDER
    for step in range(1, 6):
        path = checkpoints.save_checkpoint(folder, {**TREE, "step": step}, step, keep=2)
        assert path == f"{folder}/checkpoint_{step}"
    assert names() == ["checkpoint_4", "checkpoint_5"]
    assert checkpoints.latest_checkpoint(folder) == f"{folder}/checkpoint_5"
    assert checkpoints.available_steps(folder) == [4, 5]
    same(checkpoints.restore_checkpoint(folder, None), {**TREE, "step": 5})
    same(checkpoints.restore_checkpoint(folder, TREE, step=4), {**TREE, "step": 4})
    same(
        checkpoints.restore_checkpoint(f"{folder}/checkpoint_4", TREE),
        {**TREE, "step": 4},
    )


def test_overwriting(names):
    folder = FOLDER
    checkpoints.save_checkpoint(folder, TREE, 7)
    with pytest.raises(errors.InvalidCheckpointError):
        checkpoints.save_checkpoint(folder, {**TREE, "step": 0}, 7)
    same(checkpoints.restore_checkpoint(folder, None))
    checkpoints.save_checkpoint(folder, {**TREE, "step": 0}, 7, overwrite=True)
    same(checkpoints.restore_checkpoint(folder, None), {**TREE, "step": 0})
    checkpoints.save_checkpoint(folder, {**TREE, "step": 1}, 3, overwrite=True)
    assert names() == ["checkpoint_3"]


def test_in_the_background(names):
    manager = AsyncManager()
    for step in (1, 2):
        checkpoints.save_checkpoint(
            "s3://bucket/run", TREE, step, async_manager=manager
        )
    manager.wait_previous_save()
    assert names() == ["checkpoint_2"]
    same(checkpoints.restore_checkpoint(FOLDER, None))


def test_nothing_there(names):
    assert checkpoints.latest_checkpoint("s3://bucket/none") is None
    assert checkpoints.available_steps("s3://bucket/none") == []
    assert checkpoints.restore_checkpoint("s3://bucket/none", TREE) is TREE


def test_multiprocess(names):
    path = checkpoints.save_checkpoint_multiprocess(FOLDER, TREE, 1)
    assert path == "s3://bucket/run/checkpoint_1"
    same(checkpoints.restore_checkpoint(FOLDER, None))
    checkpoints.save_checkpoint_multiprocess(FOLDER, TREE, 2, keep=1)
    assert names() == ["checkpoint_2"]
