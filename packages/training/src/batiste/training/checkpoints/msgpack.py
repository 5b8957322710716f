"""Checkpoints as one file each, in the msgpack format of `batiste.serialization`."""

from __future__ import annotations

import contextlib
import io as io_module
import os
from collections.abc import Callable, Iterator
from typing import BinaryIO, cast

from batiste import serialization
from batiste.core.types import Tree
from batiste.serialization import integrity, stream

from .. import io
from ..errors import NotACheckpointError
from ..flags import config
from .paths import NEW_SUFFIX
from .removal import finish_replacing, remove_entry, sync_folder, temporary_path

__all__ = [
    "restore_file",
    "write_file",
]


def write_file(write: Callable[[BinaryIO], object], path: str) -> None:
    """Writes a checkpoint so that it is there whole or not at all.

    The bytes go to a temporary file beside it, which is synced to the disk and renamed.
    If anything fails, the temporary file is deleted and what was at `path` stays. A
    check of the bytes is recorded with the file, and the permissions are those of the
    file that it replaces.

    Args:
      write: writes the bytes to the file that it is given.
      path: the file's name.

    Raises:
      NotACheckpointError: it would replace a folder, and where it would wait for that
        there is something else.
      OSError: the file cannot be written; for example, the disk is full.
      Exception: whatever `write` raises.

    >>> import os, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, 'checkpoint_1')
    ...     write_file(lambda file: file.write(b'data'), path)
    ...     os.listdir(folder)
    ['checkpoint_1']
    """
    temporary = temporary_path(path)
    try:
        with _open_new(temporary, path) as file:
            checked = integrity.CheckedFile(file)
            whole = io_module.BufferedWriter(checked)  # writes until all is written
            try:
                write(cast(BinaryIO, whole))
                whole.flush()
            except BaseException:
                # Or what it holds is written, to a closed file, when it is collected.
                with contextlib.suppress(Exception):
                    whole.close()
                raise
            if not io.is_remote(temporary):
                integrity.record(file.fileno(), checked.check.text())
                os.fsync(file.fileno())
        # A file cannot be renamed onto a folder, which is what Orbax writes.
        replaces_folder = io.isdir(path) and not os.path.islink(path)
        placed = path + NEW_SUFFIX * replaces_folder
        if replaces_folder and os.path.lexists(placed):
            raise NotACheckpointError(placed)  # ours would have been cleaned up
        io.rename(temporary, placed, overwrite=True)
    except BaseException:
        with contextlib.suppress(OSError):
            remove_entry(temporary)
        raise
    sync_folder(os.path.dirname(path) or ".")
    finish_replacing(path)


@contextlib.contextmanager
def _open_new(temporary: str, path: str) -> Iterator[BinaryIO]:
    if io.is_remote(temporary):
        with io.GFile(temporary, "wb") as file:
            yield cast(BinaryIO, file)
    else:
        with stream.open_beside(temporary, path) as file:
            yield cast(BinaryIO, file)


def restore_file(path: str, target: Tree) -> Tree:
    """Reads a checkpoint file; see `checkpoints.restore_checkpoint`.

    Args:
      path: the file's name.
      target: what to restore; None for nested dictionaries.

    Returns:
      The target with the restored values.

    If a check was recorded with the file, its bytes are compared with it, unless the
    flag `verify_checkpoints` of `batiste.core.config` is off.

    Raises:
      ValueError: the file is damaged, or does not fit `target`. A note on the error
        names the file.

    >>> import functools, os, tempfile
    >>> from batiste import serialization
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, 'checkpoint_1')
    ...     write_file(functools.partial(serialization.serialize, {'w': 1}), path)
    ...     restore_file(path, {'w': 0})
    {'w': 1}
    """
    try:
        with io.GFile(path, "rb") as file:
            data = file.read()
            check = None if io.is_remote(path) else integrity.recorded(file.fileno())
        if check is not None and config.verify_checkpoints:
            integrity.verify(data, check)
        state = serialization.msgpack_restore(data)
        if target is None:
            return state
        return serialization.from_state_dict(target, state)
    except ValueError as error:
        error.add_note(f"While restoring the checkpoint {path!r}.")
        raise
