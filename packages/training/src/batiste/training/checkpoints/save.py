"""Saving a checkpoint of a step: checked, written, and older ones deleted after that.

A save is checked against what is in the folder, written under another name and renamed,
and only then are surplus checkpoints deleted, all with the folder locked. How the data
is written is the affair of `msgpack`, `arrays` and `orbax`.
"""

from __future__ import annotations

import functools
import math
import operator
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, BinaryIO

import jax
from jax.core import Tracer

from batiste import serialization
from batiste.core.types import Tree
from batiste.serialization import stream

from .. import io
from ..errors import (
    InvalidCheckpointError,
    InvalidDestinationError,
    MPACheckpointingRequiredError,
    TracedCheckpointError,
)
from ..flags import config
from ..orbax_utils import is_multiprocess_array
from . import arrays as checkpoint_arrays
from . import folder_checks, pending, removal
from . import msgpack as checkpoint_msgpack
from . import orbax as checkpoint_orbax
from . import paths as checkpoint_paths
from .async_manager import AsyncManager
from .paths import Entry
from .processes import meet

if TYPE_CHECKING:
    import orbax.checkpoint as ocp
    from jax.experimental.array_serialization.serialization import (
        GlobalAsyncCheckpointManager,
    )

__all__ = [
    "save_checkpoint",
    "save_checkpoint_multiprocess",
]


def save_checkpoint(
    ckpt_dir: str | os.PathLike[str],
    target: Tree,
    step: int | float,
    prefix: str = "checkpoint_",
    keep: int = 1,
    overwrite: bool = False,
    keep_every_n_steps: int | None = None,
    async_manager: AsyncManager | None = None,
    orbax_checkpointer: ocp.AbstractCheckpointer | None = None,
) -> str:
    """Saves a checkpoint of a step, and deletes those that are no longer wanted.

    Every process saves by itself. When several processes share the folder, or arrays
    are split over processes, use `save_checkpoint_multiprocess`.

    Args:
      ckpt_dir: the folder; made if it does not exist. Local, or with a scheme such as
        `gs://`, which needs etils.
      target: what to save: any pytree of arrays, numbers and text, or any other type
        that is registered with `batiste.serialization`. Functions and other static
        fields are not saved.
      step: number of the step, or any other number that orders the checkpoints.
      prefix: what the name begins with; the step follows. It may name a folder inside
        of `ckpt_dir`, as in `run_1/checkpoint_`.
      keep: number of newest checkpoints to keep, this one included.
      overwrite: if there is one of this step or a later one, replace it and delete the
        later ones.
      keep_every_n_steps: beside the newest, keep checkpoints that are at least this
        many steps apart.
      async_manager: save in its background thread. What can change is copied before
        this function returns: NumPy arrays, and arrays of accelerators. JAX arrays in
        the memory of a CPU are only held, and are not donated meanwhile. It waits for
        the manager's last save.
      orbax_checkpointer: save with this Orbax checkpointer, for example a
        `PyTreeCheckpointer` or `AsyncCheckpointer` of `orbax.checkpoint`.

    Returns:
      The path of the checkpoint.

    Raises:
      InvalidCheckpointError: there is a checkpoint of this step or a later one, and
        `overwrite` is false.
      MPACheckpointingRequiredError: an array is split over processes, and Orbax is not
        used.
      NotACheckpointError: at the path of the checkpoint there is something else.
      TracedCheckpointError: a value of `target` is traced by `jax.jit` or the like.
      ValueError: `step` is not a finite number, `keep` is less than 1, `prefix` leads
        out of the folder, or Orbax is to save a single leaf or an empty tree.
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
    by_orbax = orbax_checkpointer is not None or config.use_orbax_checkpointing
    request = replace(request, by_orbax=by_orbax)
    _refuse_traced(target)
    _prepare(request, async_manager)
    if by_orbax:
        return _save_with_orbax(request, target, async_manager, orbax_checkpointer)
    _refuse_multiprocess_arrays(request, target)
    return _save_with_msgpack(request, target, async_manager)


def save_checkpoint_multiprocess(
    ckpt_dir: str | os.PathLike[str],
    target: Tree,
    step: int | float,
    prefix: str = "checkpoint_",
    keep: int = 1,
    overwrite: bool = False,
    keep_every_n_steps: int | None = None,
    async_manager: AsyncManager | None = None,
    gda_manager: GlobalAsyncCheckpointManager | None = None,
    orbax_checkpointer: ocp.AbstractCheckpointer | None = None,
) -> str:
    """Saves one checkpoint from all processes to a folder that they share.

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
        `jax.experimental.array_serialization`: it stores arrays that are split over
        processes beside the checkpoint file, in the background.
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
    by_orbax = orbax_checkpointer is not None or config.use_orbax_checkpointing
    request = replace(request, by_orbax=by_orbax)
    _refuse_traced(target)
    _prepare(request, async_manager)
    # No process writes before all have looked for later checkpoints, or some would
    # see the one of this very step.
    meet(f"batiste: checked {request.path}")
    if by_orbax:
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


