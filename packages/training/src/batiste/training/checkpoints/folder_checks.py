"""Checks of the files in a checkpoint folder, which find what was changed in them.

Orbax protects the tables of a checkpoint, and not the elements of its arrays: most bits
that flip there are restored. Each file is therefore given a check as an attribute of
it, like a checkpoint that is one file; see `batiste.serialization.integrity`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

from batiste.serialization import SerializationError, integrity

from .. import io
from ..errors import DamagedCheckpointError
from ..flags import config

__all__ = ["record", "verify"]

# They are written again after a save, and decide no value.
_UNCHECKED = {"_CHECKPOINT_METADATA", "commit_success.txt"}


def record(path: str) -> None:
    """Records a check of each file in a folder that was just saved.

    Nothing is read where the file system has no attributes, in cloud stores, or with
    the flag `verify_checkpoints` of `batiste.core.config` off.

    Args:
      path: the folder.

    >>> record('no such folder')
    """
    if io.is_remote(path) or not config.verify_checkpoints:
        return
    for file in _files(path):
        try:
            if not integrity.record(file, integrity.NONE):
                return
            integrity.record(file, integrity.check_of_file(file))
        except OSError:
            continue  # somebody has deleted it, or may not write to it


def verify(path: str) -> None:
    """Compares the files in a folder with the checks that were recorded of them.

    A file without a check is taken as it is, and all are with the flag
    `verify_checkpoints` of `batiste.core.config` off.

    Args:
      path: the folder.

    Raises:
      DamagedCheckpointError: a file is not what was saved.

    >>> verify('no such folder')
    """
    if io.is_remote(path) or not config.verify_checkpoints:
        return
    for file in _files(path):
        check = integrity.recorded(file)
        if check is None:
            continue
        try:
            integrity.verify_file(file, check)
        except FileNotFoundError:
            continue  # the checkpoint is being deleted
        except SerializationError as error:
            name = os.path.relpath(file, path)
            raise DamagedCheckpointError(path, f"{name}: {error.reason}") from error


def _files(path: str) -> Iterator[str]:
    for folder, _, names in os.walk(path):
        for name in sorted(set(names) - _UNCHECKED):
            file = os.path.join(folder, name)
            if os.path.isfile(file) and not os.path.islink(file):
                yield file
