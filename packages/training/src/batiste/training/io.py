"""Files and folders by name, local or in a cloud store.

Names with a scheme, such as `gs://bucket/folder`, go through `etils.epath`, which is
imported when the first one is used. All other names are local files. With the mode
`BackendMode.TF` every name goes through `etils.epath`.
"""

from __future__ import annotations

import contextlib
import enum
import glob as glob_module
import os
import re
import shutil
from collections.abc import Iterator
from typing import IO, Any

from .errors import AlreadyExistsError

__all__ = [
    "BackendMode",
    "GFile",
    "copy",
    "exists",
    "getsize",
    "glob",
    "io_mode",
    "is_remote",
    "isdir",
    "listdir",
    "makedirs",
    "override_mode",
    "remove",
    "rename",
    "rmtree",
    "set_mode",
]


_SCHEME = re.compile(r"^[a-zA-Z][a-zA-Z0-9+.-]+://")


class BackendMode(enum.Enum):
    """Which library opens local names: Python's own (`DEFAULT`) or etils (`TF`).

    >>> BackendMode.DEFAULT.value, BackendMode.TF.value
    (0, 1)
    """

    DEFAULT = 0
    TF = 1


io_mode = BackendMode.DEFAULT


def set_mode(override: BackendMode) -> None:
    """Sets the mode for the whole program.

    Raises:
      TypeError: `override` is no `BackendMode`.

    >>> from batiste.training import io
    >>> io.set_mode(io.BackendMode.DEFAULT)
    """
    global io_mode
    if not isinstance(override, BackendMode):
        raise TypeError(
            f"The io mode is {override!r}; it must be BackendMode.DEFAULT or "
            f"BackendMode.TF."
        )
    io_mode = override


@contextlib.contextmanager
def override_mode(override: BackendMode) -> Iterator[None]:
    """Sets the mode inside a `with` block.

    Raises:
      TypeError: `override` is no `BackendMode`.

    >>> from batiste.training import io
    >>> with io.override_mode(io.BackendMode.DEFAULT):
    ...     io.exists('no such file')
    False
    """
    before = io_mode
    try:
        try:
            set_mode(override)
            yield
        finally:
            set_mode(before)
    except BaseException:
        set_mode(before)  # an interrupt may have come before the above
        raise


def is_remote(name: str | os.PathLike[str]) -> bool:
    """Tells whether a name has a scheme, as in `gs://bucket/file`.

    >>> from batiste.training import io
    >>> io.is_remote('gs://bucket/file'), io.is_remote('/tmp/file')
    (True, False)
    """
    return bool(_SCHEME.match(os.fspath(name)))


def _remote(name: str | os.PathLike[str]) -> Any:
    """The name as an `epath.Path`, or None for a local file."""
    if io_mode is BackendMode.DEFAULT and not is_remote(name):
        return None
    try:
        from etils import epath
    except ImportError as error:
        raise ImportError(
            f"{os.fspath(name)!r} is opened with etils.epath, which is not installed. "
            f"pip install orbax-checkpoint (the extra orbax of batiste-training), or "
            f"`etils[epath]` with the library of the cloud store."
        ) from error
    return epath.Path(name)


def GFile(name: str | os.PathLike[str], mode: str) -> IO[Any]:
    """Opens a file.

    Args:
      name: the file.
      mode: as for `open`: `'r'`, `'w'`, `'a'`, `'x'`, with `'b'` for bytes.

    Raises:
      FileNotFoundError: there is no such file to read, or no folder for it.
      ValueError: the mode is unknown.

    >>> import os, tempfile
    >>> from batiste.training import io
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with io.GFile(os.path.join(folder, 'a'), 'w') as f:
    ...         _ = f.write('text')
    ...     with io.GFile(os.path.join(folder, 'a'), 'rb') as f:
    ...         f.read()
    b'text'
    """
    path = _remote(name)
    if path is not None:
        return path.open(mode)
    return open(name, mode) if "b" in mode else open(name, mode, encoding="utf-8")


def listdir(path: str | os.PathLike[str]) -> list[str]:
    """Returns the names in a folder, in no order.

    Raises:
      FileNotFoundError: there is no such folder.

    >>> import tempfile
    >>> from batiste.training import io
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     io.listdir(folder)
    []
    """
    remote = _remote(path)
    if remote is not None:
        return [child.name for child in remote.iterdir()]
    return os.listdir(path)


def isdir(path: str | os.PathLike[str]) -> bool:
    """Returns whether there is a folder of this name.

    >>> from batiste.training import io
    >>> io.isdir('no such folder')
    False
    """
    remote = _remote(path)
    return os.path.isdir(path) if remote is None else remote.is_dir()


