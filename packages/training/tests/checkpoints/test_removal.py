"""What is deleted: checkpoints and leftovers of saves, and nothing of anyone else's."""

import logging
import os

import numpy as np
import pytest

from batiste.core.config import config
from batiste.training import checkpoints
from batiste.training.checkpoints import removal
from batiste.training.errors import NotACheckpointError

TREE = {"w": np.arange(4.0)}


@pytest.fixture(params=["file", "orbax"])
def orbax(request):
    if request.param == "orbax":
        pytest.importorskip("orbax.checkpoint", reason="needs the extra 'orbax'")
    with config.temp_flip_flag("use_orbax_checkpointing", request.param == "orbax"):
        yield


def test_a_link_that_is_surplus_is_left_and_logged(tmp_path, orbax, caplog):
    kept = checkpoints.save_checkpoint(tmp_path / "elsewhere", TREE, 1)
    folder = tmp_path / "ckpts"
    folder.mkdir()
    (folder / "checkpoint_1").symlink_to(kept)
    with caplog.at_level(logging.WARNING):
        path = checkpoints.save_checkpoint(folder, TREE, 2)
    assert sorted(os.listdir(folder)) == ["checkpoint_1", "checkpoint_2"]
    assert "'%s' is surplus, but is left" % (folder / "checkpoint_1") in caplog.text
    assert checkpoints.latest_checkpoint(folder) == path
    for step in (1, 2):
        restored = checkpoints.restore_checkpoint(folder, None, step)
        np.testing.assert_array_equal(restored["w"], TREE["w"])
    assert os.path.exists(kept)


@pytest.mark.parametrize("prefix", ["checkpoint_", "", "run/c_"])
def test_what_others_keep_under_such_names_is_never_deleted(tmp_path, orbax, prefix):
    (tmp_path / "run").mkdir()
    folder = tmp_path / f"{prefix}100"
    folder.mkdir()
    (folder / "photo.jpg").write_bytes(b"\xff\xd8")
    empty = tmp_path / f"{prefix}2023"
    empty.mkdir()
    text = tmp_path / f"{prefix}1"
    text.write_text("Notes of the first experiment\n")
    foreign = tmp_path / f"{prefix}2"
    foreign.mkdir()
    (foreign / "checkpoint").write_text('model_checkpoint_path: "ckpt-1"')
    for step in (3, 4, 5):
        checkpoints.save_checkpoint(tmp_path, TREE, step, prefix=prefix)
    checkpoints.save_checkpoint(tmp_path, TREE, 0, prefix=prefix, overwrite=True)
    assert (folder / "photo.jpg").exists()
    assert empty.exists()
    assert text.exists()
    assert foreign.exists()
    ours = {f"{prefix}{n}" for n in (3, 4, 5)}
    assert not [name for name in ours if (tmp_path / name).exists()]
    assert (tmp_path / f"{prefix}0").exists()


@pytest.mark.parametrize("overwrite", [False, True])
def test_what_is_no_checkpoint_is_not_replaced(tmp_path, orbax, overwrite):
    place = tmp_path / "checkpoint_5"
    place.mkdir()
    (place / "notes.txt").write_text("x")
    with pytest.raises(NotACheckpointError, match="checkpoint_5"):
        checkpoints.save_checkpoint(tmp_path, TREE, 5, overwrite=overwrite)
    assert os.listdir(place) == ["notes.txt"]
    assert os.listdir(tmp_path) == ["checkpoint_5"]


def test_a_link_is_replaced_and_its_target_is_not(tmp_path, orbax):
    kept = checkpoints.save_checkpoint(tmp_path / "elsewhere", {"w": 1}, 1)
    folder = tmp_path / "ckpts"
    folder.mkdir()
    (folder / "checkpoint_1").symlink_to(kept)
    checkpoints.save_checkpoint(folder, {"w": 2}, 1, overwrite=True)
    assert os.listdir(folder) == ["checkpoint_1"]
    assert not os.path.islink(folder / "checkpoint_1")
    assert checkpoints.restore_checkpoint(folder, None) == {"w": 2}
    assert checkpoints.restore_checkpoint(kept, None) == {"w": 1}


def test_what_cannot_be_deleted_is_left_and_logged(
    tmp_path, orbax, monkeypatch, caplog
):
    checkpoints.save_checkpoint(tmp_path, TREE, 1)

    def refuse(path):
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr(removal, "_vanish", refuse)
    with caplog.at_level(logging.WARNING):
        checkpoints.save_checkpoint(tmp_path, TREE, 2)
    assert checkpoints.available_steps(tmp_path) == [1, 2]
    assert "Permission denied" in caplog.text


