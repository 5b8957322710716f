"""`flax.io`: TensorFlow where it is installed, and the modes."""

import importlib
import importlib.util
import pathlib
import subprocess
import sys
import types
from typing import Any

import pytest

import batiste.flax
from batiste.training import io as own
from batiste.training.errors import AlreadyExistsError

HAS_TENSORFLOW = importlib.util.find_spec("tensorflow") is not None


class NotFoundError(Exception):
    """What the stand-in raises for what is missing."""


class Recorder:
    """Stands in for `tensorflow.io.gfile`: notes the calls that it gets."""

    def __init__(self):
        self.calls = []

    def __getattr__(self, name):
        def call(*args, **kwargs):
            self.calls.append((name, args, kwargs))
            if "missing" in args:
                raise NotFoundError("missing")
            return types.SimpleNamespace(length=7) if name == "stat" else [name]

        return call


@pytest.fixture
def tensorflow(monkeypatch):
    module: Any = types.ModuleType("tensorflow")
    module.io = types.SimpleNamespace(gfile=Recorder())
    errors: Any = types.ModuleType("tensorflow.errors")
    errors.NotFoundError = NotFoundError
    module.errors = errors
    monkeypatch.setitem(sys.modules, "tensorflow", module)
    return module


@pytest.fixture
def without(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow", None)


@pytest.fixture
def io():
    before = dict(vars(importlib.import_module("batiste.flax.io")))
    mode = own.io_mode
    batiste.flax.install()
    try:
        yield importlib.import_module("flax.io")
    finally:
        batiste.flax.uninstall()
        own.set_mode(mode)
        ours = vars(importlib.import_module("batiste.flax.io"))
        ours.pop("io_mode", None)
        assert before.get("io_mode") is None


# Each function, with the call of TensorFlow's that it makes.
CALLS = {
    "GFile": (("a", "rb"), ("GFile", ("a", "rb"), {})),
    "listdir": (("a",), ("listdir", ("a",), {})),
    "isdir": (("a",), ("isdir", ("a",), {})),
    "exists": (("a",), ("exists", ("a",), {})),
    "copy": (("a", "b"), ("copy", ("a", "b"), {"overwrite": False})),
    "rename": (("a", "b", True), ("rename", ("a", "b"), {"overwrite": True})),
    "makedirs": (("a",), ("makedirs", ("a",), {})),
    "glob": (("a*",), ("glob", ("a*",), {})),
    "remove": (("a",), ("remove", ("a",), {})),
    "rmtree": (("a",), ("rmtree", ("a",), {})),
    "getsize": (("a",), ("stat", ("a",), {})),
}


@pytest.mark.parametrize("name", CALLS)
def test_tensorflow_is_the_default_where_it_is_installed(tensorflow, io, name):
    assert io.io_mode is io.BackendMode.TF
    args, call = CALLS[name]
    result = getattr(io, name)(*args)
    assert tensorflow.io.gfile.calls == [call]
    if name not in ("copy", "rename", "makedirs", "remove", "rmtree"):
        assert result == (7 if name == "getsize" else [name])


@pytest.mark.parametrize("name", CALLS)
def test_its_errors_are_tensorflows(tensorflow, io, name):
    args = ("missing", *CALLS[name][0][1:])
    with pytest.raises(io.NotFoundError):
        getattr(io, name)(*args)
    assert io.NotFoundError is NotFoundError
    assert io.gfile is tensorflow.io.gfile
    assert io.tf_errors is tensorflow.errors


def test_modes_take_effect(tensorflow, io, tmp_path):
    calls = tensorflow.io.gfile.calls
    with io.override_mode(io.BackendMode.DEFAULT):
        assert io.io_mode is io.BackendMode.DEFAULT
        assert io.exists(tmp_path)
        assert own.io_mode is own.BackendMode.DEFAULT
    assert io.io_mode is io.BackendMode.TF
    assert not calls
    io.set_mode(io.BackendMode.DEFAULT)
    assert io.listdir(str(tmp_path)) == []
    with io.override_mode(io.BackendMode.TF):
        io.exists("a")
    assert io.io_mode is io.BackendMode.DEFAULT
    assert [name for name, _, _ in calls] == ["exists"]
    io.io_mode = io.BackendMode.TF
    io.exists("a")
    assert len(calls) == 2


def test_an_error_in_the_block_puts_the_mode_back(tensorflow, io):
    with (
        pytest.raises(RuntimeError, match="inside"),
        io.override_mode(io.BackendMode.DEFAULT),
    ):
        raise RuntimeError("inside")
    assert io.io_mode is io.BackendMode.TF


def test_what_is_no_mode_is_refused(without, io):
    with pytest.raises(TypeError, match="'x'; it must be BackendMode.DEFAULT or"):
        io.set_mode("x")
    with (
        pytest.raises(TypeError, match="'x'; it must be"),
        io.override_mode("x"),
    ):
        pass
    assert io.io_mode is io.BackendMode.DEFAULT
    io.io_mode = "x"
    with pytest.raises(
        ValueError, match="'x', which is no mode; set it to BackendMode"
    ):
        io.exists("a")


@pytest.mark.parametrize("mode", ["DEFAULT", "TF"])
def test_without_tensorflow_files_are_opened_all_the_same(without, io, tmp_path, mode):
    assert io.io_mode is io.BackendMode.DEFAULT
    assert io.gfile is None
    assert io.NotFoundError is FileNotFoundError
    assert not hasattr(io, "tf_errors")
    if mode == "TF":
        pytest.importorskip("etils.epath")
    with io.override_mode(io.BackendMode[mode]):
        use_files(io, tmp_path)
        with pytest.raises(AlreadyExistsError):
            io.copy(tmp_path / "b", tmp_path / "c")


def use_files(io, folder):
    """A program that uses all of it."""
    a, b, c = (str(folder / name) for name in "abc")
    with io.GFile(a, "w") as file:
        file.write("text")
    with io.GFile(a, "rb") as file:
        assert file.read() == b"text"
    io.copy(a, b)
    io.rename(a, c)
    assert sorted(io.listdir(str(folder))) == ["b", "c"]
    assert io.getsize(b) == 4
    io.makedirs(str(folder / "d" / "e"))
    assert io.isdir(str(folder / "d"))
    io.rmtree(str(folder / "d"))
    assert sorted(pathlib.Path(x).name for x in io.glob(str(folder / "*"))) == [
        "b",
        "c",
    ]
    with pytest.raises(io.NotFoundError):
        io.remove(str(folder / "missing"))
    io.rename(c, b, overwrite=True)
    io.copy(b, c)
    io.copy(b, c, overwrite=True)


def test_checkpoints_use_what_is_set(without, io, tmp_path):
    pytest.importorskip("etils.epath")
    io.set_mode(io.BackendMode.TF)
    assert own.io_mode is own.BackendMode.TF


def test_tensorflow_is_imported_when_it_is_used():
    program = (
        "import batiste.flax, sys; batiste.flax.install(); "
        "import flax.io, flax.linen, flax.training.checkpoints; "
        "print(flax.io.io_mode.name, 'tensorflow' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    mode = "TF" if HAS_TENSORFLOW else "DEFAULT"
    assert done.stdout.split() == [mode, "False"]


@pytest.mark.skipif(not HAS_TENSORFLOW, reason="TensorFlow is not installed")
def test_with_the_real_tensorflow(io, tmp_path):
    import tensorflow as tf  # pyright: ignore[reportMissingImports]

    assert io.io_mode is io.BackendMode.TF
    assert io.gfile is tf.io.gfile
    assert io.tf_errors is tf.errors
    use_files(io, tmp_path)
    assert type(io.GFile(str(tmp_path / "b"), "r")) is tf.io.gfile.GFile
    with pytest.raises(tf.errors.AlreadyExistsError):
        io.copy(str(tmp_path / "b"), str(tmp_path / "c"))
    with pytest.raises(tf.errors.NotFoundError):
        io.GFile(str(tmp_path / "missing"), "r").read()
    with pytest.raises(tf.errors.FailedPreconditionError):
        io.remove(str(tmp_path))
    with io.override_mode(io.BackendMode.DEFAULT), pytest.raises(FileNotFoundError):
        io.listdir(str(tmp_path / "missing"))
