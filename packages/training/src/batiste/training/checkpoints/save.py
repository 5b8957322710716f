"""Saving a training state to a folder, step by step, and restoring it.

A checkpoint is complete or absent: it is written under another name, synced to the
disk and renamed, and only then are older ones deleted. A process may be killed at any
moment, a disk may run full, and two programs may save to one folder: the newest
completed checkpoint is what `restore_checkpoint` returns. What a killed save leaves is
deleted by the next one.

There are two formats, told apart when reading. By default a checkpoint is one file of
`batiste.serialization`. With the flag `use_orbax_checkpointing`, or an
`orbax_checkpointer`, it is a folder written by Orbax, which also stores arrays that are
split over several processes.
"""

from __future__ import annotations

import functools
import operator
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax

from batiste import serialization
from batiste.core.config import config

from .. import io
from ..errors import InvalidCheckpointError, MPACheckpointingRequiredError
from ..orbax_utils import is_multiprocess_array
from . import msgpack as checkpoint_msgpack
from . import orbax as checkpoint_orbax
from . import paths as checkpoint_paths
from .async_manager import AsyncManager
from .paths import Entry, safe_normpath
from .processes import meet

__all__ = [
    "available_steps",
    "latest_checkpoint",
    "restore_checkpoint",
    "save_checkpoint",
    "save_checkpoint_multiprocess",
]


# Files that tell a folder written by Orbax from a folder of checkpoints.
_ORBAX_FILES = ("_CHECKPOINT_METADATA", "_METADATA", "manifest.ocdbt", "checkpoint")


@dataclass(frozen=True)
class _Request:
    """What is to be saved where, and what is to be kept."""

    ckpt_dir: str
    prefix: str
    saved: Entry
    keep: int
    overwrite: bool
    keep_every_n_steps: int | float | None

    @property
    def path(self) -> str:
        return self.saved.path

    @property
    def folder(self) -> str:
        return os.path.dirname(self.path) or "."

    def check(self) -> None:
        """Raise if there is a checkpoint of this step or a later one."""
        if self.overwrite:
            return
        existing = checkpoint_paths.entries(self.ckpt_dir, self.prefix)
        if existing and existing[-1].step >= self.saved.step:
            raise InvalidCheckpointError(self.path, self.saved.step)

    def prune_before(self) -> None:
        """Delete what is surplus whether or not the save that starts succeeds.

        With the one to come there are then `keep`. The newest is never deleted.
        """
        existing = checkpoint_paths.entries(self.ckpt_dir, self.prefix)
        if existing and not self.overwrite:
            checkpoint_paths.remove_checkpoints(
                checkpoint_paths.surplus(
                    self.ckpt_dir,
                    self.prefix,
                    existing[-1],
                    max(self.keep - 1, 1),
                    False,
                    self.keep_every_n_steps,
                )
            )

    def prune(self) -> None:
        """Delete the checkpoints that are surplus now that this one is complete."""
        checkpoint_paths.remove_checkpoints(
            checkpoint_paths.surplus(
                self.ckpt_dir,
                self.prefix,
                self.saved,
                self.keep,
                self.overwrite,
                self.keep_every_n_steps,
            )
        )

    def run(self, write: Callable[[], None]) -> None:
        """Check, write and prune, with other savers kept out."""
        with checkpoint_paths.locked_folder(self.folder):
            self.check()
            checkpoint_paths.clean_leftovers(self.ckpt_dir, self.prefix)
            write()
            self.prune()


def _request(
    ckpt_dir: str | os.PathLike,
    step: Any,
    prefix: str,
    keep: int,
    overwrite: bool,
    keep_every_n_steps: int | float | None,
) -> _Request:
    if keep < 1:
        raise ValueError(
            f"keep is {keep}; at least 1 checkpoint, the one that is saved, is kept."
        )
    number = checkpoint_paths.check_step(step)
    folder = safe_normpath(ckpt_dir)
    path = checkpoint_paths.checkpoint_path(folder, step, prefix)
    saved = Entry(number, f"{prefix}{step}", path)
    return _Request(folder, prefix, saved, keep, overwrite, keep_every_n_steps)