@pytest.mark.parametrize("prefix", ["../c_", "/tmp/c_", "a/../../c_", "..", "gs://b/c"])
def test_a_prefix_that_leaves_the_folder_is_refused(tmp_path, prefix):
    folder = tmp_path / "ckpts"
    for call in (
        lambda: checkpoints.save_checkpoint(folder, TREE, 1, prefix=prefix),
        lambda: checkpoints.restore_checkpoint(folder, None, prefix=prefix),
        lambda: checkpoints.restore_checkpoint(folder, None, 1, prefix=prefix),
        lambda: checkpoints.latest_checkpoint(folder, prefix),
        lambda: checkpoints.available_steps(folder, prefix),
    ):
        with pytest.raises(ValueError, match="leads out of the folder"):
            call()
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("keep", [0, -1, 1.5, None, "2", float("nan")])
def test_keep_is_checked_before_anything_is_done(tmp_path, orbax, keep):
    folder = tmp_path / "ckpts"
    with pytest.raises(ValueError, match="keep is"):
        checkpoints.save_checkpoint(folder, TREE, 1, keep=keep)
    with pytest.raises(ValueError, match="keep_every_n_steps is"):
        checkpoints.save_checkpoint(folder, TREE, 1, keep_every_n_steps="2")
    assert not folder.exists()


def test_digits_of_other_scripts_are_no_steps(tmp_path):
    (tmp_path / "checkpoint_٣").write_bytes(b"\x80")
    (tmp_path / "checkpoint_9²").write_bytes(b"\x80")
    checkpoints.save_checkpoint(tmp_path, TREE, 1)
    checkpoints.save_checkpoint(tmp_path, TREE, 2)
    assert checkpoints.available_steps(tmp_path) == [2]
    assert len(os.listdir(tmp_path)) == 3
    with pytest.raises(ValueError, match="finite number"):
        checkpoints.save_checkpoint(tmp_path, TREE, "٣")


def test_a_damaged_file_of_ours_is_still_deleted(tmp_path):
    path = tmp_path / "checkpoint_1"
    checkpoints.save_checkpoint(tmp_path, TREE, 1)
    if not hasattr(os, "getxattr"):
        pytest.skip("needs attributes of files")
    path.write_bytes(b"\x01" + path.read_bytes()[1:])
    checkpoints.save_checkpoint(tmp_path, TREE, 2)
    assert os.listdir(tmp_path) == ["checkpoint_2"]


@pytest.mark.parametrize("length", [200, 240, 255])
def test_names_may_be_as_long_as_the_file_system_allows(tmp_path, length):
    prefix = "p" * (length - 1)
    for step in (1, 2):
        checkpoints.save_checkpoint(tmp_path, {"w": step}, step, prefix=prefix)
        checkpoints.save_checkpoint(
            tmp_path, {"w": step}, step, prefix=prefix, overwrite=True
        )
    assert checkpoints.restore_checkpoint(tmp_path, None, prefix=prefix) == {"w": 2}
    assert os.listdir(tmp_path) == [f"{prefix}2"]


def test_what_a_killed_save_of_a_long_name_leaves_is_deleted(tmp_path):
    path = removal.temporary_path(str(tmp_path / ("p" * 254 + "1")))
    open(path, "w").close()
    checkpoints.save_checkpoint(tmp_path, TREE, 1)
    assert os.listdir(tmp_path) == ["checkpoint_1"]


def test_no_lock_file_is_made_in_a_shared_folder(tmp_path, monkeypatch):
    ocp = pytest.importorskip("orbax.checkpoint", reason="needs the extra 'orbax'")
    shared = tmp_path / "shared"
    shared.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(shared))
    saver = ocp.AsyncCheckpointer(ocp.PyTreeCheckpointHandler())
    checkpoints.save_checkpoint(tmp_path / "c", TREE, 1, orbax_checkpointer=saver)
    assert os.listdir(shared) == []
    saver.wait_until_finished()
    assert checkpoints.available_steps(tmp_path / "c") == [1]
    assert os.listdir(tmp_path / "c") == ["checkpoint_1"]
    saver.close()


