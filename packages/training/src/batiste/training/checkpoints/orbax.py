"""Checkpoints as one folder each, written and read by Orbax."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, TypeGuard

import jax
import numpy as np

from batiste import serialization
from batiste.core.types import Tree

from .. import io, orbax_utils
from ..errors import DamagedCheckpointError, NotACheckpointError
from . import folder_checks
from .paths import NEW_SUFFIX, data_path

if TYPE_CHECKING:
    import orbax.checkpoint as ocp

__all__ = [
    "check_savable",
    "default_checkpointer",
    "destination",
    "is_async",
    "restore",
    "save",
    "snapshot",
]


def _absolute(path: str) -> str:
    return path if io.is_remote(path) else os.path.abspath(path)


def check_savable(target: Tree) -> None:
    """Checks that Orbax can save a target.

    Raises:
      ValueError: `target` is a single leaf, or an empty container.

    >>> check_savable({'w': 1})
    """
    if not jax.tree_util.tree_leaves(target, is_leaf=lambda x: x is not target):
        raise ValueError(
            f"Orbax saves no tree that is empty, and the target is {target!r}. Put it "
            f"into a dictionary, as in {{'state': {target!r}}}, or save it without "
            f"Orbax."
        )
    if jax.tree_util.all_leaves([target]):
        raise ValueError(
            f"Orbax saves pytrees, and the target is a single {type(target).__name__}. "
            f"Put it into a dictionary, or save it with "
            f"orbax.checkpoint.ArrayCheckpointHandler."
        )


def default_checkpointer() -> ocp.PyTreeCheckpointer:
    """Makes the Orbax checkpointer for pytrees, which saves before it returns.

    >>> type(default_checkpointer()).__name__
    'PyTreeCheckpointer'
    """
    return orbax_utils.import_orbax().PyTreeCheckpointer()


def is_async(
    checkpointer: ocp.AbstractCheckpointer,
) -> TypeGuard[ocp.AsyncCheckpointer]:
    """Tells whether a checkpointer saves in the background.

    >>> is_async(default_checkpointer())
    False
    """
    return isinstance(checkpointer, orbax_utils.import_orbax().AsyncCheckpointer)


def _handles_pytrees(checkpointer: ocp.AbstractCheckpointer) -> bool:
    ocp = orbax_utils.import_orbax()
    handler = getattr(checkpointer, "handler", None)
    return handler is None or isinstance(handler, ocp.PyTreeCheckpointHandler)


def destination(path: str) -> str:
    """Returns where to save the checkpoint `path`, so that an older one stays.

    Raises:
      NotACheckpointError: there is something else.

    >>> destination('no such folder/checkpoint_1')
    'no such folder/checkpoint_1'
    """
    if data_path(path) is None:
        return path
    new = path + NEW_SUFFIX
    if not io.is_remote(new) and os.path.lexists(new):
        raise NotACheckpointError(new)  # one of ours would have been cleaned up
    return new


def save(checkpointer: ocp.AbstractCheckpointer, path: str, target: Tree) -> None:
    """Saves to a folder that is not there yet.

    Args:
      checkpointer: what saves; an `AsyncCheckpointer` goes on in the background.
      path: the folder.
      target: the tree.

    >>> import os, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save(default_checkpointer(), os.path.join(folder, 'checkpoint_1'), {'w': 1})
    ...     os.listdir(folder)
    ['checkpoint_1']
    """
    if _handles_pytrees(checkpointer):
        save_args = orbax_utils.save_args_from_target(target)
        checkpointer.save(_absolute(path), target, save_args=save_args)
    else:
        checkpointer.save(_absolute(path), target)


def snapshot(target: Tree) -> Tree:
    """Copies all arrays, so that a background save sees them as they are now.

    >>> import numpy as np
    >>> original = {'w': np.zeros(1)}
    >>> copied = snapshot(original)
    >>> original['w'][0] = 1
    >>> float(copied['w'][0])
    0.0
    """
    return jax.tree.map(
        lambda x: x.copy() if isinstance(x, np.ndarray | jax.Array) else x, target
    )


def _names(path: jax.tree_util.KeyPath) -> tuple[str, ...]:
    """The keys of a path in a pytree, as Orbax stores them."""
    return tuple(jax.tree_util.keystr((key,), simple=True) for key in path)


def _stored_tree(checkpointer: ocp.AbstractCheckpointer, path: str) -> Tree:
    """The tree in a checkpoint, with a description of the array at each leaf."""
    metadata = checkpointer.metadata(path)
    metadata = getattr(metadata, "item_metadata", metadata)
    tree = getattr(metadata, "tree", metadata)
    if tree is None:
        raise DamagedCheckpointError(path, "its description, _METADATA, is not there")
    return tree


def restore(
    checkpointer: ocp.AbstractCheckpointer | None,
    path: str,
    target: Tree,
    transforms: Tree | None,
) -> Tree:
    """Reads a checkpoint folder; see `checkpoints.restore_checkpoint`.

    Args:
      checkpointer: what reads; None for the one of `default_checkpointer`.
      path: the folder.
      target: what to restore; None for nested dictionaries.
      transforms: transformations that make the checkpoint fit the target, or None.

    Returns:
      The target with the restored values.

    Raises:
      DamagedCheckpointError: a file is not what was saved, or the checkpoint cannot be
        read, with any target.
      ValueError: the target has leaves that the checkpoint has not, and there are no
        transformations.

    >>> import os, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, 'checkpoint_1')
    ...     save(default_checkpointer(), path, {'w': [1, 2]})
    ...     restore(None, path, None, None)
    {'w': {'0': 1, '1': 2}}
    """
    path = _absolute(path)
    if jax.process_count() == 1:  # or each of them would read all
        folder_checks.verify(path)
    if checkpointer is None:
        checkpointer = default_checkpointer()
    try:
        return _restore(checkpointer, path, target, transforms)
    except (DamagedCheckpointError, MemoryError):
        raise
    except Exception as error:
        damage = _damage(checkpointer, path)
        if damage is None:
            raise
        raise DamagedCheckpointError(path, damage) from error


def _restore(
    checkpointer: ocp.AbstractCheckpointer, path: str, target: Tree, transforms: Tree
) -> Tree:
    if not _handles_pytrees(checkpointer):
        if target is None:
            return checkpointer.restore(path)
        return checkpointer.restore(path, target)
    if target is None:
        return serialization.to_state_dict(_restore_raw(checkpointer, path))
    if transforms is None:
        _check_structure(checkpointer, path, target)
        transforms = {}
    restored = checkpointer.restore(
        path,
        item=target,
        restore_args=orbax_utils.restore_args_from_target(target),
        transforms=transforms,
    )
    # Orbax sorts dictionaries; this gives them the order of the target again.
    return serialization.from_state_dict(target, serialization.to_state_dict(restored))


def _damage(checkpointer: ocp.AbstractCheckpointer, path: str) -> str | None:
    """Why a checkpoint cannot be read with no target at all; None if it can."""
    if not os.path.isdir(path) and not io.is_remote(path):
        return None  # it has been deleted, which is no damage
    try:
        if not _handles_pytrees(checkpointer):
            checkpointer.restore(path)
        elif jax.process_count() == 1:
            _restore_raw(checkpointer, path)
        else:  # the processes would have to read it together
            _stored_tree(checkpointer, path)
    except ImportError:
        return None
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return None


def _restore_raw(checkpointer: ocp.AbstractCheckpointer, path: str) -> Tree:
    """Restores with all arrays in host memory, whatever devices they were saved on."""
    ocp = orbax_utils.import_orbax()

    def restore_args(stored: object) -> ocp.RestoreArgs:
        is_array = isinstance(stored, ocp.metadata.ArrayMetadata)
        is_scalar = isinstance(stored, ocp.metadata.ScalarMetadata)
        if is_array and not is_scalar:
            return ocp.RestoreArgs(restore_type=np.ndarray)
        return ocp.RestoreArgs()

    stored = _stored_tree(checkpointer, path)
    return checkpointer.restore(path, restore_args=jax.tree.map(restore_args, stored))


def _check_structure(
    checkpointer: ocp.AbstractCheckpointer, path: str, target: Tree
) -> None:
    """Raises ValueError if the target has leaves that the checkpoint has not."""
    stored = {
        _names(place)
        for place, _ in jax.tree_util.tree_leaves_with_path(
            _stored_tree(checkpointer, path)
        )
    }
    wanted = [_names(place) for place, _ in jax.tree_util.tree_leaves_with_path(target)]
    missing = ["/".join(names) for names in wanted if names not in stored]
    if missing:
        shown = ", ".join(missing[:10]) + (", ..." if len(missing) > 10 else "")
        raise ValueError(
            f"The target has {len(missing)} of {len(wanted)} leaves that the "
            f"checkpoint {path!r} has not: {shown}. Pass orbax_transforms={{}} to "
            f"keep the target's own values there, or restore with target=None to see "
            f"what is in the checkpoint."
        )
