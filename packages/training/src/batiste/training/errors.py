"""Errors of checkpoints, files and exported models."""

import os

from batiste.core.errors import FlaxError

__all__ = [
    "AlreadyExistsError",
    "DamagedCheckpointError",
    "ExportError",
    "ExportedCallError",
    "ExportedFileError",
    "InvalidCheckpointError",
    "InvalidDestinationError",
    "MPACheckpointingRequiredError",
    "MPARestoreDataCorruptedError",
    "MPARestoreTargetRequiredError",
    "MPARestoreTypeNotMatchError",
    "NotACheckpointError",
    "TracedCheckpointError",
]


class InvalidCheckpointError(FlaxError):
    """The directory already has a checkpoint of this step or a later one.

    Args:
      path: the checkpoint that would be written.
      step: its step.

    >>> print(InvalidCheckpointError('ckpts/checkpoint_1', 1))
    ... # doctest: +ELLIPSIS
    Cannot save a checkpoint of step 1 at "ckpts/checkpoint_1": its directory ...
    """

    def __init__(self, path: str | os.PathLike[str], step: int | float | None):
        self.path, self.step = str(path), step
        super().__init__(
            f'Cannot save a checkpoint of step {step} at "{path}": its directory '
            "already has one of this step or a later step. Pass `overwrite=True` to "
            "replace them, or save a later step."
        )


class InvalidDestinationError(InvalidCheckpointError, ValueError):
    """Orbax would write over a checkpoint; it raises ValueError where it finds one.

    Args:
      path: the checkpoint that would be written.
      step: its step.

    >>> error = InvalidDestinationError('ckpts/checkpoint_1', 1)
    >>> isinstance(error, ValueError), isinstance(error, InvalidCheckpointError)
    (True, True)
    """


class MPACheckpointingRequiredError(FlaxError):
    """Arrays that span several processes were saved without a manager for them.

    Args:
      path: the checkpoint.
      step: its step.

    >>> print(MPACheckpointingRequiredError('ckpts/checkpoint_1', 1))
    ... # doctest: +ELLIPSIS
    Cannot save or restore step 1 at "ckpts/checkpoint_1": the target holds ...
    """

    def __init__(self, path: str | os.PathLike[str], step: int | float | None):
        self.path, self.step = str(path), step
        super().__init__(
            f'Cannot save or restore step {step} at "{path}": the target holds arrays '
            "that span several processes. Pass a GlobalAsyncCheckpointManager as "
            "`gda_manager`, or use Orbax."
        )


