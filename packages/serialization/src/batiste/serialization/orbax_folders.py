"""Folders that Orbax writes, read array by array, and written.

Orbax, and the JAX that it needs, are an extra, and imported when a folder is asked for.
It is a library like msgpack, beneath this package: nothing of Batiste that is above is
needed to convert what it holds.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any, Final

import numpy as np

from .dtypes import dtype_from_name, dtype_name
from .elements import Elements, elements_of
from .errors import SerializationError, UnserializableTypeError, join_path, listed
from .types import Tree

__all__ = [
    "is_orbax",
    "read_orbax",
    "write_orbax",
]


_DESCRIPTION: Final = "_METADATA"
_MARKS: Final = frozenset((_DESCRIPTION, "_CHECKPOINT_METADATA", "manifest.ocdbt"))
_SMALL: Final = 2**20  # bytes; arrays below are read together
_MOST: Final = 2**28  # bytes that are held for that
_PLAIN: Final = (bool, int, float, str, type(None))


def is_orbax(folder: str) -> bool:
    """Tells whether a folder has what Orbax writes.

    >>> is_orbax("no such folder")
    False
    """
    try:
        return not _MARKS.isdisjoint(os.listdir(folder))
    except OSError:
        return False


def read_orbax(folder: str) -> Tree:
    """Gives the tree of a folder; arrays are read when their parts are asked for.

    Args:
      folder: a checkpoint, or a step of a manager with one item in it.

    Returns:
      The tree, with `Elements` for arrays.

    Raises:
      SerializationError: it is damaged, or has several items.
      ImportError: Orbax is not installed.
    """
    ocp = _import()
    folder = _item_of(os.path.abspath(folder))
    try:
        return _Folder(ocp, folder).tree()
    except (SerializationError, ImportError):
        raise
    except Exception as error:  # whatever Orbax and TensorStore raise
        raise _unreadable(folder, error) from error


def write_orbax(tree: Tree, folder: str) -> None:
    """Writes the folder of a tree.

    What is in a mapped file is written from there; arrays that are not, as those of
    compressed archives, are put together in memory first.

    Args:
      tree: dicts and lists whose leaves are arrays, `Elements`, or Python's numbers,
        strings and None.
      folder: must not be there.

    Raises:
      SerializationError: a leaf has no place in the format.
      ImportError: Orbax is not installed.
      OSError: the folder cannot be written.
    """
    ocp = _import()
    if os.path.lexists(folder):
        raise FileExistsError(f"{folder} is there already.")
    ready = _mapped_leaves(tree, (), _array)
    if not isinstance(ready, (dict, list)):
        raise SerializationError(
            f"Orbax stores trees, and this is a {type(ready).__name__}. Put it into a "
            "dict."
        )
    try:
        ocp.PyTreeCheckpointer().save(os.path.abspath(folder), ready)
    except OSError:
        raise
    except Exception as error:
        raise SerializationError(
            f"Orbax could not write the folder: {type(error).__name__}: {error}."
        ) from error


class _Folder:
    def __init__(self, ocp: Any, folder: str) -> None:
        self.ocp = ocp
        self.folder = folder
        metadata = ocp.PyTreeCheckpointer().metadata(folder)
        metadata = getattr(metadata, "item_metadata", metadata)
        self.stored = getattr(metadata, "tree", metadata)
        if self.stored is None:
            raise SerializationError(
                f"The folder lacks a description that Orbax can read "
                f"({_DESCRIPTION!r}): it is damaged, or is still being written."
            )
        self.small: dict[tuple[Any, ...], Any] = {}

    def tree(self) -> Tree:
        held = 0
        small = set()

        def look(path: tuple[Any, ...], leaf: Any) -> None:
            nonlocal held
            nbytes = self._nbytes(leaf)
            if nbytes <= _SMALL and held + nbytes <= _MOST:
                held += nbytes
                small.add(path)

        _mapped_leaves(self.stored, (), look)
        if small:
            restored = self._restored(small)
            self.small = {path: _at(restored, path) for path in small}
        return _mapped_leaves(self.stored, (), self._leaf)

    def _leaf(self, path: tuple[Any, ...], leaf: Any) -> Any:
        if path in self.small and not self._is_array(leaf):
            value = self.small[path]
            return value.item() if isinstance(value, np.generic) else value
        dtype = dtype_name(np.dtype(leaf.dtype))
        shape = tuple(leaf.shape)

        def parts() -> Iterator[memoryview]:
            found = elements_of(np.asarray(self._read(path)))
            assert found is not None
            if (found.dtype, found.shape) != (dtype, shape):
                raise SerializationError(
                    f"Orbax gave {found.dtype}{list(found.shape)} for an array that "
                    f"is described as {dtype}{list(shape)}.",
                    join_path(path),
                )
            yield from found.parts()

        return Elements(dtype, shape, self._nbytes(leaf), parts)

    def _read(self, path: tuple[Any, ...]) -> Any:
        if path in self.small:
            return self.small[path]
        try:
            value = self._restored({path})
        except Exception as error:
            raise _unreadable(self.folder, error, join_path(path)) from error
        return _at(value, path)

    def _restored(self, wanted: set[tuple[Any, ...]]) -> Tree:
        """The whole tree, with what is not wanted left out of the reading."""
        ocp = self.ocp

        def placed(path: tuple[Any, ...], leaf: Any) -> Any:
            return leaf if path in wanted else ocp.PLACEHOLDER

        def asked(path: tuple[Any, ...], leaf: Any) -> Any:
            if self._is_array(leaf):
                return ocp.RestoreArgs(restore_type=np.ndarray)
            return ocp.RestoreArgs()

        arguments = ocp.args.PyTreeRestore(
            item=_mapped_leaves(self.stored, (), placed),
            restore_args=_mapped_leaves(self.stored, (), asked),
        )
        return ocp.PyTreeCheckpointer().restore(self.folder, args=arguments)

    def _is_array(self, leaf: Any) -> bool:
        metadata = self.ocp.metadata
        is_array = isinstance(leaf, metadata.ArrayMetadata)
        return is_array and not isinstance(leaf, metadata.ScalarMetadata)

    def _nbytes(self, leaf: Any) -> int:
        if not self._is_array(leaf):
            return 0
        return int(np.prod(leaf.shape, dtype=object)) * np.dtype(leaf.dtype).itemsize


def _mapped_leaves(
    tree: Tree, path: tuple[Any, ...], of: Callable[[tuple[Any, ...], Any], Any]
) -> Tree:
    """The tree with what a function makes of its leaves; None and {} are no leaves."""
    if isinstance(tree, dict):
        return {k: _mapped_leaves(v, (*path, k), of) for k, v in tree.items()}
    if isinstance(tree, (list, tuple)):
        return [_mapped_leaves(v, (*path, i), of) for i, v in enumerate(tree)]
    return None if tree is None else of(path, tree)


def _at(tree: Tree, path: tuple[Any, ...]) -> Any:
    for key in path:
        tree = tree[key]
    return tree


def _array(path: tuple[Any, ...], leaf: Any) -> Any:
    try:
        elements = elements_of(leaf)
        if elements is None:
            if type(leaf) in _PLAIN:
                return leaf
            raise UnserializableTypeError(
                f"A value of type {type(leaf).__name__!r} has no place in a folder of "
                "Orbax. Make an array of it, or write msgpack."
            )
        dtype = dtype_from_name(elements.dtype)
        if not elements.nbytes:
            raise SerializationError(
                f"Orbax stores no array without elements, as this "
                f"{elements.dtype}{list(elements.shape)}. Take it out, or write "
                "another format."
            )
    except SerializationError as error:
        error.path = join_path(path)
        raise
    parts = list(elements.parts())
    data = parts[0] if len(parts) == 1 else b"".join(parts)
    return np.frombuffer(data, np.uint8).view(dtype).reshape(elements.shape)


def _item_of(folder: str) -> str:
    """The folder itself, or the one item in a step of a manager."""
    if os.path.exists(os.path.join(folder, _DESCRIPTION)):
        return folder
    items = [
        entry.name
        for entry in os.scandir(folder)
        if os.path.exists(os.path.join(entry.path, _DESCRIPTION))
    ]
    if len(items) > 1:
        raise SerializationError(
            f"This folder of Orbax has several items: {listed(sorted(items))}. Pass "
            "the folder of one of them."
        )
    return os.path.join(folder, *items)


def _unreadable(
    folder: str, error: Exception, path: str | None = None
) -> SerializationError:
    return SerializationError(
        f"Orbax could not read {os.path.basename(folder)!r}: {type(error).__name__}: "
        f"{error}",
        path,
    )


def _import() -> Any:
    try:
        import orbax.checkpoint as ocp
    except ImportError as error:
        raise ImportError(
            "Folders of Orbax need the package orbax-checkpoint, which is not "
            "installed: pip install orbax-checkpoint (the extra orbax of "
            "batiste-serialization)."
        ) from error
    return ocp
