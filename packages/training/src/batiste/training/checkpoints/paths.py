"""The names of checkpoints in a folder: steps, order and locks.

A checkpoint of step `s` is the entry `<prefix><s>` of its folder: a file (msgpack) or
a folder (Orbax). A folder of that name with anything else in it is the user's own, and
no checkpoint. Besides, a folder can hold, of saves that are running or were killed:

- `.<name>.<unique>.batiste-tmp`: a file that is being written, or a checkpoint that is
  being deleted;
- `<name>.orbax-checkpoint-tmp...`: a folder that Orbax is writing;
- `<name>.batiste-new`: a complete checkpoint that is about to take the place of
  `<name>`. It counts as the checkpoint `<name>` from the moment that it exists.
"""

from __future__ import annotations

import contextlib
import math
import os
import re
import threading
from collections.abc import Iterable, Iterator
from pathlib import PurePath
from typing import NamedTuple

from .. import io
from .shapes import has_shape, is_orbax

__all__ = [
    "ARRAYS_SUFFIX",
    "NEW_SUFFIX",
    "ORBAX_TMP",
    "STEP",
    "TMP_SUFFIX",
    "Entry",
    "SaveLock",
    "check_folder",
    "check_prefix",
    "check_step",
    "checkpoint_path",
    "data_path",
    "entries",
    "is_being_saved",
    "locked_folder",
    "natural_sort",
    "safe_normpath",
    "split_prefix",
]


try:
    import fcntl
except ImportError:  # Windows, where a folder cannot be locked this way.
    fcntl = None

TMP_SUFFIX = ".batiste-tmp"
NEW_SUFFIX = ".batiste-new"
# What the multiprocess arrays of a msgpack checkpoint are stored under.
ARRAYS_SUFFIX = "_gda"

ORBAX_TMP = ".orbax-checkpoint-tmp"
# ASCII digits only: a name in others is not one that a save has given.
STEP = r"[-+]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][-+]?[0-9]+)?"
_STEP_RE = re.compile(STEP)
_SIGNED = re.compile(rf"({STEP})")
_UNSIGNED = re.compile(rf"[-+]?({STEP.removeprefix('[-+]?')})")
# While a folder changes, listings of it may lack what it has; they are made again.
_LISTINGS = 20


class Entry(NamedTuple):
    """A complete checkpoint: its step as a number, its name, and where its data is."""

    step: int | float
    name: str
    path: str


def _number(text: str) -> int | float:
    try:
        return int(text)
    except ValueError:
        return float(text)


def natural_sort(file_list: Iterable[str], signed: bool = True) -> list[str]:
    """Sorts names so that the numbers in them count as numbers.

    Args:
      file_list: the names.
      signed: whether a `-` or `+` before a number counts. If not, it is ignored.

    Returns:
      The names in their order.

    >>> from batiste.training import checkpoints
    >>> checkpoints.natural_sort(['ckpt_1', 'ckpt_10', 'ckpt_2', 'ckpt_1e5'])
    ['ckpt_1', 'ckpt_2', 'ckpt_10', 'ckpt_1e5']
    >>> checkpoints.natural_sort(['ckpt_0.01', 'ckpt_0.1', 'ckpt_0.001', 'ckpt_-1.0'])
    ['ckpt_-1.0', 'ckpt_0.001', 'ckpt_0.01', 'ckpt_0.1']
    """
    pattern = _SIGNED if signed else _UNSIGNED

    def parts(name: str) -> list[tuple[int, int | float | str]]:
        # Numbers sort before text, so that two names never compare one to the other.
        return [
            (0, _number(part)) if i % 2 else (1, part)
            for i, part in enumerate(pattern.split(name))
        ]

    return sorted(file_list, key=parts)


def safe_normpath(path: str | os.PathLike[str]) -> str:
    """Normalizes a path as `os.path.normpath` does, leaving a scheme as it is.

    >>> from batiste.training import checkpoints
    >>> checkpoints.safe_normpath('gs://bucket//folder/')
    'gs://bucket/folder'
    >>> checkpoints.safe_normpath('a//b/../c/')
    'a/c'
    """
    scheme, separator, rest = os.fspath(path).rpartition("://")
    if separator:
        return scheme + separator + (os.path.normpath(rest) if rest else "")
    return os.path.normpath(rest)


def checkpoint_path(ckpt_dir: str, step: int | float, prefix: str) -> str:
    """Returns the path of the checkpoint of a step.

    >>> checkpoint_path('ckpts', 0.5, 'model_')
    'ckpts/model_0.5'
    """
    return os.path.join(ckpt_dir, f"{prefix}{step}")


