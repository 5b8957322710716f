"""Names a bound module in an error message."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .module import Module

__all__ = ["located"]


def located(module: Module) -> str:
    """The class of `module` and its path in the model, for the start of a message.

    >>> class Model:
    ...     path = ("encoder", "Dense_0")
    >>> located(Model())
    "Model 'encoder/Dense_0'"
    """
    path = "/".join(module.path)
    return f"{type(module).__name__} {path!r}" if path else type(module).__name__
