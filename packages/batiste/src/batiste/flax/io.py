"""`flax.io`: files by name, through TensorFlow where that is installed.

Flax opens files with `tensorflow.io.gfile` where it can, and with Python's own
functions elsewhere. TensorFlow is imported when it is first used, and not before.
Without it, both modes are those of `batiste.training.io`.

With TensorFlow, errors are those of `tensorflow.errors`, here also `tf_errors`:
`NotFoundError` for what is missing, `AlreadyExistsError` for what may not be
overwritten, `FailedPreconditionError` for a folder in the place of a file or the other
way round. Files are opened when they are read.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import importlib.util
import sys
from collections.abc import Callable, Iterator
from typing import Any, TypeVar, cast

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

Function = TypeVar("Function", bound=Callable[..., Any])

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


def _run(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Runs a function of Batiste's in the mode that is in force here."""
    mode = globals().get("io_mode", BackendMode.DEFAULT)
    if mode is own.io_mode:
        return function(*args, **kwargs)
    with own.override_mode(mode):
        return function(*args, **kwargs)


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


def _in_mode(function: Function, with_gfile: Callable[..., Any]) -> Function:
    """A function of Batiste's that in the mode `TF` runs TensorFlow's instead."""

    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        gfile = _gfile()
        if gfile is None:
            return _run(function, *args, **kwargs)
        return with_gfile(gfile, *args, **kwargs)

    return cast(Function, wrapper)


GFile = _in_mode(own.GFile, lambda gfile, name, mode: gfile.GFile(name, mode))
listdir = _in_mode(own.listdir, lambda gfile, path: gfile.listdir(path))
isdir = _in_mode(own.isdir, lambda gfile, path: gfile.isdir(path))
exists = _in_mode(own.exists, lambda gfile, path: gfile.exists(path))
makedirs = _in_mode(own.makedirs, lambda gfile, path: gfile.makedirs(path))
glob = _in_mode(own.glob, lambda gfile, pattern: gfile.glob(pattern))
remove = _in_mode(own.remove, lambda gfile, path: gfile.remove(path))
rmtree = _in_mode(own.rmtree, lambda gfile, path: gfile.rmtree(path))
getsize = _in_mode(own.getsize, lambda gfile, path: gfile.stat(path).length)
copy = _in_mode(
    own.copy,
    lambda gfile, src, dst, overwrite=False: gfile.copy(src, dst, overwrite=overwrite),
)
rename = _in_mode(
    own.rename,
    lambda gfile, src, dst, overwrite=False: gfile.rename(
        src, dst, overwrite=overwrite
    ),
)
