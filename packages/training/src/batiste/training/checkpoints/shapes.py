"""What is a checkpoint, by its content: only that is read, replaced or deleted.

Others may have files and folders with any name, links too.
"""

from __future__ import annotations

import os

from batiste.serialization import integrity

from .. import io

__all__ = [
    "COMMITTED",
    "has_shape",
    "is_message",
    "is_orbax",
    "is_stored_arrays",
]

# What makes the multiprocess arrays beside a checkpoint count.
COMMITTED = "commit_success.txt"
# Of these Orbax writes at least one into each checkpoint; all its versions, together.
_ORBAX_NAMES = {
    "_CHECKPOINT_METADATA",
    "_METADATA",
    "_sharding",
    "_strings.json",
    "array_metadatas",
    "commit_success.txt",
    "manifest.ocdbt",
    "ocdbt.process_0",
}
_ARRAY = {".zarray", "zarr.json"}  # what tensorstore writes for each array


def has_shape(path: str) -> bool:
    """Tells whether there is a checkpoint, as far as one can tell. A link is none.

    >>> has_shape('no such checkpoint')
    False
    """
    if io.is_remote(path):
        return io.exists(path)
    if os.path.islink(path):
        return False
    if os.path.isdir(path):
        return is_orbax(path)
    if not os.path.isfile(path):
        return False
    return is_message(path) or integrity.recorded(path) is not None


def is_stored_arrays(folder: str) -> bool:
    """Tells whether a folder is one of arrays that are stored beside a checkpoint.

    One that has no files at all is, too: that of a save which was killed as it began.

    >>> is_stored_arrays('no such folder')
    False
    """
    if io.is_remote(folder):
        return io.isdir(folder)
    if os.path.islink(folder) or not os.path.isdir(folder):
        return False
    if os.path.exists(os.path.join(folder, COMMITTED)):
        return True
    has_files = False
    for _, _, names in os.walk(folder):
        if not _ARRAY.isdisjoint(names):
            return True
        has_files = has_files or bool(names)
    return not has_files


def is_orbax(path: str) -> bool:
    """Tells whether a folder has what Orbax writes into a checkpoint.

    >>> is_orbax('no such folder')
    False
    """
    try:
        names = io.listdir(path)
    except OSError:
        return False
    if not _ORBAX_NAMES.isdisjoint(names):
        return True
    # The first versions wrote one file for all but large arrays. TensorFlow has a text
    # of this name in its folders.
    return "checkpoint" in names and is_message(os.path.join(path, "checkpoint"))


def is_message(path: str) -> bool:
    """Tells whether a file begins like a checkpoint of `batiste.serialization`.

    What a tree begins with is not a character of ASCII, which texts begin with.

    >>> is_message('no such file')
    False
    """
    try:
        with io.GFile(path, "rb") as file:
            start = file.read(2)
    except OSError:
        return False
    return len(start) == 1 or start[:1] >= b"\x80"