@pytest.mark.parametrize("path", [None, 3, b"ckpts", ["ckpts"]])
def test_a_folder_that_is_no_path_is_an_error(path):
    for call in (
        lambda: checkpoints.save_checkpoint(path, TREE, 1),
        lambda: checkpoints.restore_checkpoint(path, None),
        lambda: checkpoints.latest_checkpoint(path),
        lambda: checkpoints.available_steps(path),
    ):
        with pytest.raises(TypeError, match="ckpt_dir is"):
            call()


def plant(kind, place, target):
    """Puts something of someone else's where a save would put something."""
    if kind == "folder":
        place.mkdir()
        (place / "photo.jpg").write_bytes(b"\xff\xd8")
    elif kind == "text":
        place.write_text("Notes")
    else:
        place.symlink_to(target if kind == "link" else "nowhere")


def contents(folder):
    return {
        str(path): os.readlink(path) if path.is_symlink() else path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_symlink() or path.is_file()
    }


@pytest.mark.parametrize("kind", ["folder", "text", "link", "broken link"])
@pytest.mark.parametrize("suffix", [".batiste-new", "_gda"])
def test_what_is_planted_beside_a_checkpoint_takes_no_part(
    tmp_path, orbax, kind, suffix
):
    elsewhere = tmp_path / "elsewhere"
    checkpoints.save_checkpoint(elsewhere, {"w": np.zeros(4)}, 9)
    folder = tmp_path / "ckpts"
    checkpoints.save_checkpoint(folder, TREE, 1)
    place = folder / f"checkpoint_1{suffix}"
    plant(kind, place, elsewhere / "checkpoint_9")
    only = folder / f"checkpoint_7{suffix}"
    plant(kind, only, elsewhere / "checkpoint_9")
    before = contents(elsewhere)
    assert checkpoints.available_steps(folder) == [1]
    for step in (None, 1):
        restored = checkpoints.restore_checkpoint(folder, None, step)
        np.testing.assert_array_equal(restored["w"], TREE["w"])
    planted = {k: v for k, v in contents(folder).items() if suffix in k}
    checkpoints.save_checkpoint(folder, {"w": 7}, 7)
    assert checkpoints.restore_checkpoint(folder, None) == {"w": 7}
    if suffix == ".batiste-new":
        # What would have to wait there for its turn: a folder, or a file after one.
        by_orbax = config.use_orbax_checkpointing
        if not by_orbax:
            pytest.importorskip("orbax.checkpoint", reason="needs the extra 'orbax'")
        with (
            config.temp_flip_flag("use_orbax_checkpointing", not by_orbax),
            pytest.raises(NotACheckpointError, match="checkpoint_7.batiste-new"),
        ):
            checkpoints.save_checkpoint(folder, {"w": 8}, 7, overwrite=True)
        assert checkpoints.restore_checkpoint(folder, None) == {"w": 7}
    checkpoints.save_checkpoint(folder, {"w": 0}, 0, overwrite=True)
    assert checkpoints.available_steps(folder) == [0]
    assert {k: v for k, v in contents(folder).items() if suffix in k} == planted
    assert contents(elsewhere) == before


@pytest.mark.parametrize("kind", ["folder", "link", "broken link"])
def test_what_is_planted_under_names_of_temporary_files_does_no_harm(
    tmp_path, orbax, kind
):
    elsewhere = tmp_path / "elsewhere"
    kept = checkpoints.save_checkpoint(elsewhere, TREE, 9)
    before = contents(elsewhere)
    folder = tmp_path / "ckpts"
    folder.mkdir()
    names = [
        "checkpoint_1.orbax-checkpoint-tmp",
        "checkpoint_1.batiste-new.orbax-checkpoint-tmp",
        ".checkpoint_1.batiste-tmp",
        "checkpoint_1.lock",
        ".lock",
    ]
    for name in names:
        plant(kind, folder / name, kept)
    checkpoints.save_checkpoint(folder, TREE, 1)
    checkpoints.save_checkpoint(folder, TREE, 1, overwrite=True)
    checkpoints.save_checkpoint(folder, TREE, 2)
    assert checkpoints.available_steps(folder) == [2]
    assert contents(elsewhere) == before
    assert not os.path.exists(folder / "nowhere")


@pytest.mark.parametrize(
    "prefix", ["../c_", "x/../../c_", "//c_", "/c_", "c\0_", "..", "file:///tmp/c_"]
)
def test_more_prefixes_that_leave_the_folder(tmp_path, prefix, orbax):
    with pytest.raises(ValueError, match="leads out of the folder"):
        checkpoints.save_checkpoint(tmp_path / "c", TREE, 1, prefix=prefix)
    assert os.listdir(tmp_path) == []
