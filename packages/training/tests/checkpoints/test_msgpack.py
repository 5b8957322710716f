"""Checkpoint files: there whole or not at all, and errors that name the file."""

import functools
import os

import numpy as np
import pytest

from batiste import serialization
from batiste.core.config import config
from batiste.training import checkpoints
from batiste.training.checkpoints import msgpack

TREE = {"a": np.arange(3), "b": {"name": "dense"}}


def write(tree, path):
    msgpack.write_file(functools.partial(serialization.serialize, tree), str(path))


def test_a_file_comes_back(tmp_path):
    write(TREE, tmp_path / "checkpoint_1")
    assert os.listdir(tmp_path) == ["checkpoint_1"]
    path = str(tmp_path / "checkpoint_1")
    restored = msgpack.restore_file(path, {"a": np.zeros(3, int), "b": {"name": ""}})
    np.testing.assert_array_equal(restored["a"], TREE["a"])
    assert restored["b"] == msgpack.restore_file(path, None)["b"] == TREE["b"]


def test_a_write_that_fails_leaves_no_open_file(tmp_path):
    files = []

    def write(file):
        files.append(file)
        file.write(b"begun")
        raise ValueError("stopped")

    with pytest.raises(ValueError, match="stopped"):
        msgpack.write_file(write, str(tmp_path / "checkpoint_1"))
    assert files[0].closed
    assert os.listdir(tmp_path) == []


def test_a_write_that_fails_leaves_what_was_there(tmp_path):
    write({"w": 1}, tmp_path / "checkpoint_1")

    def fail(file):
        file.write(b"half of it")
        raise KeyboardInterrupt

    for name in ("checkpoint_1", "checkpoint_2"):
        with pytest.raises(KeyboardInterrupt):
            msgpack.write_file(fail, str(tmp_path / name))
    assert os.listdir(tmp_path) == ["checkpoint_1"]
    assert msgpack.restore_file(str(tmp_path / "checkpoint_1"), None) == {"w": 1}


def test_the_file_is_complete_on_disk_before_it_has_its_name(tmp_path, monkeypatch):
    steps = []
    for name in ("fsync", "replace"):
        real = getattr(os, name)

        def record(*args, name=name, real=real):
            steps.append(name)
            return real(*args)

        monkeypatch.setattr(os, name, record)
    write(TREE, tmp_path / "checkpoint_1")
    # The file, its name, and the folder that has the name.
    assert steps == ["fsync", "replace", "fsync"]


def test_a_file_replaces_a_folder(tmp_path):
    (tmp_path / "checkpoint_1" / "inside").mkdir(parents=True)
    write({"w": 2}, tmp_path / "checkpoint_1")
    assert os.listdir(tmp_path) == ["checkpoint_1"]
    assert msgpack.restore_file(str(tmp_path / "checkpoint_1"), None) == {"w": 2}


def test_damaged_and_misfit_files_are_errors_that_name_the_file(tmp_path):
    path = tmp_path / "checkpoint_1"
    write(TREE, path)
    with pytest.raises(ValueError, match="other") as caught:
        msgpack.restore_file(str(path), {"other": 1})
    assert str(path) in caught.value.__notes__[0]
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(ValueError, match="bytes|data|end") as caught:
        msgpack.restore_file(str(path), None)
    assert str(path) in caught.value.__notes__[0]


needs_attributes = pytest.mark.skipif(
    not hasattr(os, "setxattr"), reason="needs attributes of files"
)


@needs_attributes
@pytest.mark.parametrize("manager", [False, True])
def test_each_flip_of_a_bit_is_found(tmp_path, manager):
    tree = {"w": np.arange(300.0), "name": "dense", "n": 3}
    keywords = {"async_manager": checkpoints.AsyncManager()} if manager else {}
    checkpoints.save_checkpoint(tmp_path, tree, 1, **keywords)
    checkpoints.latest_checkpoint(tmp_path)
    path = tmp_path / "checkpoint_1"
    good = path.read_bytes()
    assert good == serialization.to_bytes(tree)
    for place in np.random.default_rng(0).integers(0, 8 * len(good), 300):
        bad = bytearray(good)
        bad[place // 8] ^= 1 << place % 8
        path.write_bytes(bad)
        for target in (None, tree):
            with pytest.raises(ValueError, match="damaged") as caught:
                checkpoints.restore_checkpoint(tmp_path, target)
            assert str(path) in caught.value.__notes__[0]
    path.write_bytes(good)
    assert checkpoints.restore_checkpoint(tmp_path, None)["name"] == "dense"


@needs_attributes
def test_a_flag_turns_the_verification_off(tmp_path):
    path = tmp_path / "checkpoint_1"
    write({"w": np.zeros(100)}, path)
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with config.temp_flip_flag("verify_checkpoints", False):
        assert msgpack.restore_file(str(path), None)["w"][-1] != 0
    with pytest.raises(ValueError, match="damaged"):
        msgpack.restore_file(str(path), None)


@needs_attributes
def test_the_check_belongs_to_the_checkpoint_that_is_there(tmp_path):
    for value in (1, 2):
        checkpoints.save_checkpoint(tmp_path, {"w": value}, 1, overwrite=True)
        assert checkpoints.restore_checkpoint(tmp_path, None) == {"w": value}
    moved = (tmp_path / "checkpoint_1").rename(tmp_path / "checkpoint_7")
    assert checkpoints.restore_checkpoint(tmp_path, None) == {"w": 2}
    moved.write_bytes(serialization.to_bytes({"w": 3}))
    with pytest.raises(ValueError, match="damaged"):
        checkpoints.restore_checkpoint(moved, None)
    os.replace(tmp_path / "checkpoint_7", tmp_path / "old")
    (tmp_path / "checkpoint_7").write_bytes(serialization.to_bytes({"w": 3}))
    assert checkpoints.restore_checkpoint(tmp_path, None) == {"w": 3}


def test_an_overwritten_checkpoint_keeps_its_permissions(tmp_path):
    path = tmp_path / "checkpoint_1"
    write({"w": 1}, path)
    path.chmod(0o600)
    write({"w": 2}, path)
    assert path.stat().st_mode & 0o777 == 0o600