def check_step(step: object) -> int | float:
    """Returns the step as a number.

    Raises:
      ValueError: `step` is not a finite number.

    >>> check_step(3), check_step(0.5)
    (3, 0.5)
    """
    if _STEP_RE.fullmatch(str(step)) and math.isfinite(_number(str(step))):
        return _number(str(step))
    raise ValueError(
        f"step is {step!r}; a checkpoint needs a finite number, such as 100 or 0.5."
    )


def data_path(path: str) -> str | None:
    """Returns where the data of the checkpoint `path` is; None if there is none.

    >>> data_path('no such checkpoint') is None
    True
    """
    if has_shape(path + NEW_SUFFIX):
        return path + NEW_SUFFIX
    return path if io.exists(path) else None


def split_prefix(ckpt_dir: str, prefix: str) -> tuple[str, str]:
    """Returns the folder of checkpoints, and what their names in it begin with.

    A prefix may itself name a folder, as in `run_1/checkpoint_`.

    >>> split_prefix('ckpts', 'run_1/checkpoint_')
    ('ckpts/run_1', 'checkpoint_')
    """
    return os.path.split(os.path.join(ckpt_dir, prefix))


def check_folder(ckpt_dir: str | os.PathLike[str]) -> str:
    """Returns a folder of checkpoints, normalized.

    Raises:
      TypeError: `ckpt_dir` is no path.

    >>> check_folder('ckpts/')
    'ckpts'
    """
    if isinstance(ckpt_dir, str | os.PathLike):
        path = os.fspath(ckpt_dir)
        if isinstance(path, str):
            return safe_normpath(path)
    raise TypeError(
        f"ckpt_dir is {ckpt_dir!r}; the folder of the checkpoints has to be given, as "
        f"text or as a pathlib.Path."
    )


def check_prefix(prefix: str) -> str:
    """Returns a prefix that stays in the folder of the checkpoints.

    Raises:
      ValueError: it is absolute, or leads out of the folder.
      TypeError: it is no text.

    >>> check_prefix('run_1/checkpoint_')
    'run_1/checkpoint_'
    """
    if not isinstance(prefix, str):
        raise TypeError(
            f"prefix is {prefix!r}; it has to be a text, such as 'checkpoint_'."
        )
    leaves = os.path.isabs(prefix) or ".." in PurePath(prefix).parts
    if leaves or io.is_remote(prefix) or "\0" in prefix:
        raise ValueError(
            f"prefix is {prefix!r}, which leads out of the folder of the checkpoints. "
            f"Name the folder as ckpt_dir, and in prefix only what the names in it "
            f"begin with."
        )
    return prefix


def entries(ckpt_dir: str, prefix: str) -> list[Entry]:
    """Lists the complete checkpoints in a folder, by step.

    >>> entries('no such folder', 'checkpoint_')
    []
    """
    folder, base = split_prefix(ckpt_dir, prefix)
    inside = prefix[: len(prefix) - len(base)]
    found: list[Entry] = []
    for _ in range(_LISTINGS):
        before = _changed(folder)
        found, vanished = _list_once(folder, base, inside)
        if not vanished and _changed(folder) == before:
            break
    return found


def _list_once(folder: str, base: str, inside: str) -> tuple[list[Entry], bool]:
    """Lists checkpoints; with whether one of them was gone when it was looked at."""
    try:
        names = set(io.listdir(folder))
    except (FileNotFoundError, NotADirectoryError):
        return [], False
    found: dict[str, Entry] = {}
    vanished = False
    for listed in names:
        name = listed.removesuffix(NEW_SUFFIX)
        step = name.removeprefix(base)
        if not name.startswith(base) or not _STEP_RE.fullmatch(step):
            continue
        number = _number(step)
        if not math.isfinite(number):
            continue
        path = os.path.join(folder, name)
        # What others have under such a name is nothing that we would have made.
        if name + NEW_SUFFIX in names and has_shape(path + NEW_SUFFIX):
            path += NEW_SUFFIX
        elif name not in names:
            vanished = vanished or not os.path.lexists(path + NEW_SUFFIX)
            continue
        if _is_checkpoint(path):
            found[name] = Entry(number, inside + name, path)
        elif not os.path.lexists(path) and not io.is_remote(path):
            vanished = True
    return sorted(found.values()), vanished


def _is_checkpoint(path: str) -> bool:
    """Whether there is a file or a folder that has the shape of a checkpoint."""
    if io.is_remote(path):
        # Cloud stores cannot rename a folder; Orbax adds this file when it is done.
        return not io.isdir(path) or io.exists(os.path.join(path, "commit_success.txt"))
    return is_orbax(path) if os.path.isdir(path) else os.path.isfile(path)


def _changed(folder: str) -> int | None:
    """When names in a local folder have last changed."""
    if io.is_remote(folder):
        return None
    try:
        return os.stat(folder or ".").st_mtime_ns
    except OSError:
        return None