@dataclass(frozen=True)
class _Request:
    """What is to be saved where, and what is to be kept."""

    ckpt_dir: str
    prefix: str
    saved: Entry
    keep: int
    overwrite: bool
    keep_every_n_steps: int | float | None
    by_orbax: bool = False

    @property
    def outdated(self) -> InvalidCheckpointError:
        """The error of a step that is there already, or that a later one follows."""
        kind = InvalidDestinationError if self.by_orbax else InvalidCheckpointError
        return kind(self.path, self.saved.step)

    @property
    def path(self) -> str:
        return self.saved.path

    @property
    def folder(self) -> str:
        return os.path.dirname(self.path) or "."

    def check(self) -> None:
        """Raises if there is a checkpoint of this step or later, or something else."""
        removal.check_place(self.path)
        if self.overwrite:
            return
        existing = checkpoint_paths.entries(self.ckpt_dir, self.prefix)
        if existing and existing[-1].step >= self.saved.step:
            raise self.outdated

    def prune_before(self) -> None:
        """Deletes what is surplus whether or not the save that starts succeeds.

        With the one to come there are then `keep`. The newest is never deleted.
        """
        existing = checkpoint_paths.entries(self.ckpt_dir, self.prefix)
        if existing and not self.overwrite:
            removal.remove_checkpoints(
                removal.surplus(
                    self.ckpt_dir,
                    self.prefix,
                    existing[-1],
                    max(self.keep - 1, 1),
                    False,
                    self.keep_every_n_steps,
                )
            )

    def prune(self) -> None:
        """Deletes the checkpoints that are surplus now that this one is complete."""
        removal.remove_checkpoints(
            removal.surplus(
                self.ckpt_dir,
                self.prefix,
                self.saved,
                self.keep,
                self.overwrite,
                self.keep_every_n_steps,
            )
        )

    def run(self, write: Callable[[], None]) -> None:
        """Checks, writes and prunes, with other savers kept out."""
        with checkpoint_paths.locked_folder(self.folder):
            self.check()
            removal.clean_leftovers(self.ckpt_dir, self.prefix)
            write()
            self.prune()


def _request(
    ckpt_dir: str | os.PathLike[str],
    step: int | float,
    prefix: str,
    keep: int,
    overwrite: bool,
    keep_every_n_steps: int | float | None,
) -> _Request:
    if not _is_count(keep):
        raise ValueError(
            f"keep is {keep!r}; it has to be a whole number: at least 1 checkpoint, "
            f"the one that is saved, is kept."
        )
    every = keep_every_n_steps
    if every is not None and not _is_distance(every):
        raise ValueError(
            f"keep_every_n_steps is {every!r}; it has to be None or a number of steps."
        )
    checkpoint_paths.check_prefix(prefix)
    folder = checkpoint_paths.check_folder(ckpt_dir)
    if isinstance(step, Tracer):
        raise TracedCheckpointError("step", step)
    number = checkpoint_paths.check_step(step)
    path = checkpoint_paths.checkpoint_path(folder, step, prefix)
    saved = Entry(number, f"{prefix}{step}", path)
    return _Request(folder, prefix, saved, operator.index(keep), overwrite, every)


def _is_count(keep: object) -> bool:
    try:
        return operator.index(keep) >= 1  # pyright: ignore[reportArgumentType]
    except TypeError:
        return False


def _is_distance(every: object) -> bool:
    try:
        return math.isfinite(every) and every >= 0  # pyright: ignore
    except TypeError:
        return False


def _refuse_traced(target: Tree) -> None:
    for place, leaf in jax.tree_util.tree_leaves_with_path(target):
        if isinstance(leaf, Tracer):
            name = jax.tree_util.keystr(place, simple=True, separator="/")
            raise TracedCheckpointError(name or "target", leaf)


def _prepare(request: _Request, async_manager: AsyncManager | None) -> None:
    """Waits for saves that are under way, makes the folder, and looks into it."""
    if async_manager is not None:
        async_manager.wait_previous_save()
    pending.raise_failed(request.ckpt_dir, request.prefix)
    io.makedirs(request.folder)
    request.check()


def _refuse_multiprocess_arrays(request: _Request, target: Tree) -> None:
    if any(map(is_multiprocess_array, jax.tree.leaves(target))):
        raise MPACheckpointingRequiredError(request.path, request.saved.step)


