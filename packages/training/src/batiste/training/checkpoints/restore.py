"""Finding the checkpoints of a folder, and restoring one of them."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from batiste.core.types import Tree

from .. import io
from . import arrays as checkpoint_arrays
from . import msgpack as checkpoint_msgpack
from . import orbax as checkpoint_orbax
from . import paths as checkpoint_paths
from . import pending

if TYPE_CHECKING:
    import orbax.checkpoint as ocp
    from jax.experimental.array_serialization.serialization import (
        GlobalAsyncCheckpointManager,
    )

__all__ = [
    "available_steps",
    "latest_checkpoint",
    "restore_checkpoint",
]

# Files that tell a folder written by Orbax from a folder of checkpoints.
_ORBAX_FILES = ("_CHECKPOINT_METADATA", "_METADATA", "manifest.ocdbt", "checkpoint")
# How often a reader gives way to a writer that is faster.
_TRIES = 100


def latest_checkpoint(
    ckpt_dir: str | os.PathLike[str], prefix: str = "checkpoint_"
) -> str | None:
    """Returns the path of the complete checkpoint with the highest step.

    Saves to the folder that this program has started in the background are waited for.

    Args:
      ckpt_dir: the folder.
      prefix: what the names begin with. Names that do not go on with a number are not
        checkpoints.

    Returns:
      The path, or None if there is no checkpoint or no folder.

    >>> from batiste.training import checkpoints
    >>> checkpoints.latest_checkpoint('no such folder') is None
    True
    """
    existing = _settled_entries(ckpt_dir, prefix)
    return existing[-1].path if existing else None


def available_steps(
    ckpt_dir: str | os.PathLike[str],
    prefix: str = "checkpoint_",
    step_type: type[int] | type[float] = int,
) -> list[int | float]:
    """Returns the steps of the complete checkpoints in a folder, in order.

    Saves to the folder that this program has started in the background are waited for.

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
    existing = _settled_entries(ckpt_dir, prefix)
    if step_type is int:
        for entry in existing:
            if entry.step != int(entry.step):
                raise ValueError(
                    f"The checkpoint {entry.path!r} has the step {entry.step}, which "
                    f"is no integer; use available_steps(..., step_type=float)."
                )
    return [step_type(entry.step) for entry in existing]


def restore_checkpoint(
    ckpt_dir: str | os.PathLike[str],
    target: Tree,
    step: int | float | None = None,
    prefix: str = "checkpoint_",
    parallel: bool = True,
    gda_manager: GlobalAsyncCheckpointManager | None = None,
    allow_partial_mpa_restoration: bool = False,
    orbax_checkpointer: ocp.AbstractCheckpointer | None = None,
    orbax_transforms: Tree | None = None,
) -> Tree:
    """Restores the checkpoint of a step, or the newest.

    Saves to the folder that this program has started in the background are waited for.
    If another program replaces or deletes the checkpoint while it is read, what is then
    the newest is read. The bytes of a file, or of those in a folder of Orbax, are
    compared with the check that was saved with them, unless the flag
    `verify_checkpoints` of `batiste.core.config` is off. (If several processes restore
    a folder together, it is not compared.)

    Args:
      ckpt_dir: the folder of checkpoints, or a single checkpoint.
      target: an object of the structure to restore, whose values do not matter. If
        None, nested dictionaries are returned (lists and tuples as dictionaries with
        the keys '0', '1', ...), with arrays as NumPy arrays.
      step: the step; None for the highest.
      prefix: what the names begin with.
      parallel: accepted, and of no effect: files are read in one go, and Orbax always
        reads in parallel.
      gda_manager: a `GlobalAsyncCheckpointManager`, needed if the checkpoint was saved
        with one.
      allow_partial_mpa_restoration: leave out arrays split over processes that have no
        counterpart in `target`, instead of raising an error.
      orbax_checkpointer: restore an Orbax checkpoint with this checkpointer.
      orbax_transforms: transformations for Orbax, which change a checkpoint to fit the
        target. With `{}`, leaves that the checkpoint lacks keep the target's values.

    Returns:
      `target` with the restored values. From Orbax, a `jax.Array` in the target is
      restored with its sharding and dtype. If `step` is None and there is no
      checkpoint, `target` itself.

    Raises:
      DamagedCheckpointError: an Orbax checkpoint cannot be read; a `ValueError`.
      ValueError: there is no checkpoint of `step`; it does not fit `target`; a file is
        damaged; or `prefix` leads out of the folder.
      TypeError: `ckpt_dir` is no path.
      Exception: whatever made the last save of `orbax_checkpointer` fail.
      MPARestoreTargetRequiredError: an array split over processes has no counterpart in
        `target`.
      MPARestoreDataCorruptedError: such an array was not saved completely.
      ImportError: it is an Orbax checkpoint, and Orbax is not installed.

    >>> import tempfile
    >>> from batiste.training import checkpoints
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = checkpoints.save_checkpoint(folder, {'w': [1, 2]}, step=1)
    ...     checkpoints.restore_checkpoint(folder, target={'w': [0, 0]})
    {'w': [1, 2]}
    """
    checkpoint_paths.check_prefix(prefix)
    folder = checkpoint_paths.check_folder(ckpt_dir)
    if orbax_checkpointer is not None:
        pending.raise_failed(None, checkpointer=orbax_checkpointer)
        if checkpoint_orbax.is_async(orbax_checkpointer):
            orbax_checkpointer.wait_until_finished()
    path = _find(folder, step, prefix)
    for tries in range(_TRIES):
        if path is None:
            return target
        seen = _identity(path)
        try:
            if io.isdir(path):
                restored = checkpoint_orbax.restore(
                    orbax_checkpointer, path, target, orbax_transforms
                )
                # Orbax takes arrays that were deleted meanwhile for zeros.
                if _identity(path) == seen or tries == _TRIES - 1:
                    return restored
            elif not checkpoint_arrays.are_beside(path):
                return checkpoint_msgpack.restore_file(path, target)
            else:
                return checkpoint_arrays.restore(
                    gda_manager, path, target, step, allow_partial_mpa_restoration
                )
        except Exception:
            # Another program may have replaced or deleted this one in the meantime.
            newest = _find(folder, step, prefix)
            unchanged = newest == path and _identity(path) == seen
            if unchanged or newest is None or tries == _TRIES - 1:
                raise
        path = _find(folder, step, prefix)
    raise AssertionError("the last try returns or raises")


def _identity(path: str) -> tuple[int, ...] | None:
    """What tells a checkpoint from another that takes its place."""
    if io.is_remote(path):
        return None
    try:
        status = os.stat(path)
    except OSError:
        return ()
    # Numbers of files are used again; what was renamed has changed.
    return status.st_dev, status.st_ino, status.st_ctime_ns


def _settled_entries(
    ckpt_dir: str | os.PathLike[str], prefix: str
) -> list[checkpoint_paths.Entry]:
    """The complete checkpoints by step, once background saves are in place."""
    checkpoint_paths.check_prefix(prefix)
    folder = checkpoint_paths.check_folder(ckpt_dir)
    pending.settle(folder, prefix)
    return checkpoint_paths.entries(folder, prefix)


def _find(ckpt_dir: str, step: int | float | None, prefix: str) -> str | None:
    """The data of the checkpoint to restore, or None if there is none."""
    pending.settle(ckpt_dir, prefix)
    if step is not None:
        path = checkpoint_paths.checkpoint_path(ckpt_dir, step, prefix)
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
