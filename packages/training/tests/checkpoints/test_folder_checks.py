"""Checks of the files in a folder of Orbax: each bit that flips is found."""

import os
from pathlib import Path

import numpy as np
import pytest

from batiste.core.config import config
from batiste.serialization import integrity
from batiste.training import checkpoints
from batiste.training.checkpoints import folder_checks
from batiste.training.errors import DamagedCheckpointError

ocp = pytest.importorskip("orbax.checkpoint", reason="needs the extra 'orbax'")
pytestmark = pytest.mark.skipif(
    not hasattr(os, "setxattr"), reason="needs attributes of files"
)

TREE = {"w": np.random.default_rng(0).random(3000), "b": np.ones(3, "f4"), "n": 7}


@pytest.fixture(params=["sync", "async", "manager", "flag", "overwritten"])
def saved(request, tmp_path):
    """A checkpoint of Orbax, saved in each of the ways that there are."""
    keywords = {}
    if request.param == "async":
        keywords["orbax_checkpointer"] = ocp.AsyncCheckpointer(
            ocp.PyTreeCheckpointHandler()
        )
    elif request.param != "flag":
        keywords["orbax_checkpointer"] = ocp.PyTreeCheckpointer()
    if request.param == "manager":
        keywords["async_manager"] = checkpoints.AsyncManager()
    with config.temp_flip_flag("use_orbax_checkpointing", True):
        if request.param == "overwritten":
            checkpoints.save_checkpoint(tmp_path, {"w": 1}, 1, **keywords)
        path = checkpoints.save_checkpoint(
            tmp_path, TREE, 1, overwrite=request.param == "overwritten", **keywords
        )
        checkpoints.available_steps(tmp_path)
        yield Path(path)
    if request.param == "async":
        keywords["orbax_checkpointer"].close()


def flip(file, bit):
    data = bytearray(file.read_bytes())
    data[bit // 8] ^= 1 << bit % 8
    with open(file, "r+b") as opened:
        opened.write(data)


def test_each_flip_of_a_bit_is_found(saved):
    rng = np.random.default_rng(0)
    files = [f for f in saved.rglob("*") if f.is_file() and f.stat().st_size]
    decisive = [f for f in files if f.name not in folder_checks._UNCHECKED]
    assert {"_METADATA", "manifest.ocdbt"} <= {f.name for f in decisive}
    assert any(f.parent.name == "d" for f in decisive)
    for file in decisive:
        for bit in rng.integers(0, 8 * file.stat().st_size, 6):
            flip(file, bit)
            for target in (None, TREE):
                with pytest.raises(DamagedCheckpointError, match=file.name) as caught:
                    checkpoints.restore_checkpoint(saved, target)
                assert str(saved) in str(caught.value)
            flip(file, bit)
    for file in set(files) - set(decisive):
        flip(file, 100)
    restored = checkpoints.restore_checkpoint(saved, TREE)
    np.testing.assert_array_equal(restored["w"], TREE["w"])


def test_a_flag_turns_checks_off(tmp_path):
    saver = ocp.PyTreeCheckpointer()
    with config.temp_flip_flag("verify_checkpoints", False):
        path = checkpoints.save_checkpoint(tmp_path, TREE, 1, orbax_checkpointer=saver)
        files = [f for f in Path(path).rglob("*") if f.is_file()]
        assert not any(map(integrity.recorded, files))
    folder_checks.record(path)
    manifest = Path(path) / "manifest.ocdbt"
    integrity.record(manifest, integrity.check_of(b"something else"))
    with config.temp_flip_flag("verify_checkpoints", False):
        folder_checks.verify(path)
        assert checkpoints.restore_checkpoint(tmp_path, TREE)["n"] == 7
    with pytest.raises(DamagedCheckpointError, match="manifest.ocdbt: The file is dam"):
        folder_checks.verify(path)


def test_files_without_checks_are_taken_as_they_are(tmp_path):
    path = tmp_path / "checkpoint_1"
    ocp.PyTreeCheckpointer().save(path, TREE)
    assert checkpoints.restore_checkpoint(tmp_path, TREE)["n"] == 7
    for file in path.rglob("*"):
        if file.is_file():
            integrity.record(file, integrity.NONE)
    assert checkpoints.restore_checkpoint(tmp_path, TREE)["n"] == 7


def test_nothing_is_read_where_there_are_no_attributes(tmp_path, monkeypatch):
    (tmp_path / "a").write_bytes(b"abc")
    monkeypatch.setattr(integrity, "record", lambda *args: False)
    monkeypatch.setattr(integrity, "check_of_file", None)
    folder_checks.record(str(tmp_path))


def test_what_vanishes_meanwhile_is_no_damage(tmp_path, monkeypatch):
    file = tmp_path / "a"
    file.write_bytes(b"abc")
    folder_checks.record(str(tmp_path))
    real = integrity.verify_file

    def vanish(path, check):
        os.remove(path)
        real(path, check)

    monkeypatch.setattr(integrity, "verify_file", vanish)
    folder_checks.verify(str(tmp_path))
