"""What is a checkpoint by its content, and what only has the name of one."""

import os

import numpy as np
import pytest

from batiste import serialization
from batiste.serialization import integrity
from batiste.training import checkpoints
from batiste.training.checkpoints import shapes


def test_files_of_ours_have_the_shape(tmp_path):
    path = checkpoints.save_checkpoint(tmp_path, {"w": np.zeros(3)}, 1)
    assert shapes.has_shape(path)
    assert shapes.is_message(path)
    for tree in ({}, [], [1], 5, {"a": 1}, list(range(100))):
        file = tmp_path / "file"
        file.write_bytes(serialization.msgpack_serialize(tree))
        assert shapes.has_shape(str(file))


@pytest.mark.parametrize("data", [b"notes", b"", b"# a\n", b"\x7fELF", b"{}"])
def test_files_of_others_do_not(tmp_path, data):
    file = tmp_path / "checkpoint_1"
    file.write_bytes(data)
    assert not shapes.has_shape(str(file))
    if integrity.record(file, integrity.check_of(data)):
        assert shapes.has_shape(str(file)), "it is ours, and damaged"


def test_links_and_pipes_do_not(tmp_path):
    path = checkpoints.save_checkpoint(tmp_path, {"w": 1}, 1)
    (tmp_path / "link").symlink_to(path)
    (tmp_path / "broken").symlink_to("nowhere")
    os.mkfifo(tmp_path / "fifo")
    for name in ("link", "broken", "fifo", "nothing"):
        assert not shapes.has_shape(str(tmp_path / name))
        assert not shapes.is_stored_arrays(str(tmp_path / name))


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["_METADATA"], True),
        (["manifest.ocdbt", "d"], True),
        (["photo.jpg"], False),
        ([], False),
    ],
)
def test_folders_of_orbax(tmp_path, names, expected):
    for name in names:
        (tmp_path / name).touch()
    assert shapes.is_orbax(str(tmp_path)) is expected
    assert shapes.has_shape(str(tmp_path)) is expected


def test_folders_of_arrays(tmp_path):
    folder = tmp_path / "checkpoint_1_gda"
    (folder / "params" / "w").mkdir(parents=True)
    assert shapes.is_stored_arrays(str(folder)), "a save was killed as it began"
    (folder / "params" / "w" / "0.0").write_bytes(b"x")
    assert not shapes.is_stored_arrays(str(folder))
    (folder / "params" / "w" / ".zarray").write_bytes(b"{}")
    assert shapes.is_stored_arrays(str(folder))
    (folder / "params" / "w" / ".zarray").unlink()
    (folder / shapes.COMMITTED).touch()
    assert shapes.is_stored_arrays(str(folder))