def _save_with_msgpack(
    request: _Request, target: Tree, async_manager: AsyncManager | None
) -> str:
    fill: Callable[[BinaryIO], object]
    if async_manager is not None:
        # The caller may change the target now, or give its arrays away.
        fill = functools.partial(stream.write_parts, stream.held_parts(target))
    elif io.is_remote(request.path):
        fill = operator.methodcaller("write", serialization.to_bytes(target))
    else:
        # Arrays go from where they are to the file; no message is built in memory.
        fill = functools.partial(serialization.serialize, target)
    write = functools.partial(checkpoint_msgpack.write_file, fill, request.path)
    _run(request, write, async_manager)
    return request.path


def _run(
    request: _Request, write: Callable[[], None], async_manager: AsyncManager | None
) -> None:
    """Saves now, or in the background of a manager, which readers then wait for."""
    if async_manager is None:
        request.run(write)
        return
    task = pending.Task(request.path, functools.partial(request.run, write))
    try:
        task.announce()
        async_manager.save_async(task)
    except BaseException:
        task.cancel()
        raise


def _save_with_manager(
    request: _Request, target: Tree, manager: GlobalAsyncCheckpointManager
) -> str:
    manager.wait_until_finished()
    state, arrays = checkpoint_arrays.split(target)
    # The file, which makes the checkpoint count, is written after the arrays.
    checkpoint_arrays.save(
        manager,
        request.path,
        arrays,
        functools.partial(_save_with_msgpack, request, state, None),
    )
    pending.add(pending.BackgroundSave(request.path, manager.wait_until_finished))
    return request.path


def _save_with_orbax(
    request: _Request,
    target: Tree,
    async_manager: AsyncManager | None,
    checkpointer: ocp.AbstractCheckpointer | None,
) -> str:
    checkpoint_orbax.check_savable(target)
    saver = checkpointer
    if saver is None:
        saver = checkpoint_orbax.default_checkpointer()
    path = request.path
    if checkpoint_orbax.is_async(saver):
        _start_orbax_save(request, target, saver)
        return path

    def write() -> None:
        written = checkpoint_orbax.destination(path)
        try:
            checkpoint_orbax.save(saver, written, target)
        except BaseException:
            removal.clean_failed(path)
            raise
        if jax.process_index() == 0:
            folder_checks.record(written)
            removal.finish_replacing(path)

    if jax.process_count() > 1:
        _run_in_all_processes(request, write)
        return path
    if async_manager is not None:
        target = checkpoint_orbax.snapshot(target)
    _run(request, write, async_manager)
    return path


def _run_in_all_processes(request: _Request, write: Callable[[], None]) -> None:
    # Orbax lets the processes meet while it saves, so none may wait for a lock that
    # another one holds; only the work of process 0 alone is locked.
    if jax.process_index() == 0:
        with checkpoint_paths.locked_folder(request.folder):
            removal.clean_leftovers(request.ckpt_dir, request.prefix)
    meet(f"batiste: cleaned {request.path}")
    write()
    if jax.process_index() == 0:
        with checkpoint_paths.locked_folder(request.folder):
            request.prune()
    meet(f"batiste: pruned {request.path}")


def _start_orbax_save(
    request: _Request, target: Tree, checkpointer: ocp.AsyncCheckpointer
) -> None:
    checkpointer.wait_until_finished()
    path = request.path
    if jax.process_index() > 0:
        meet(f"batiste: cleaned {path}")
        written = checkpoint_orbax.destination(path)
        checkpoint_orbax.save(checkpointer, written, target)
        wait = checkpointer.wait_until_finished
        pending.add(pending.BackgroundSave(path, wait, checkpointer))
        return
    lock = checkpoint_paths.SaveLock(path)
    written = ""

    def finish() -> None:
        try:
            checkpointer.wait_until_finished()
            folder_checks.record(written)
            with checkpoint_paths.locked_folder(request.folder):
                if io.exists(written):
                    removal.finish_replacing(path)
                    request.prune()
        finally:
            lock.release()
            if not io.exists(path):
                with checkpoint_paths.locked_folder(request.folder):
                    if not checkpoint_paths.is_being_saved(path):
                        removal.clean_failed(path)

    save = pending.BackgroundSave(path, finish, checkpointer)
    started = False
    # The folder stays locked until Orbax has made its own folders in it, and these are
    # locked, or another saver would take them for what a killed one has left.
    with checkpoint_paths.locked_folder(request.folder):
        request.check()
        if checkpoint_paths.is_being_saved(path):
            raise request.outdated
        removal.clean_leftovers(request.ckpt_dir, request.prefix)
        request.prune_before()
        try:
            lock.mark()
            meet(f"batiste: cleaned {path}")
            written = checkpoint_orbax.destination(path)
            checkpoint_orbax.save(checkpointer, written, target)
            started = True
            lock.hold()
            pending.add(save)
        except BaseException:
            # An interrupt may come before any line, also once the save goes on.
            if started:
                pending.add(save)
                raise
            lock.release()
            removal.clean_failed(path)
            raise
