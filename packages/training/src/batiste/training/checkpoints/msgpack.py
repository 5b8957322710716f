"""Checkpoints as one file each, in the msgpack format of `batiste.serialization`."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable
from typing import BinaryIO, cast

from batiste import serialization
from batiste.core.types import Tree

from .. import io
from .paths import NEW_SUFFIX, TMP_SUFFIX, finish_replacing, remove_entry, sync_folder

__all__ = [
    "restore_file",
    "write_file",
]


def write_file(write: Callable[[BinaryIO], object], path: str) -> None:
    """Writes a checkpoint so that it is there whole or not at all.

    The bytes go to a temporary file beside it, which is synced to the disk and renamed.
    If anything fails, the temporary file is deleted and what was at `path` stays.

    Args:
      write: writes the bytes to the file that it is given.
      path: the file's name.

    Raises:
      OSError: the file cannot be written; for example, the disk is full.
      Exception: whatever `write` raises.

    >>> import os, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, 'checkpoint_1')
    ...     write_file(lambda file: file.write(b'data'), path)
    ...     os.listdir(folder)
    ['checkpoint_1']
    """
    folder, name = os.path.split(path)
    temporary = os.path.join(folder, f".{name}.{uuid.uuid4().hex}{TMP_SUFFIX}")
    try:
        with io.GFile(temporary, "wb") as file:
            write(cast(BinaryIO, file))
            file.flush()
            if not io.is_remote(temporary):
                os.fsync(file.fileno())
        # A file cannot be renamed onto a folder, which is what Orbax writes.
        replaces_folder = io.isdir(path)
        io.rename(temporary, path + NEW_SUFFIX * replaces_folder, overwrite=True)
    except BaseException:
        remove_entry(temporary)
        raise
    sync_folder(folder or ".")
    finish_replacing(path)


def restore_file(path: str, target: Tree) -> Tree:
    """Reads a checkpoint file; see `checkpoints.restore_checkpoint`.

    Args:
      path: the file's name.
      target: what to restore; None for nested dictionaries.

    Returns:
      The target with the restored values.

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
            state = serialization.msgpack_restore(file.read())
        if target is None:
            return state
        return serialization.from_state_dict(target, state)
    except ValueError as error:
        error.add_note(f"While restoring the checkpoint {path!r}.")
        raise