def save_checkpoint(
    ckpt_dir: str | os.PathLike,
    target: Any,
    step: int | float,
    prefix: str = "checkpoint_",
    keep: int = 1,
    overwrite: bool = False,
    keep_every_n_steps: int | None = None,
    async_manager: AsyncManager | None = None,
    orbax_checkpointer: Any = None,
) -> str:
    """Save a checkpoint of a step, and delete those that are no longer wanted.

    Every process saves by itself. When several processes share the folder, or arrays
    are split over processes, use `save_checkpoint_multiprocess`.

    Args:
        ckpt_dir: the folder; made if it does not exist. Local, or with a scheme such
            as `gs://`, which needs etils.
        target: what to save: any pytree of arrays, numbers and text, or any other
            type that is registered with `batiste.serialization`. Functions and other
            static fields are not saved.
        step: number of the step, or any other number that orders the checkpoints.
        prefix: what the name begins with; the step follows.
        keep: number of newest checkpoints to keep, this one included.
        overwrite: if there is one of this step or a later one, replace it and delete
            the later ones.
        keep_every_n_steps: beside the newest, keep checkpoints that are at least this
            many steps apart.
        async_manager: save in its background thread. The values are copied before
            this function returns; it waits for the manager's last save.
        orbax_checkpointer: save with this Orbax checkpointer, for example a
            `PyTreeCheckpointer` or `AsyncCheckpointer` of `orbax.checkpoint`.

    Returns:
        The path of the checkpoint.

    Raises:
        InvalidCheckpointError: there is a checkpoint of this step or a later one, and
            `overwrite` is false.
        MPACheckpointingRequiredError: an array is split over processes, and Orbax is
            not used.
        ValueError: `step` is not a finite number, `keep` is less than 1, or Orbax is
            to save a single leaf.
        ImportError: Orbax is to be used and is not installed.
        OSError: the folder cannot be written. Older checkpoints are left as they are.
        Exception: whatever made the last save of the manager or checkpointer fail.

    >>> import tempfile
    >>> from batiste.training import checkpoints
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     for step in range(4):
    ...         _ = checkpoints.save_checkpoint(folder, {'w': step}, step, keep=2)
    ...     checkpoints.available_steps(folder)
    [2, 3]
    """
    request = _request(ckpt_dir, step, prefix, keep, overwrite, keep_every_n_steps)
    if async_manager is not None:
        async_manager.wait_previous_save()
    checkpoint_orbax.wait(request.folder)
    io.makedirs(request.folder)
    request.check()
    if orbax_checkpointer is not None or config.use_orbax_checkpointing:
        return _save_with_orbax(request, target, async_manager, orbax_checkpointer)
    _refuse_multiprocess_arrays(request, target)
    return _save_with_msgpack(request, target, async_manager)


