"""What a training loop needs around a model: state, checkpoints, schedules, devices.

The modules are imported when they are first used.

>>> import batiste.training
>>> batiste.training.train_state.TrainState.__name__
'TrainState'
"""

import importlib
from types import ModuleType
from typing import TYPE_CHECKING

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
        train_state,
    )

__all__ = [
    "checkpoints",
    "common_utils",
    "dynamic_scale",
    "early_stopping",
    "export",
    "io",
    "jax_utils",
    "lr_schedule",
    "orbax_utils",
    "prefetch_iterator",
    "tensorboard",
    "train_state",
]


def __getattr__(name: str) -> ModuleType:
    if name in __all__:
        return importlib.import_module(f".{name}", __name__)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*globals(), *__all__]
