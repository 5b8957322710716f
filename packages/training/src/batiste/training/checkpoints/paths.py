"""The names of checkpoints in a folder: steps, order, locks and leftovers.

A checkpoint of step `s` is the entry `<prefix><s>` of its folder: a file (msgpack) or
a folder (Orbax). Besides, a folder can hold, of saves that are running or were killed:

- `.<name>.<unique>.batiste-tmp`: a file that is being written;
- `<name>.orbax-checkpoint-tmp...`: a folder that Orbax is writing;
- `<name>.batiste-new`: a complete checkpoint that is about to take the place of
  `<name>`. It counts as the checkpoint `<name>` from the moment that it exists.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import tempfile
import threading
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from .. import io

__all__ = [
    "ARRAYS_SUFFIX",
    "NEW_SUFFIX",
    "TMP_SUFFIX",
    "Entry",
    "SaveLock",
    "check_step",
    "checkpoint_path",
    "clean_leftovers",
    "data_path",
    "entries",
    "finish_replacing",
    "is_being_saved",
    "locked_folder",
    "natural_sort",
    "remove_checkpoints",
    "remove_entry",
    "safe_normpath",
    "surplus",
    "sync_folder",
]


try:
    import fcntl
except ImportError:  # Windows, where a folder cannot be locked this way.
    fcntl = None

TMP_SUFFIX = ".batiste-tmp"
NEW_SUFFIX = ".batiste-new"
# What the multiprocess arrays of a msgpack checkpoint are stored under.
ARRAYS_SUFFIX = "_gda"

_ORBAX_TMP = ".orbax-checkpoint-tmp"
_STEP = r"[-+]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][-+]?\d+)?"
_STEP_RE = re.compile(_STEP)
_SIGNED = re.compile(rf"({_STEP})")
_UNSIGNED = re.compile(rf"[-+]?({_STEP.removeprefix('[-+]?')})")


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
    if _STEP_RE.fullmatch(str(step)):
        return _number(str(step))
    raise ValueError(
        f"step is {step!r}; a checkpoint needs a finite number, such as 100 or 0.5."
    )


def data_path(path: str) -> str | None:
    """Returns where the data of the checkpoint `path` is; None if there is none.

    >>> data_path('no such checkpoint') is None
    True
    """
    if io.exists(path + NEW_SUFFIX):
        return path + NEW_SUFFIX
    return path if io.exists(path) else None


def entries(ckpt_dir: str, prefix: str) -> list[Entry]:
    """Lists the complete checkpoints in a folder, by step.

    >>> entries('no such folder', 'checkpoint_')
    []
    """
    # A prefix may itself name a folder, as in `run_1/checkpoint_`.
    folder, base = os.path.split(os.path.join(ckpt_dir, prefix))
    inside = prefix[: len(prefix) - len(base)]
    try:
        names = set(io.listdir(folder))
    except (FileNotFoundError, NotADirectoryError):
        return []
    found = {}
    for listed in names:
        name = listed.removesuffix(NEW_SUFFIX)
        step = name.removeprefix(base)
        if not name.startswith(base) or not _STEP_RE.fullmatch(step):
            continue
        present = name + NEW_SUFFIX if name + NEW_SUFFIX in names else name
        path = os.path.join(folder, present)
        # Cloud stores cannot rename a folder; Orbax adds this file when it is done.
        marked = os.path.join(path, "commit_success.txt")
        if io.is_remote(path) and io.isdir(path) and not io.exists(marked):
            continue
        found[name] = Entry(_number(step), inside + name, path)
    return sorted(found.values())


def remove_entry(path: str) -> None:
    """Deletes a file or folder that may not be there.

    >>> remove_entry('no such file')
    """
    with contextlib.suppress(FileNotFoundError):
        if io.isdir(path):
            io.rmtree(path)
        else:
            io.remove(path)


def sync_folder(folder: str) -> None:
    """Makes renames in a local folder last through a power failure.

    >>> sync_folder('.')
    """
    if io.is_remote(folder) or os.name == "nt":
        return
    fd = os.open(folder, os.O_RDONLY)
    try:
        # Some network file systems cannot sync a folder; they need not.
        with contextlib.suppress(OSError):
            os.fsync(fd)
    finally:
        os.close(fd)


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
        lock = _folder_locks.setdefault(os.path.abspath(folder), threading.Lock())
    with lock:
        fd = None
        if fcntl is not None and not io.is_remote(folder):
            fd = os.open(folder, os.O_RDONLY)
        try:
            if fd is not None and fcntl is not None:
                with contextlib.suppress(OSError):
                    fcntl.flock(fd, fcntl.LOCK_EX)
            yield
        finally:
            if fd is not None:
                os.close(fd)


class SaveLock:
    """A file that is locked for as long as a background save is running.

    >>> import os, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, 'checkpoint_1')
    ...     lock = SaveLock(path)
    ...     held = is_being_saved(path)
    ...     lock.release()
    ...     held, is_being_saved(path)
    (True, False)
    """

    def __init__(self, path: str):
        self._fd: int | None = None
        if fcntl is None or io.is_remote(path):
            return
        self._file = _lock_file(path)
        self._fd = os.open(self._file, os.O_RDWR | os.O_CREAT, 0o644)
        with contextlib.suppress(OSError):
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def release(self) -> None:
        """Deletes the file and gives up the lock.

        >>> SaveLock('gs://bucket/checkpoint_1').release()
        """
        if self._fd is not None:
            remove_entry(self._file)
            os.close(self._fd)
            self._fd = None


def _lock_file(path: str) -> str:
    # Not in the folder itself, where users list their checkpoints.
    digest = hashlib.sha256(os.path.realpath(path).encode()).hexdigest()[:32]
    return os.path.join(tempfile.gettempdir(), f"batiste-save-{digest}.lock")


def is_being_saved(path: str) -> bool:
    """Tells whether a live process holds the `SaveLock` of a checkpoint.

    Call it with the folder locked: the lock of a process that is gone is deleted.

    >>> is_being_saved('no such checkpoint')
    False
    """
    if fcntl is None or io.is_remote(path):
        return False
    try:
        fd = os.open(_lock_file(path), os.O_RDWR)
    except OSError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        remove_entry(_lock_file(path))
    except OSError:
        return True
    finally:
        os.close(fd)
    return False


def finish_replacing(path: str) -> None:
    """Lets `<path>.batiste-new` take the place of `path`.

    If the process dies on the way, the new one counts, and the next call goes on.

    >>> finish_replacing('no such checkpoint')
    """
    if io.exists(path + NEW_SUFFIX):
        remove_entry(path)
        io.rename(path + NEW_SUFFIX, path)
        sync_folder(os.path.dirname(path) or ".")


def clean_leftovers(ckpt_dir: str, prefix: str) -> None:
    """Finishes or deletes what killed saves have left. Call it with the folder locked.

    >>> clean_leftovers('no such folder', 'checkpoint_')
    """
    folder, base = os.path.split(os.path.join(ckpt_dir, prefix))
    try:
        names = io.listdir(folder)
    except (FileNotFoundError, NotADirectoryError):
        return
    ours = re.compile(
        rf"(?P<hidden>\.)?(?P<name>{re.escape(base)}{_STEP})(?P<rest>\..*)?"
    )
    for listed in names:
        match = ours.fullmatch(listed)
        if match is None or not match["rest"]:
            continue
        path, rest = os.path.join(folder, listed), match["rest"]
        checkpoint = os.path.join(folder, match["name"])
        of_orbax = rest.removeprefix(NEW_SUFFIX).startswith(_ORBAX_TMP)
        if match["hidden"]:
            # Files are only written with the folder locked, which we hold.
            if rest.endswith(TMP_SUFFIX):
                _remove_leftover(path)
        elif rest == NEW_SUFFIX:
            finish_replacing(checkpoint)
        elif of_orbax and not is_being_saved(checkpoint):
            _remove_leftover(path)


def _remove_leftover(path: str) -> None:
    # After a failed background save, threads of Orbax may go on writing for a while.
    # What cannot be deleted now is deleted by the next save.
    with contextlib.suppress(OSError):
        remove_entry(path)


def surplus(
    ckpt_dir: str,
    prefix: str,
    saved: Entry,
    keep: int,
    overwrite: bool,
    keep_every_n_steps: int | float | None,
) -> list[str]:
    """Lists the checkpoints to delete, now that `saved` is complete.

    Args:
      ckpt_dir: the folder.
      prefix: what the names of checkpoints begin with.
      saved: the newest one.
      keep: number of newest checkpoints to keep.
      overwrite: whether those of later steps are outdated.
      keep_every_n_steps: keep, beside the newest, those that are so far apart.

    Returns:
      The paths.

    >>> saved = Entry(3, 'checkpoint_3', 'ckpts/checkpoint_3')
    >>> surplus('no such folder', 'checkpoint_', saved, 1, False, None)
    []
    """
    existing = entries(ckpt_dir, prefix)
    outdated = []
    if overwrite:
        outdated = [
            e for e in existing if e.step >= saved.step and e.name != saved.name
        ]
        existing = [e for e in existing if e not in outdated]
    last_kept = -float("inf")
    for entry in existing[:-keep]:
        if keep_every_n_steps and entry.step - last_kept >= keep_every_n_steps:
            last_kept = entry.step
        else:
            outdated.append(entry)
    return [os.path.join(ckpt_dir, entry.name) for entry in outdated]


def remove_checkpoints(paths: Iterable[str]) -> None:
    """Deletes checkpoints, with the arrays that are stored beside them.

    >>> remove_checkpoints([])
    """
    for path in paths:
        remove_entry(path)
        remove_entry(path + NEW_SUFFIX)
        remove_entry(path + ARRAYS_SUFFIX)