_folder_locks: dict[str, threading.Lock] = {}
_folder_locks_guard = threading.Lock()


@contextlib.contextmanager
def locked_folder(folder: str) -> Iterator[None]:
    """Keeps other threads and local processes from saving to a folder meanwhile.

    The lock belongs to the process and ends with it, however that happens. On file
    systems without locks, and in cloud stores, only threads are kept out.

    >>> with locked_folder('.'):
    ...     pass
    """
    with _folder_locks_guard:
        lock = _folder_locks.setdefault(os.path.realpath(folder), threading.Lock())
    descriptors: list[int] = []
    with lock:
        try:
            if fcntl is not None and not io.is_remote(folder):
                descriptors.append(os.open(folder, os.O_RDONLY))
                with contextlib.suppress(OSError):
                    fcntl.flock(descriptors[0], fcntl.LOCK_EX)
            yield
            _unlock(descriptors)  # within `try`: an interrupt may come before any line
        except BaseException:
            _unlock(descriptors)
            raise


def _unlock(descriptors: list[int]) -> None:
    """Gives up locks, and forgets them; goes on where it was interrupted."""
    while descriptors:
        if fcntl is not None:
            # Closing would not do where a child process has the descriptor, too.
            with contextlib.suppress(OSError):
                fcntl.flock(descriptors[-1], fcntl.LOCK_UN)
        os.close(descriptors.pop())


class SaveLock:
    """Marks a checkpoint that a background save of Orbax is writing.

    Other threads see the mark itself. Other processes see that the folders are locked
    which Orbax writes the checkpoint into, once `hold` has locked them. There is no
    lock file. The locks end with the process, however that happens.

    >>> lock = SaveLock('ckpts/checkpoint_1')
    >>> lock.mark()
    >>> held = is_being_saved('ckpts/checkpoint_1')
    >>> lock.release()
    >>> held, is_being_saved('ckpts/checkpoint_1')
    (True, False)
    """

    def __init__(self, path: str):
        self._path = path
        self._key = os.path.realpath(path)
        self._descriptors: list[int] = []

    def mark(self) -> None:
        """Has other threads see that the checkpoint is being saved.

        >>> lock = SaveLock('gs://bucket/checkpoint_1')
        >>> lock.mark()
        >>> lock.release()
        """
        if fcntl is not None and not io.is_remote(self._path):
            with _folder_locks_guard:
                _saving.append(self)

    def hold(self) -> None:
        """Locks the folders that Orbax is writing. Call it with their folder locked.

        >>> SaveLock('gs://bucket/checkpoint_1').hold()
        """
        for folder in _written_by_orbax(self._path):
            with contextlib.suppress(OSError):
                descriptor = os.open(folder, _FOLDER)
                self._descriptors.append(descriptor)
                if fcntl is not None:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def release(self) -> None:
        """Gives up the locks.

        >>> SaveLock('gs://bucket/checkpoint_1').release()
        """
        with _folder_locks_guard:
            if self in _saving:
                _saving.remove(self)
        _unlock(self._descriptors)

    @property
    def key(self) -> str:
        """The checkpoint, by a path that is the same however it is named."""
        return self._key


_saving: list[SaveLock] = []
_FOLDER = os.O_RDONLY | getattr(os, "O_DIRECTORY", 0) | getattr(os, "O_NOFOLLOW", 0)


def _written_by_orbax(path: str) -> list[str]:
    """The folders that Orbax is writing, or has left behind, of a checkpoint."""
    if fcntl is None or io.is_remote(path):
        return []
    folder, name = os.path.split(path)
    starts = (name + ORBAX_TMP, name + NEW_SUFFIX + ORBAX_TMP)
    try:
        listed = os.listdir(folder or ".")
    except OSError:
        return []
    return [os.path.join(folder, n) for n in listed if n.startswith(starts)]


def is_being_saved(path: str) -> bool:
    """Tells whether a live process holds the `SaveLock` of a checkpoint.

    Call it with the folder locked.

    >>> is_being_saved('no such checkpoint')
    False
    """
    if fcntl is None or io.is_remote(path):
        return False
    with _folder_locks_guard:
        if os.path.realpath(path) in [lock.key for lock in _saving]:
            return True
    return any(map(_is_locked, _written_by_orbax(path)))


def _is_locked(folder: str) -> bool:
    descriptors: list[int] = []
    try:
        descriptors.append(os.open(folder, _FOLDER))
        if fcntl is not None:
            fcntl.flock(descriptors[0], fcntl.LOCK_EX | fcntl.LOCK_NB)
        _unlock(descriptors)
    except BaseException as error:
        _unlock(descriptors)
        if not isinstance(error, OSError):
            raise
        # Else it is gone, or the file system has no locks.
        return isinstance(error, BlockingIOError)
    return False
