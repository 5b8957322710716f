"""Checkpoint files: there whole or not at all, and errors that name the file."""

import functools
import os

import numpy as np
import pytest

from batiste import serialization
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
