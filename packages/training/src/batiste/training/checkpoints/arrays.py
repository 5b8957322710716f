"""Arrays that are split over processes, stored beside a checkpoint file.

This is the way without Orbax: a `GlobalAsyncCheckpointManager` of JAX writes each such
array to a folder of its own in `<checkpoint>_gda`, and the checkpoint file has a
placeholder in its place.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import jax

from batiste import serialization
from batiste.core.types import Tree

from .. import io
from ..errors import (
    MPACheckpointingRequiredError,
    MPARestoreDataCorruptedError,
    MPARestoreTargetRequiredError,
    NotACheckpointError,
)
from ..orbax_utils import is_multiprocess_array
from . import folder_checks
from . import msgpack as checkpoint_msgpack
from .paths import ARRAYS_SUFFIX, NEW_SUFFIX
from .processes import meet
from .removal import remove_entry
from .shapes import COMMITTED, is_stored_arrays

if TYPE_CHECKING:
    from jax.experimental.array_serialization.serialization import (
        GlobalAsyncCheckpointManager,
    )

__all__ = [
    "are_beside",
    "restore",
    "save",
    "split",
]

_PLACEHOLDER = "__multiprocess_array__:"


def split(target: Tree) -> tuple[Tree, dict[str, jax.Array]]:
    """Takes the multiprocess arrays out of the state of a target.

    Args:
      target: what is to be saved.

    Returns:
      The state dictionary with placeholders, and the arrays by their path.

    >>> split({'w': 1})
    ({'w': 1}, {})
    """
    arrays: dict[str, jax.Array] = {}

    def walk(state: Tree, path: tuple[str, ...]) -> Tree:
        if isinstance(state, dict):
            return {key: walk(value, (*path, str(key))) for key, value in state.items()}
        if is_multiprocess_array(state):
            name = "/".join(path)
            arrays[name] = state
            return _PLACEHOLDER + name
        return state

    return walk(serialization.to_state_dict(target), ()), arrays


def save(
    manager: GlobalAsyncCheckpointManager,
    path: str,
    arrays: dict[str, jax.Array],
    finish: Callable[[], object],
) -> None:
    """Starts to write arrays beside the checkpoint `path`; called in every process.

    Args:
      manager: writes them in the background.
      path: the checkpoint.
      arrays: the arrays by name.
      finish: called in process 0 when all processes have written their parts.

    Raises:
      NotACheckpointError: where they would be there is something else.

    >>> save(None, 'ckpts/checkpoint_1', {}, lambda: print('finished'))
    finished
    """
    if not arrays:
        if jax.process_index() == 0:
            finish()
        return
    folder = path + ARRAYS_SUFFIX
    try:
        if jax.process_index() == 0:
            if not io.is_remote(folder) and os.path.lexists(folder):
                _check_place(folder)
            remove_entry(folder)
            for name in arrays:
                io.makedirs(os.path.join(folder, name))
    finally:
        # No other process may write into the folder before it is cleared and made.
        meet(f"batiste: made {folder}")

    def commit() -> None:
        folder_checks.record(folder)
        with io.GFile(os.path.join(folder, COMMITTED), "w") as file:
            file.write("Saved completely.")
        finish()

    manager.serialize_with_paths(
        list(arrays.values()), _places(folder, arrays), on_commit_callback=commit
    )


def _check_place(folder: str) -> None:
    if not is_stored_arrays(folder):
        raise NotACheckpointError(folder)


def are_beside(path: str) -> bool:
    """Tells whether arrays are stored beside the data of a checkpoint.

    >>> are_beside('no such checkpoint')
    False
    """
    return is_stored_arrays(_folder(path))


def restore(
    manager: GlobalAsyncCheckpointManager | None,
    path: str,
    target: Tree,
    step: int | float | None,
    partial: bool,
) -> Tree:
    """Reads a checkpoint file and the arrays beside it.

    Args:
      manager: reads the arrays.
      path: the data of the checkpoint.
      target: what to restore, with arrays that have the wanted shardings.
      step: the step, for messages.
      partial: leave out arrays that have no counterpart in `target`.

    Returns:
      The target with the restored values; without a target, nested dictionaries.

    Raises:
      MPACheckpointingRequiredError: `manager` is None.
      MPARestoreDataCorruptedError: the arrays were not written completely.
      DamagedCheckpointError: a file is not what was saved.
      MPARestoreTargetRequiredError: an array has no counterpart in `target`.

    >>> restore(None, 'ckpts/checkpoint_1', {}, 1, False)
    Traceback (most recent call last):
        ...
    batiste.training.errors.MPACheckpointingRequiredError: Cannot save or ...
    """
    if manager is None:
        raise MPACheckpointingRequiredError(path, step)
    folder = _folder(path)
    if not io.exists(os.path.join(folder, COMMITTED)):
        raise MPARestoreDataCorruptedError(step, folder)
    if jax.process_count() == 1:  # or each of them would read all
        folder_checks.verify(folder)
    state = checkpoint_msgpack.restore_file(path, None)
    wanted: dict[str, jax.Array] = {}
    holes: list[tuple[dict[str, Any], str, str]] = []

    def walk(state: dict[str, Any], like: Tree) -> None:
        for key, value in state.items():
            known = like.get(key) if isinstance(like, dict) else None
            if isinstance(value, dict):
                walk(value, known)
            elif isinstance(value, str) and value.startswith(_PLACEHOLDER):
                name = value.removeprefix(_PLACEHOLDER)
                if isinstance(known, jax.Array):
                    wanted[name] = known
                    holes.append((state, key, name))
                elif not partial:
                    raise MPARestoreTargetRequiredError(path, step, name)

    # The state itself may be a placeholder, so it is looked at within a dictionary.
    whole = {"": state}
    walk(whole, {"": serialization.to_state_dict(target)})
    if wanted:
        shardings = [array.sharding for array in wanted.values()]
        restored = manager.deserialize_with_paths(shardings, _places(folder, wanted))
        arrays = dict(zip(wanted, restored, strict=True))
        for inside, key, name in holes:
            inside[key] = arrays[name]
    if target is None:
        return whole[""]
    return serialization.from_state_dict(target, whole[""])


def _folder(path: str) -> str:
    """The folder of the arrays beside the data of a checkpoint."""
    return path.removesuffix(NEW_SUFFIX) + ARRAYS_SUFFIX


def _places(folder: str, names: Iterable[str]) -> list[str]:
    """Where each array is, by a path that holds in whatever folder a thread is."""
    return [os.path.join(os.path.abspath(folder), name) for name in names]
