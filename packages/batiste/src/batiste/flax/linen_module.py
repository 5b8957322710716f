"""Functions of `flax.linen.module` that Batiste itself has no public use for."""

from __future__ import annotations

from typing import Any

from batiste.linen.module.variables import append as tuple_reduce
from batiste.linen.module.variables import empty as tuple_init

__all__ = ["capture_call_intermediates", "tuple_init", "tuple_reduce"]


def capture_call_intermediates(module: Any, method_name: str) -> bool:
    """The filter of `capture_intermediates=True`: all results of `__call__`.

    >>> capture_call_intermediates(None, "__call__")
    True
    """
    return method_name == "__call__"