def save_checkpoint_multiprocess(
    ckpt_dir: str | os.PathLike,
    target: Any,
    step: int | float,
    prefix: str = "checkpoint_",
    keep: int = 1,
    overwrite: bool = False,
    keep_every_n_steps: int | None = None,
    async_manager: AsyncManager | None = None,
    gda_manager: Any = None,
    orbax_checkpointer: Any = None,
) -> str:
    """Save one checkpoint from all processes to a folder that they share.

    Every process must call this function, with the same arguments. Process 0 writes
    the checkpoint and deletes old ones. With Orbax each process writes the parts of
    arrays that it holds.

    Args:
        ckpt_dir: the folder, common to all processes.
        target: see `save_checkpoint`.
        step: see `save_checkpoint`.
        prefix: see `save_checkpoint`.
        keep: see `save_checkpoint`.
        overwrite: see `save_checkpoint`.
        keep_every_n_steps: see `save_checkpoint`.
        async_manager: see `save_checkpoint`; the processes do not wait for process 0.
        gda_manager: a `GlobalAsyncCheckpointManager` of
            `jax.experimental.array_serialization`: it stores arrays that are split
            over processes beside the checkpoint file, in the background.
        orbax_checkpointer: see `save_checkpoint`.

    Returns:
        The path of the checkpoint.

    Raises:
        Exception: see `save_checkpoint`.

    >>> import tempfile
    >>> from batiste.training import checkpoints
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = checkpoints.save_checkpoint_multiprocess(folder, {'w': 1}, step=3)
    ...     checkpoints.restore_checkpoint(folder, target=None)
    {'w': 1}
    """
    request = _request(ckpt_dir, step, prefix, keep, overwrite, keep_every_n_steps)
    if async_manager is not None:
        async_manager.wait_previous_save()
    checkpoint_orbax.wait(request.folder)
    io.makedirs(request.folder)
    request.check()
    # No process writes before all have looked for later checkpoints, or some would
    # see the one of this very step.
    meet(f"batiste: checked {request.path}")
    if orbax_checkpointer is not None or config.use_orbax_checkpointing:
        return _save_with_orbax(request, target, async_manager, orbax_checkpointer)
    if gda_manager is not None:
        return _save_with_manager(request, target, gda_manager)
    _refuse_multiprocess_arrays(request, target)
    try:
        if jax.process_index() == 0:
            _save_with_msgpack(request, target, async_manager)
    finally:
        meet(f"batiste: saved {request.path}")
    return request.path


def _save_with_manager(request: _Request, target: Any, manager: Any) -> str:
    from . import arrays as checkpoint_arrays

    manager.wait_until_finished()
    state, arrays = checkpoint_arrays.split(target)
    # The file, which makes the checkpoint count, is written after the arrays.
    checkpoint_arrays.save(
        manager,
        request.path,
        arrays,
        functools.partial(_save_with_msgpack, request, state, None),
    )
    return request.path


def _refuse_multiprocess_arrays(request: _Request, target: Any) -> None:
    if any(map(is_multiprocess_array, jax.tree.leaves(target))):
        raise MPACheckpointingRequiredError(request.path, request.saved.step)


def _save_with_msgpack(
    request: _Request, target: Any, async_manager: AsyncManager | None
) -> str:
    if async_manager is None and not io.is_remote(request.path):
        # Arrays go from where they are to the file; no message is built in memory.
        fill: Any = functools.partial(serialization.serialize, target)
    else:
        data = serialization.to_bytes(target)  # the caller may change the target now
        fill = operator.methodcaller("write", data)
    write = functools.partial(checkpoint_msgpack.write_file, fill, request.path)
    if async_manager is None:
        request.run(write)
    else:
        async_manager.save_async(functools.partial(request.run, write))
    return request.path


def _save_with_orbax(
    request: _Request,
    target: Any,
    async_manager: AsyncManager | None,
    checkpointer: Any,
) -> str:
    checkpoint_orbax.check_savable(target)
    if checkpointer is None:
        checkpointer = checkpoint_orbax.default_checkpointer()
    path = request.path
    if checkpoint_orbax.is_async(checkpointer):
        _start_orbax_save(request, target, checkpointer)
        return path

    def write() -> None:
        written = checkpoint_orbax.destination(path)
        checkpoint_orbax.save(checkpointer, written, target)
        if jax.process_index() == 0:
            checkpoint_paths.finish_replacing(path)

    if jax.process_count() > 1:
        _run_in_all_processes(request, write)
    elif async_manager is None:
        request.run(write)
    else:
        target = checkpoint_orbax.snapshot(target)
        async_manager.save_async(functools.partial(request.run, write))
    return path


