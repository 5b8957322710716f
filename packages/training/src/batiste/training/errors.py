"""Errors of checkpoints, files, exported models and weights from PyTorch."""

import os

from batiste.core.errors import FlaxError

__all__ = [
    "AlreadyExistsError",
    "AmbiguousTorchWeightsError",
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
    "TorchOutputsDifferError",
    "TorchRuleError",
    "TorchWeightsError",
    "TracedCheckpointError",
    "UnmatchedTorchWeightsError",
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


class TorchWeightsError(FlaxError, ValueError):
    """Weights of PyTorch and variables of a Linen model do not go together.

    Args:
      message: what is wrong, and what to do.

    >>> print(TorchWeightsError("Of the two, one has no bias."))
    Of the two, one has no bias.
    """


class TorchRuleError(TorchWeightsError):
    """A rule about PyTorch's weights cannot be followed.

    Args:
      rule: the rule.
      reason: why not.

    >>> print(TorchRuleError("{'fc': 'head'}", "names no tensor"))
    The rule {'fc': 'head'} names no tensor.
    """

    def __init__(self, rule: object, reason: str):
        self.rule = str(rule)
        super().__init__(f"The rule {rule} {reason}.")


class AmbiguousTorchWeightsError(TorchWeightsError):
    """Two answers are possible to which variable a tensor of PyTorch becomes.

    Args:
      question: what can be what.
      rules: an answer, as the argument `rules` takes it.

    >>> print(AmbiguousTorchWeightsError("a can be x or y.", {"a": "x"}))
    a can be x or y. Say which with a rule, such as rules={'a': 'x'}.
    """

    def __init__(self, question: str, rules: dict[str, str]):
        self.rules = rules
        super().__init__(f"{question} Say which with a rule, such as rules={rules!r}.")


class UnmatchedTorchWeightsError(TorchWeightsError):
    """Variables have no tensors of PyTorch, or tensors no variables.

    Args:
      missing: the paths of variables without a tensor, with their shapes.
      left_over: the names of tensors without a variable, with their shapes.
      hint: what may be the reason.

    >>> print(UnmatchedTorchWeightsError({"params/b": (3,)}, {}))
    ... # doctest: +ELLIPSIS
    Missing, as no tensor fits: params/b (3,). Rename layers, or ...
    """

    def __init__(
        self,
        missing: dict[str, tuple[int, ...]],
        left_over: dict[str, tuple[int, ...]],
        hint: str = "",
    ):
        self.missing, self.left_over = missing, left_over
        texts = []
        if missing:
            texts.append(f"Missing, as no tensor fits: {_listed(missing)}.")
        if left_over:
            texts.append(f"Left over, as no variable fits: {_listed(left_over)}.")
        if hint:
            texts.append(hint)
        super().__init__(
            f"{' '.join(texts)} Rename layers, or give the model the shapes of the "
            "weights; leave tensors out with a rule, as rules={'head.*': None}; or "
            "pass strict=False to go on without these."
        )


class TorchOutputsDifferError(TorchWeightsError):
    """A Linen model does not compute what the PyTorch model computes.

    Args:
      message: where, by how much, and what may be the reason.
      layer: the path of the first layer that differs; empty if not known.
      difference: the largest difference there.

    >>> TorchOutputsDifferError("They differ.", "norm", 0.5).layer
    'norm'
    """

    def __init__(self, message: str, layer: str, difference: float):
        self.layer, self.difference = layer, difference
        super().__init__(message)


def _listed(shapes: dict[str, tuple[int, ...]], most: int = 12) -> str:
    """Names with shapes, not too many."""
    shown = ", ".join(f"{n} {s}" for n, s in list(shapes.items())[:most])
    rest = len(shapes) - most
    return f"{shown} and {rest} more" if rest > 0 else shown
