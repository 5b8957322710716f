"""What a training loop needs around a model: state, checkpoints, schedules, devices.

The modules are imported when they are first used.

>>> import batiste.training
>>> batiste.training.train_state.TrainState.__name__
'TrainState'
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from . import (
        checkpoints,
        common_utils,
        dynamic_scale,
        early_stopping,
        export,
        io,
        jax_utils,
        lr_schedule,
        orbax_utils,
        prefetch_iterator,
        tensorboard,
        torch_weights,
        train_state,
    )
    from .torch_weights import from_torch, to_torch

__all__ = [
    "checkpoints",
    "common_utils",
    "dynamic_scale",
    "early_stopping",
    "export",
    "from_torch",
    "io",
    "jax_utils",
    "lr_schedule",
    "orbax_utils",
    "prefetch_iterator",
    "tensorboard",
    "to_torch",
    "torch_weights",
    "train_state",
]

_FUNCTIONS = ("from_torch", "to_torch")


def __getattr__(name: str) -> Any:
    if name in _FUNCTIONS:
        return getattr(importlib.import_module(".torch_weights", __name__), name)
    if name in __all__:
        return importlib.import_module(f".{name}", __name__)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*globals(), *__all__]
