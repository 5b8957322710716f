"""`flax.io`: files by name, through TensorFlow where that is installed.

Flax opens files with `tensorflow.io.gfile` where it can, and with Python's own
functions elsewhere. TensorFlow is imported when it is first used, and not before.
Without it, both modes are those of `batiste.training.io`.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import os
import sys
from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

from batiste.training import io as own
from batiste.training.io import BackendMode

__all__ = [
    "BackendMode",
    "GFile",
    "copy",
    "exists",
    "getsize",
    "glob",
    "isdir",
    "listdir",
    "makedirs",
    "override_mode",
    "remove",
    "rename",
    "rmtree",
    "set_mode",
]

Name: TypeAlias = str | os.PathLike[str]

_TENSORFLOW = "tensorflow"


def __getattr__(name: str) -> Any:
    if name == "io_mode":  # until it is set, which puts it into this module
        return BackendMode.TF if _has_tensorflow() else BackendMode.DEFAULT
    if name == "gfile":
        return _tensorflow().io.gfile if _has_tensorflow() else None
    if name == "NotFoundError":
        errors = __getattr__("tf_errors") if _has_tensorflow() else None
        return FileNotFoundError if errors is None else errors.NotFoundError
    if name == "tf_errors" and _has_tensorflow():
        return _tensorflow().errors
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def _has_tensorflow() -> bool:
    if _TENSORFLOW in sys.modules:
        return sys.modules[_TENSORFLOW] is not None
    return importlib.util.find_spec(_TENSORFLOW) is not None


def _tensorflow() -> Any:
    return importlib.import_module(_TENSORFLOW)


def _gfile() -> Any:
    """TensorFlow's functions, or None where Batiste's are in force.

    Raises:
      ValueError: the mode is none.
    """
    mode = globals().get("io_mode")
    if mode is None:
        mode = __getattr__("io_mode")
    if mode is BackendMode.DEFAULT:
        return None
    if mode is not BackendMode.TF:
        raise ValueError(
            f"The io mode is {mode!r}, which is no mode; set it to BackendMode.DEFAULT "
            f"or BackendMode.TF."
        )
    return __getattr__("gfile")


def _run(function: Callable[..., Any], *args: Any) -> Any:
    """Runs a function of Batiste's in the mode that is in force here."""
    mode = globals().get("io_mode", BackendMode.DEFAULT)
    if mode is own.io_mode:
        return function(*args)
    with own.override_mode(mode):
        return function(*args)


def set_mode(override: BackendMode) -> None:
    """Sets the mode for the whole program, checkpoints included.

    Args:
      override: `BackendMode.TF` for TensorFlow, `BackendMode.DEFAULT` for Python.

    Raises:
      TypeError: `override` is no `BackendMode`.

    >>> from batiste.flax import io
    >>> with io.override_mode(io.BackendMode.TF):
    ...     io.set_mode(io.BackendMode.DEFAULT)
    ...     io.exists('no such file')
    False
    """
    own.set_mode(override)
    globals()["io_mode"] = override


@contextlib.contextmanager
def override_mode(override: BackendMode) -> Iterator[None]:
    """Sets the mode inside a `with` block.

    Args:
      override: as for `set_mode`.

    Raises:
      TypeError: `override` is no `BackendMode`.

    >>> from batiste.flax import io
    >>> with io.override_mode(io.BackendMode.DEFAULT):
    ...     io.exists('no such file')
    False
    """
    missing = object()
    before = globals().get("io_mode", missing)
    with own.override_mode(override):
        try:
            globals()["io_mode"] = override
            yield
        finally:
            if before is missing:
                globals().pop("io_mode", None)
            else:
                globals()["io_mode"] = before


def GFile(name: Name, mode: str) -> Any:
    """Opens a file.

    Args:
      name: the file.
      mode: as for `open`.

    Raises:
      FileNotFoundError: there is no such file; `tf.errors.NotFoundError` with
        TensorFlow, when it is read.
      ValueError: the mode is unknown; `tf.errors.InvalidArgumentError`.
    """
    gfile = _gfile()
    return _run(own.GFile, name, mode) if gfile is None else gfile.GFile(name, mode)


def listdir(path: Name) -> list[str]:
    """Returns the names in a folder, in no order.

    Raises:
      FileNotFoundError: there is no such folder; `tf.errors.NotFoundError` with
        TensorFlow.
    """
    gfile = _gfile()
    return _run(own.listdir, path) if gfile is None else gfile.listdir(path)


def isdir(path: Name) -> bool:
    """Returns whether there is a folder of this name."""
    gfile = _gfile()
    return _run(own.isdir, path) if gfile is None else gfile.isdir(path)


def exists(path: Name) -> bool:
    """Returns whether there is a file or folder of this name."""
    gfile = _gfile()
    return _run(own.exists, path) if gfile is None else gfile.exists(path)


def copy(src: Name, dst: Name, overwrite: bool = False) -> None:
    """Copies a file.

    Raises:
      AlreadyExistsError: `dst` exists and `overwrite` is false;
        `tf.errors.AlreadyExistsError` with TensorFlow.
      FileNotFoundError: there is no file `src`; `tf.errors.NotFoundError`.
    """
    gfile = _gfile()
    if gfile is None:
        _run(own.copy, src, dst, overwrite)
    else:
        gfile.copy(src, dst, overwrite=overwrite)


def rename(src: Name, dst: Name, overwrite: bool = False) -> None:
    """Gives a file or folder another name.

    Raises:
      AlreadyExistsError: `dst` exists and `overwrite` is false;
        `tf.errors.AlreadyExistsError` with TensorFlow.
      FileNotFoundError: there is no `src`; `tf.errors.NotFoundError`.
    """
    gfile = _gfile()
    if gfile is None:
        _run(own.rename, src, dst, overwrite)
    else:
        gfile.rename(src, dst, overwrite=overwrite)


def makedirs(path: Name) -> None:
    """Makes a folder and those that it is in. It may exist already.

    Raises:
      FileExistsError: `path` is a file; `tf.errors.FailedPreconditionError` with
        TensorFlow.
    """
    gfile = _gfile()
    if gfile is None:
        _run(own.makedirs, path)
    else:
        gfile.makedirs(path)


def glob(pattern: Name) -> list[str]:
    """Returns the names that match a pattern with `*`, `?` and `[...]`."""
    gfile = _gfile()
    return _run(own.glob, pattern) if gfile is None else gfile.glob(pattern)


def remove(path: Name) -> None:
    """Deletes a file.

    Raises:
      FileNotFoundError: there is no such file; `tf.errors.NotFoundError` with
        TensorFlow.
      IsADirectoryError: it is a folder; `tf.errors.FailedPreconditionError`.
    """
    gfile = _gfile()
    if gfile is None:
        _run(own.remove, path)
    else:
        gfile.remove(path)


def rmtree(path: Name) -> None:
    """Deletes a folder with everything in it.

    Raises:
      FileNotFoundError: there is no such folder; `tf.errors.NotFoundError` with
        TensorFlow.
    """
    gfile = _gfile()
    if gfile is None:
        _run(own.rmtree, path)
    else:
        gfile.rmtree(path)


def getsize(path: Name) -> int:
    """Returns the size of a file in bytes.

    Raises:
      FileNotFoundError: there is no such file; `tf.errors.NotFoundError` with
        TensorFlow.
    """
    gfile = _gfile()
    return _run(own.getsize, path) if gfile is None else gfile.stat(path).length