def exists(path: str | os.PathLike[str]) -> bool:
    """Returns whether there is a file or folder of this name.

    >>> from batiste.training import io
    >>> io.exists('no such file')
    False
    """
    remote = _remote(path)
    return os.path.exists(path) if remote is None else remote.exists()


def copy(
    src: str | os.PathLike[str], dst: str | os.PathLike[str], overwrite: bool = False
) -> None:
    """Copies a file.

    Raises:
      AlreadyExistsError: `dst` exists and `overwrite` is false.
      FileNotFoundError: there is no file `src`.

    >>> import os, tempfile
    >>> from batiste.training import io
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     a, b = os.path.join(folder, 'a'), os.path.join(folder, 'b')
    ...     open(a, 'w').close()
    ...     io.copy(a, b)
    ...     sorted(io.listdir(folder))
    ['a', 'b']
    """
    if not overwrite and exists(dst):
        raise AlreadyExistsError(os.fspath(dst))
    source, target = _remote(src), _remote(dst)
    if source is None and target is None:
        shutil.copy(src, dst)
        return
    from etils import epath

    epath.Path(src).copy(epath.Path(dst), overwrite=True)


def rename(
    src: str | os.PathLike[str], dst: str | os.PathLike[str], overwrite: bool = False
) -> None:
    """Gives a file or folder another name. Atomic on one local file system.

    Raises:
      AlreadyExistsError: `dst` exists and `overwrite` is false.
      FileNotFoundError: there is no `src`.

    >>> import os, tempfile
    >>> from batiste.training import io
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     a, b = os.path.join(folder, 'a'), os.path.join(folder, 'b')
    ...     open(a, 'w').close()
    ...     io.rename(a, b)
    ...     io.listdir(folder)
    ['b']
    """
    if not overwrite and exists(dst):
        raise AlreadyExistsError(os.fspath(dst))
    source, target = _remote(src), _remote(dst)
    if source is None and target is None:
        os.replace(src, dst)
        return
    from etils import epath

    epath.Path(src).replace(epath.Path(dst))


def makedirs(path: str | os.PathLike[str]) -> None:
    """Makes a folder and those that it is in. It may exist already.

    Raises:
      FileExistsError: `path` is a file.

    >>> import os, tempfile
    >>> from batiste.training import io
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     io.makedirs(os.path.join(folder, 'a', 'b'))
    ...     io.listdir(folder)
    ['a']
    """
    remote = _remote(path)
    if remote is None:
        os.makedirs(path, exist_ok=True)
    else:
        remote.mkdir(parents=True, exist_ok=True)


def glob(pattern: str | os.PathLike[str]) -> list[str]:
    """Returns the names that match a pattern with `*`, `?` and `[...]`.

    >>> from batiste.training import io
    >>> io.glob('no such folder/*')
    []
    """
    remote = _remote(pattern)
    if remote is None:
        return glob_module.glob(os.fspath(pattern))
    from etils import epath

    text = os.fspath(pattern)
    fixed = re.split(r"[*?\[]", text, maxsplit=1)[0].rpartition("/")[0]
    rest = text[len(fixed) :].lstrip("/")
    return [os.fspath(found) for found in epath.Path(fixed or ".").glob(rest)]


def remove(path: str | os.PathLike[str]) -> None:
    """Deletes a file.

    Raises:
      FileNotFoundError: there is no such file.
      IsADirectoryError: it is a folder; use `rmtree`.

    >>> import os, tempfile
    >>> from batiste.training import io
    >>> with tempfile.NamedTemporaryFile(delete=False) as f:
    ...     pass
    >>> io.remove(f.name)
    >>> io.exists(f.name)
    False
    """
    remote = _remote(path)
    if remote is None:
        os.remove(path)
    else:
        remote.unlink()


def rmtree(path: str | os.PathLike[str]) -> None:
    """Deletes a folder with everything in it.

    Raises:
      FileNotFoundError: there is no such folder.
      NotADirectoryError: it is a file; use `remove`.

    >>> import os, tempfile
    >>> from batiste.training import io
    >>> folder = tempfile.mkdtemp()
    >>> io.rmtree(folder)
    >>> io.exists(folder)
    False
    """
    remote = _remote(path)
    if remote is None:
        shutil.rmtree(path)
    else:
        remote.rmtree()


def getsize(path: str | os.PathLike[str]) -> int:
    """Returns the size of a file in bytes.

    Raises:
      FileNotFoundError: there is no such file.

    >>> import tempfile
    >>> from batiste.training import io
    >>> with tempfile.NamedTemporaryFile() as f:
    ...     io.getsize(f.name)
    0
    """
    remote = _remote(path)
    return os.path.getsize(path) if remote is None else remote.stat().length
