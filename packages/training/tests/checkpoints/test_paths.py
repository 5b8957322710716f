"""The names of checkpoints: sorting, normalizing, listing, locking."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batiste.training import checkpoints
from batiste.training.checkpoints import paths as paths


@pytest.mark.parametrize(
    ("signed", "expected"),
    [
        (True, ["a_-1", "a_0.1", "a_1", "a_2", "a_10", "a_1e5"]),
        (False, ["a_0.1", "a_1", "a_-1", "a_2", "a_10", "a_1e5"]),
    ],
)
def test_natural_sort_counts_numbers(signed, expected):
    mixed = ["a_1", "a_10", "a_2", "a_-1", "a_1e5", "a_0.1"]
    assert checkpoints.natural_sort(mixed, signed=signed) == expected


def test_natural_sort_takes_names_of_any_form():
    assert checkpoints.natural_sort(["b1c2", "b1c10", "a", "", "7"]) == [
        "",
        "7",
        "a",
        "b1c2",
        "b1c10",
    ]


@given(st.lists(st.integers(-(10**20), 10**20)))
def test_natural_sort_is_that_of_the_numbers(numbers):
    got = checkpoints.natural_sort([f"checkpoint_{n}" for n in numbers])
    assert got == [f"checkpoint_{n}" for n in sorted(numbers)]


@given(st.lists(st.text()))
def test_natural_sort_never_fails(names):
    assert sorted(checkpoints.natural_sort(names)) == sorted(names)


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("a//b/", "a/b"),
        ("./a/../b", "b"),
        ("/a/b/", "/a/b"),
        ("gs://x//y/", "gs://x/y"),
        ("s3://a", "s3://a"),
        ("", "."),
    ],
)
def test_safe_normpath_keeps_the_scheme(path, expected):
    assert checkpoints.safe_normpath(path) == expected


@given(st.one_of(st.integers(), st.floats(allow_nan=False, allow_infinity=False)))
def test_every_finite_number_is_a_step_that_is_found_again(tmp_path_factory, step):
    assert paths.check_step(step) == step
    folder = tmp_path_factory.mktemp("steps")
    (folder / f"checkpoint_{step}").touch()
    (entry,) = paths.entries(str(folder), "checkpoint_")
    assert entry.step == step
    assert entry.path == paths.checkpoint_path(str(folder), step, "checkpoint_")


def test_a_locked_folder_keeps_another_process_out(tmp_path):
    program = f"""
import fcntl, os
fd = os.open({str(tmp_path)!r}, os.O_RDONLY)
try:
    fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
except BlockingIOError:
    print('kept out')
"""
    pytest.importorskip("fcntl", reason="folders can be locked on POSIX only")

    def attempt():
        run = subprocess.run([sys.executable, "-c", program], capture_output=True)
        return run.stdout.decode().strip()

    with paths.locked_folder(str(tmp_path)):
        assert attempt() == "kept out"
    assert attempt() == ""
    assert os.listdir(tmp_path) == []


def test_saving_works_where_folders_cannot_be_locked(tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "fcntl", None)
    for step in range(3):
        checkpoints.save_checkpoint(tmp_path, {"w": step}, step)
    assert checkpoints.restore_checkpoint(tmp_path, None) == {"w": 2}
    lock = paths.SaveLock(str(tmp_path / "checkpoint_3"))
    lock.mark()
    assert not paths.is_being_saved(str(tmp_path / "checkpoint_3"))
    lock.release()


@pytest.mark.parametrize("prefix", [None, 3, b"checkpoint_", Path("checkpoint_")])
def test_prefixes_that_are_no_text(tmp_path, prefix):
    with pytest.raises(TypeError, match="it has to be a text, such as 'checkpoint_'"):
        paths.check_prefix(prefix)


def test_steps_without_end_are_no_checkpoints(tmp_path):
    for step in ("inf", "nan", "1e999", "3"):
        (tmp_path / f"checkpoint_{step}").write_bytes(b"x")
    found = checkpoints.latest_checkpoint(tmp_path)
    assert found == str(tmp_path / "checkpoint_3")
