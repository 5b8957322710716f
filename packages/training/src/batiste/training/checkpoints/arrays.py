"""Arrays that are split over processes, stored beside a checkpoint file.

This is the way without Orbax: a `GlobalAsyncCheckpointManager` of JAX writes each such
array to a folder of its own in `<checkpoint>_gda`, and the checkpoint file has a
placeholder in its place.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import jax

from batiste import serialization

from .. import io
from ..errors import (
    MPACheckpointingRequiredError,
    MPARestoreDataCorruptedError,
    MPARestoreTargetRequiredError,
)
from ..orbax_utils import is_multiprocess_array
from . import msgpack as checkpoint_msgpack
from .paths import ARRAYS_SUFFIX, NEW_SUFFIX, remove_entry
from .processes import meet

__all__ = [
    "restore",
    "save",
    "split",
]


_PLACEHOLDER = "__multiprocess_array__:"
_COMMITTED = "commit_success.txt"


def split(target: Any) -> tuple[Any, dict[str, jax.Array]]:
    """Take the multiprocess arrays out of the state of a target.

    Returns:
        The state dictionary with placeholders, and the arrays by their path.

    >>> split({'w': 1})
    ({'w': 1}, {})
    """
    arrays: dict[str, jax.Array] = {}

    def walk(state: Any, path: tuple[str, ...]) -> Any:
        if isinstance(state, dict):
            return {key: walk(value, (*path, str(key))) for key, value in state.items()}
        if is_multiprocess_array(state):
            name = "/".join(path)
            arrays[name] = state
            return _PLACEHOLDER + name
        return state

    return walk(serialization.to_state_dict(target), ()), arrays


def save(
    manager: Any, path: str, arrays: dict[str, jax.Array], finish: Callable[[], object]
) -> None:
    """Start to write arrays beside the checkpoint `path`; call in every process.

    Args:
        manager: the `GlobalAsyncCheckpointManager`.
        path: the checkpoint.
        arrays: the arrays by name.
        finish: called in process 0 when all processes have written their parts.

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
            remove_entry(folder)
            for name in arrays:
                io.makedirs(os.path.join(folder, name))
    finally:
        # No other process may write into the folder before it is cleared and made.
        meet(f"batiste: made {folder}")

    def commit() -> None:
        with io.GFile(os.path.join(folder, _COMMITTED), "w") as file:
            file.write("Saved completely.")
        finish()

    manager.serialize_with_paths(
        list(arrays.values()),
        [os.path.join(os.path.abspath(folder), name) for name in arrays],
        on_commit_callback=commit,
    )


def restore(manager: Any, path: str, target: Any, step: Any, partial: bool) -> Any:
    """Read a checkpoint file and the arrays beside it.

    Args:
        manager: the `GlobalAsyncCheckpointManager`.
        path: the checkpoint.
        target: what to restore, with arrays that have the wanted shardings.
        step: the step, for messages.
        partial: leave out arrays that have no counterpart in `target`.

    Raises:
        MPACheckpointingRequiredError: `manager` is None.
        MPARestoreDataCorruptedError: the arrays were not written completely.
        MPARestoreTargetRequiredError: an array has no counterpart in `target`.

    >>> restore(None, 'ckpts/checkpoint_1', {}, 1, False)
    Traceback (most recent call last):
        ...
    batiste.training.errors.MPACheckpointingRequiredError: Cannot save or ...
    """
    if manager is None:
        raise MPACheckpointingRequiredError(path, step)
    folder = path.removesuffix(NEW_SUFFIX) + ARRAYS_SUFFIX
    if not io.exists(os.path.join(folder, _COMMITTED)):
        raise MPARestoreDataCorruptedError(step, folder)
    state = checkpoint_msgpack.restore_file(path, None)
    wanted: dict[str, jax.Array] = {}
    places: list[tuple[dict, str, str]] = []

    def walk(state: Any, like: Any) -> None:
        for key, value in state.items():
            known = like.get(key) if isinstance(like, dict) else None
            if isinstance(value, dict):
                walk(value, known)
            elif isinstance(value, str) and value.startswith(_PLACEHOLDER):
                name = value.removeprefix(_PLACEHOLDER)
                if isinstance(known, jax.Array):
                    wanted[name] = known
                    places.append((state, key, name))
                elif not partial:
                    raise MPARestoreTargetRequiredError(path, step, name)

    holder = {"": state}
    walk(holder, {"": serialization.to_state_dict(target)})
    restored = dict(
        zip(
            wanted,
            manager.deserialize_with_paths(
                [array.sharding for array in wanted.values()],
                [os.path.join(os.path.abspath(folder), name) for name in wanted],
            )
            if wanted
            else [],
            strict=True,
        )
    )
    for inside, key, name in places:
        inside[key] = restored[name]
    state = holder[""]
    return state if target is None else serialization.from_state_dict(target, state)