class MPARestoreTargetRequiredError(FlaxError):
    """Arrays that span several processes were restored without a target for them.

    Args:
      path: the checkpoint.
      step: its step.
      key: path in the tree of the array without a target, where known.

    >>> print(MPARestoreTargetRequiredError('ckpts/checkpoint_1', 1, 'params/w'))
    ... # doctest: +ELLIPSIS
    Cannot restore step 1 from "ckpts/checkpoint_1": the array at "params/w" spans ...
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        step: int | float | None,
        key: str | None = None,
    ):
        self.path, self.step = str(path), step
        self.key = None if key is None else str(key)
        which = "an array" if key is None else f'the array at "{key}"'
        super().__init__(
            f'Cannot restore step {step} from "{path}": {which} spans several '
            "processes and needs a sharding. Pass a `target` that has such an array "
            "there, or `allow_partial_mpa_restoration=True` to leave it out."
        )


class MPARestoreDataCorruptedError(FlaxError):
    """A stored array lacks the mark that its save was completed.

    Args:
      step: step of the checkpoint.
      path: directory of the array.

    >>> print(MPARestoreDataCorruptedError(1, 'ckpts/checkpoint_1_gda/w'))
    ... # doctest: +ELLIPSIS
    Cannot restore step 1 from "ckpts/checkpoint_1_gda/w": it has no ...
    """

    def __init__(self, step: int | float | None, path: str | os.PathLike[str]):
        self.step, self.path = step, str(path)
        super().__init__(
            f'Cannot restore step {step} from "{path}": it has no '
            '"commit_success.txt", so its save was interrupted or its data is '
            "damaged. Restore an earlier step."
        )


class MPARestoreTypeNotMatchError(FlaxError):
    """A stored array is of another array type than the configuration expects.

    Args:
      step: step of the checkpoint.
      gda_path: directory of the array.

    >>> print(MPARestoreTypeNotMatchError(1, 'ckpts/checkpoint_1_gda/w'))
    ... # doctest: +ELLIPSIS
    Cannot restore step 1 from "ckpts/checkpoint_1_gda/w": its array type ...
    """

    def __init__(self, step: int | float | None, gda_path: str | os.PathLike[str]):
        self.step, self.gda_path = step, str(gda_path)
        super().__init__(
            f'Cannot restore step {step} from "{gda_path}": its array type is not '
            "the one of the target. Give jax.Array values, and no others, in the "
            "target."
        )


class AlreadyExistsError(FlaxError):
    """A file would be overwritten.

    Args:
      path: the file.

    >>> print(AlreadyExistsError('ckpts/checkpoint_1'))
    "ckpts/checkpoint_1" already exists. Pass `overwrite=True` to replace it.
    """

    def __init__(self, path: str | os.PathLike[str]):
        self.path = str(path)
        super().__init__(
            f'"{path}" already exists. Pass `overwrite=True` to replace it.'
        )


class NotACheckpointError(FlaxError):
    """Where a checkpoint would be saved, there is something else.

    Args:
      path: the checkpoint that would be written.

    >>> print(NotACheckpointError('ckpts/checkpoint_1'))
    ... # doctest: +ELLIPSIS
    Cannot save a checkpoint at "ckpts/checkpoint_1": what is there is no checkpoint ...
    """

    def __init__(self, path: str | os.PathLike[str]):
        self.path = str(path)
        super().__init__(
            f'Cannot save a checkpoint at "{path}": what is there is no checkpoint and '
            "is left as it is. Move it away, or save with another `prefix`, another "
            "step or to another folder."
        )


class DamagedCheckpointError(FlaxError, ValueError):
    """A checkpoint is there and cannot be read.

    Args:
      path: the checkpoint.
      reason: what reading it ran into.

    >>> print(DamagedCheckpointError('ckpts/checkpoint_1', 'no metadata'))
    ... # doctest: +ELLIPSIS
    The checkpoint "ckpts/checkpoint_1" is damaged, and cannot be read: no metadata...
    """

    def __init__(self, path: str | os.PathLike[str], reason: object):
        self.path, self.reason = str(path), str(reason)
        shown = self.reason if len(self.reason) < 500 else self.reason[:500] + "…"
        super().__init__(
            f'The checkpoint "{path}" is damaged, and cannot be read: {shown}. '
            "Restore another step, or another copy of it."
        )


class TracedCheckpointError(FlaxError, TypeError):
    """A checkpoint was to be saved while JAX traces a function.

    Args:
      name: the place in the target, or the argument, of the traced value.
      value: the traced value.

    >>> print(TracedCheckpointError('params/w', 'JitTracer(float32[2])'))
    ... # doctest: +ELLIPSIS
    Cannot save a checkpoint while JAX traces a function: "params/w" is ...
    """

    def __init__(self, name: str, value: object):
        self.name = name
        super().__init__(
            f'Cannot save a checkpoint while JAX traces a function: "{name}" is '
            f"{value}, which has no value yet. Call it outside of functions that "
            "jax.jit, grad, vmap or scan transform, or through "
            "jax.experimental.io_callback."
        )


class ExportError(FlaxError, ValueError):
    """A model cannot be exported as it was asked for.

    >>> issubclass(ExportError, ValueError)
    True
    """


class ExportedFileError(FlaxError, ValueError):
    """A file of an exported model cannot be read, or not by this JAX.

    Args:
      path: the file.
      reason: what is wrong, and what to do.

    >>> print(ExportedFileError('model.zip', 'It is empty.'))
    Cannot load "model.zip": It is empty.
    """

    def __init__(self, path: str | os.PathLike[str], reason: str):
        self.path = str(path)
        super().__init__(f'Cannot load "{path}": {reason}')


class ExportedCallError(FlaxError, TypeError, ValueError):
    """An exported model was called with what it does not take.

    >>> issubclass(ExportedCallError, (TypeError, ValueError))
    True
    """
