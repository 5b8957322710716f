"""Deleting checkpoints: those that are surplus, replaced, or left by killed saves.

Only what has the shape of a checkpoint is deleted. A local checkpoint vanishes at once:
it is given a hidden name first, so that nobody reads one that is partly deleted.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
from collections.abc import Iterable

from batiste.serialization import stream

from .. import io
from ..errors import NotACheckpointError
from .paths import (
    ARRAYS_SUFFIX,
    NEW_SUFFIX,
    ORBAX_TMP,
    STEP,
    TMP_SUFFIX,
    Entry,
    entries,
    is_being_saved,
    split_prefix,
)
from .shapes import has_shape, is_stored_arrays

__all__ = [
    "check_place",
    "clean_failed",
    "clean_leftovers",
    "finish_replacing",
    "remove_checkpoints",
    "remove_entry",
    "surplus",
    "sync_folder",
    "temporary_path",
]

_log = logging.getLogger(__name__)
_UNIQUE = r"[0-9a-f]{32}"


def temporary_path(path: str) -> str:
    """Returns a hidden name, beside `path`, that nothing has.

    >>> name = os.path.basename(temporary_path('ckpts/checkpoint_1'))
    >>> name.startswith('.checkpoint_1.'), name.endswith('.batiste-tmp')
    (True, True)
    """
    folder, name = os.path.split(path)
    return os.path.join(folder, stream.temporary_name(name, TMP_SUFFIX[1:]))


def remove_entry(path: str) -> None:
    """Deletes a file or folder that may not be there. Of a link, only the link.

    >>> remove_entry('no such file')
    """
    with contextlib.suppress(FileNotFoundError):
        if io.isdir(path) and (io.is_remote(path) or not os.path.islink(path)):
            io.rmtree(path)
        else:
            io.remove(path)


def _vanish(path: str) -> None:
    """Deletes what is at `path` so that nobody sees a part of it."""
    if io.is_remote(path):
        remove_entry(path)
        return
    hidden = temporary_path(path)
    try:
        os.rename(path, hidden)
    except FileNotFoundError:
        return
    _remove_leftover(hidden)


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


def check_place(path: str) -> None:
    """Checks that a checkpoint may be written to `path`.

    Raises:
      NotACheckpointError: there is something else.

    >>> check_place('no such checkpoint')
    """
    if io.is_remote(path) or os.path.islink(path) or not os.path.lexists(path):
        return
    if os.path.isfile(path) and os.path.getsize(path) == 0:
        return
    if not has_shape(path):
        raise NotACheckpointError(path)


def finish_replacing(path: str) -> None:
    """Lets `<path>.batiste-new` take the place of `path`.

    If the process dies on the way, the new one counts, and the next call goes on.

    >>> finish_replacing('no such checkpoint')
    """
    new = path + NEW_SUFFIX
    if not has_shape(new):
        return
    hidden = None
    if io.is_remote(path):
        remove_entry(path)
    elif os.path.lexists(path):
        hidden = temporary_path(path)
        os.rename(path, hidden)
    io.rename(new, path)
    sync_folder(os.path.dirname(path) or ".")
    if hidden is not None:
        _remove_leftover(hidden)


def clean_leftovers(ckpt_dir: str, prefix: str) -> None:
    """Finishes or deletes what killed saves have left. Call it with the folder locked.

    >>> clean_leftovers('no such folder', 'checkpoint_')
    """
    folder, base = split_prefix(ckpt_dir, prefix)
    try:
        names = io.listdir(folder)
    except (FileNotFoundError, NotADirectoryError):
        return
    ours = re.compile(
        rf"(?P<hidden>\.)?(?P<name>{re.escape(base)}{STEP})(?P<rest>\..*)?"
    )
    # What was to have a name so long that it has no room for more.
    nameless = re.compile(rf"\.{_UNIQUE}{re.escape(TMP_SUFFIX)}")
    for listed in names:
        path = os.path.join(folder, listed)
        if nameless.fullmatch(listed):
            _remove_leftover(path)
        match = ours.fullmatch(listed)
        if match is None or not match["rest"]:
            continue
        rest = match["rest"]
        checkpoint = os.path.join(folder, match["name"])
        of_orbax = rest.removeprefix(NEW_SUFFIX).startswith(ORBAX_TMP)
        if match["hidden"]:
            # Files are only written with the folder locked, which we hold.
            if rest.endswith(TMP_SUFFIX):
                _remove_leftover(path)
        elif rest == NEW_SUFFIX:
            finish_replacing(checkpoint)
        elif of_orbax and not is_being_saved(checkpoint):
            _remove_leftover(path)


def clean_failed(path: str) -> None:
    """Deletes what a failed save of Orbax has left. Call it with the folder locked.

    >>> clean_failed('no such folder/checkpoint_1')
    """
    folder, name = os.path.split(path)
    try:
        names = io.listdir(folder or ".")
    except OSError:
        return
    starts = (name + ORBAX_TMP, name + NEW_SUFFIX + ORBAX_TMP)
    for listed in names:
        if listed.startswith(starts):
            _remove_leftover(os.path.join(folder, listed))


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

    What is no checkpoint, a link, or cannot be deleted is left, and logged: the save
    that makes it surplus has succeeded.

    >>> remove_checkpoints([])
    """
    for path in paths:
        try:
            if not io.is_remote(path):
                if os.path.islink(path):
                    _left(path, "it is a link, whose target others may use")
                    continue
                if os.path.lexists(path) and not has_shape(path):
                    _left(path, "it has not the shape of a checkpoint")
                    continue
            if io.exists(path):
                _vanish(path)
            if has_shape(path + NEW_SUFFIX):
                _vanish(path + NEW_SUFFIX)
            if is_stored_arrays(path + ARRAYS_SUFFIX):
                _vanish(path + ARRAYS_SUFFIX)
        except OSError as error:
            _left(path, str(error))


def _left(path: str, reason: str) -> None:
    _log.warning("The checkpoint %r is surplus, but is left: %s.", path, reason)