def _run_in_all_processes(request: _Request, write: Callable[[], None]) -> None:
    # Orbax lets the processes meet while it saves, so none may wait for a lock that
    # another one holds; only the work of process 0 alone is locked.
    if jax.process_index() == 0:
        with checkpoint_paths.locked_folder(request.folder):
            checkpoint_paths.clean_leftovers(request.ckpt_dir, request.prefix)
    meet(f"batiste: cleaned {request.path}")
    write()
    if jax.process_index() == 0:
        with checkpoint_paths.locked_folder(request.folder):
            request.prune()
    meet(f"batiste: pruned {request.path}")


def _start_orbax_save(request: _Request, target: Any, checkpointer: Any) -> None:
    checkpointer.wait_until_finished()
    path = request.path
    is_first = jax.process_index() == 0
    if is_first:
        with checkpoint_paths.locked_folder(request.folder):
            request.check()
            if checkpoint_paths.is_being_saved(path):
                raise InvalidCheckpointError(path, request.saved.step)
            checkpoint_paths.clean_leftovers(request.ckpt_dir, request.prefix)
            request.prune_before()
            lock = checkpoint_paths.SaveLock(path)
    meet(f"batiste: cleaned {path}")
    written = checkpoint_orbax.destination(path)
    try:
        checkpoint_orbax.save(checkpointer, written, target)
    except BaseException:
        if is_first:
            lock.release()
        raise
    if is_first:
        checkpoint_orbax.add_pending(
            checkpoint_orbax.PendingSave(
                checkpointer, path, written, lock, request.prune
            )
        )


def latest_checkpoint(
    ckpt_dir: str | os.PathLike, prefix: str = "checkpoint_"
) -> str | None:
    """Return the path of the complete checkpoint with the highest step.

    Args:
        ckpt_dir: the folder.
        prefix: what the names begin with. Names that do not go on with a number are
            not checkpoints.

    Returns:
        The path, or None if there is no checkpoint or no folder.

    >>> from batiste.training import checkpoints
    >>> checkpoints.latest_checkpoint('no such folder') is None
    True
    """
    folder = safe_normpath(ckpt_dir)
    checkpoint_orbax.settle(os.path.dirname(os.path.join(folder, prefix)) or ".")
    existing = checkpoint_paths.entries(folder, prefix)
    return existing[-1].path if existing else None


def available_steps(
    ckpt_dir: str | os.PathLike, prefix: str = "checkpoint_", step_type: type = int
) -> list[Any]:
    """Return the steps of the complete checkpoints in a folder, in order.

    Args:
        ckpt_dir: the folder.
        prefix: what the names begin with.
        step_type: `int` or `float`, the type of the results.

    Raises:
        ValueError: `step_type` is `int` and a step is not an integer.

    >>> import tempfile
    >>> from batiste.training import checkpoints
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = checkpoints.save_checkpoint(folder, {'w': 1}, step=0.5)
    ...     checkpoints.available_steps(folder, step_type=float)
    [0.5]
    """
    folder = safe_normpath(ckpt_dir)
    checkpoint_orbax.settle(os.path.dirname(os.path.join(folder, prefix)) or ".")
    steps = []
    for entry in checkpoint_paths.entries(folder, prefix):
        if step_type is int and entry.step != int(entry.step):
            raise ValueError(
                f"The checkpoint {entry.path!r} has the step {entry.step}, which is no "
                f"integer; use available_steps(..., step_type=float)."
            )
        steps.append(step_type(entry.step))
    return steps


