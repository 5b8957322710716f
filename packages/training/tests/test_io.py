"""Files by name: local, and through etils where it is installed."""

import os

import pytest

from batiste.training import io
from batiste.training.errors import AlreadyExistsError


@pytest.fixture(params=[io.BackendMode.DEFAULT, io.BackendMode.TF])
def mode(request):
    if request.param is io.BackendMode.TF:
        pytest.importorskip("etils.epath", reason="needs the extra 'orbax'")
    with io.override_mode(request.param):
        yield request.param


@pytest.fixture
def file(tmp_path, mode):
    path = str(tmp_path / "file")
    with io.GFile(path, "w") as f:
        f.write("häl")
    return path


def test_text_and_bytes(file):
    with io.GFile(file, "r") as f:
        assert f.read() == "häl"
    with io.GFile(file, "rb") as f:
        assert f.read() == "häl".encode()
    with io.GFile(file, "ab") as f:
        f.write(b"lo")
    assert io.getsize(file) == 6


def test_missing_files_are_errors(tmp_path, mode):
    missing = str(tmp_path / "missing")
    assert not io.exists(missing)
    assert not io.isdir(missing)
    for call in (io.remove, io.rmtree, io.getsize, lambda p: io.GFile(p, "r").read()):
        with pytest.raises(FileNotFoundError):
            call(missing)
    with pytest.raises(FileNotFoundError):
        io.listdir(missing)


def test_folders(tmp_path, mode):
    inner = str(tmp_path / "a" / "b")
    io.makedirs(inner)
    io.makedirs(inner)
    assert io.isdir(inner)
    assert io.exists(inner)
    assert io.listdir(tmp_path / "a") == ["b"]
    io.rmtree(tmp_path / "a")
    assert not io.exists(inner)


@pytest.mark.parametrize("call", [io.copy, io.rename])
def test_copy_and_rename_do_not_overwrite_unasked(file, tmp_path, call):
    other = str(tmp_path / "other")
    call(file, other)
    assert io.exists(file) == (call is io.copy)
    with io.GFile(file, "w") as f:
        f.write("new")
    with pytest.raises(AlreadyExistsError, match="overwrite=True") as caught:
        call(file, other)
    assert other in str(caught.value)
    call(file, other, overwrite=True)
    with io.GFile(other, "r") as f:
        assert f.read() == "new"


def test_glob_and_remove(file, tmp_path):
    for name in ("x1", "x2", "y1"):
        io.copy(file, tmp_path / name)
    found = io.glob(str(tmp_path / "x*"))
    assert sorted(map(os.path.basename, found)) == ["x1", "x2"]
    io.remove(tmp_path / "x1")
    assert len(io.glob(str(tmp_path / "?1"))) == 1


def test_exclusive_creation(file):
    with pytest.raises(FileExistsError):
        open(file, "x")  # noqa: SIM115
    with io.override_mode(io.BackendMode.DEFAULT), pytest.raises(FileExistsError):
        io.GFile(file, "x")


def test_modes_are_set_and_restored():
    assert io.io_mode is io.BackendMode.DEFAULT
    with pytest.raises(KeyError), io.override_mode(io.BackendMode.TF):
        assert io.io_mode is io.BackendMode.TF
        raise KeyError
    assert io.io_mode is io.BackendMode.DEFAULT
    for bad in ("tf", 1, None):
        with pytest.raises(TypeError, match="BackendMode"):
            io.set_mode(bad)
    io.set_mode(io.BackendMode.TF)
    io.set_mode(io.BackendMode.DEFAULT)


def test_names_with_a_scheme_need_etils(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "etils", None)
    with pytest.raises(
        ImportError, match=r"'gs://b/f' is opened with etils.*\(the extra orbax"
    ):
        io.exists("gs://b/f")