def restore_checkpoint(
    ckpt_dir: str | os.PathLike,
    target: Any,
    step: int | float | None = None,
    prefix: str = "checkpoint_",
    parallel: bool = True,
    gda_manager: Any = None,
    allow_partial_mpa_restoration: bool = False,
    orbax_checkpointer: Any = None,
    orbax_transforms: Any = None,
) -> Any:
    """Restore the checkpoint of a step, or the newest.

    Args:
        ckpt_dir: the folder of checkpoints, or a single checkpoint.
        target: an object of the structure to restore, whose values do not matter. If
            None, nested dictionaries are returned (lists and tuples as dictionaries
            with the keys '0', '1', ...), with arrays as NumPy arrays.
        step: the step; None for the highest.
        prefix: what the names begin with.
        parallel: accepted, and of no effect: files are read in one go, and Orbax
            always reads in parallel.
        gda_manager: a `GlobalAsyncCheckpointManager`, needed if the checkpoint was
            saved with one.
        allow_partial_mpa_restoration: leave out arrays split over processes that have
            no counterpart in `target`, instead of raising an error.
        orbax_checkpointer: restore an Orbax checkpoint with this checkpointer.
        orbax_transforms: transformations for Orbax, which change a checkpoint to fit
            the target. With `{}`, leaves that the checkpoint lacks keep the target's
            values.

    Returns:
        `target` with the restored values. From Orbax, a `jax.Array` in the target is
        restored with its sharding and dtype. If `step` is None and there is no
        checkpoint, `target` itself.

    Raises:
        ValueError: there is no checkpoint of `step`; it does not fit `target`; or it
            is damaged.
        MPARestoreTargetRequiredError: an array split over processes has no counterpart
            in `target`.
        MPARestoreDataCorruptedError: such an array was not saved completely.
        ImportError: it is an Orbax checkpoint, and Orbax is not installed.

    >>> import tempfile
    >>> from batiste.training import checkpoints
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = checkpoints.save_checkpoint(folder, {'w': [1, 2]}, step=1)
    ...     checkpoints.restore_checkpoint(folder, target={'w': [0, 0]})
    {'w': [1, 2]}
    """
    read = functools.partial(
        _read,
        target=target,
        step=step,
        manager=gda_manager,
        partial=allow_partial_mpa_restoration,
        checkpointer=orbax_checkpointer,
        transforms=orbax_transforms,
    )
    path = _find(safe_normpath(ckpt_dir), step, prefix)
    while path is not None:
        try:
            return read(path)
        except FileNotFoundError:
            # Another process may have saved and deleted this one in the meantime.
            newest = _find(safe_normpath(ckpt_dir), step, prefix)
            if newest == path:
                raise
            path = newest
    return target


def _read(
    path: str,
    *,
    target: Any,
    step: Any,
    manager: Any,
    partial: bool,
    checkpointer: Any,
    transforms: Any,
) -> Any:
    if io.isdir(path):
        if checkpointer is None:
            checkpointer = checkpoint_orbax.default_checkpointer()
        return checkpoint_orbax.restore(checkpointer, path, target, transforms)
    arrays = path.removesuffix(checkpoint_paths.NEW_SUFFIX)
    if not io.isdir(arrays + checkpoint_paths.ARRAYS_SUFFIX):
        return checkpoint_msgpack.restore_file(path, target)
    from . import arrays as checkpoint_arrays

    return checkpoint_arrays.restore(manager, path, target, step, partial)


def _find(ckpt_dir: str, step: Any, prefix: str) -> str | None:
    """The data of the checkpoint to restore, or None if there is none."""
    if step is not None:
        path = checkpoint_paths.checkpoint_path(ckpt_dir, step, prefix)
        checkpoint_orbax.settle(os.path.dirname(path) or ".")
        found = checkpoint_paths.data_path(path)
        if found is None:
            steps = [e.name for e in checkpoint_paths.entries(ckpt_dir, prefix)]
            raise ValueError(
                f"Matching checkpoint not found: {path}. There "
                f"{'are ' + ', '.join(steps) if steps else 'is none'} in that folder. "
                f"To restore the newest, leave out the step."
            )
        return found
    path = checkpoint_paths.data_path(ckpt_dir)
    if path is None or not io.isdir(path):
        return path
    if any(io.exists(os.path.join(path, name)) for name in _ORBAX_FILES):
        return path
    return latest_checkpoint(ckpt_dir, prefix)
