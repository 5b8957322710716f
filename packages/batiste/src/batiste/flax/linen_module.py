"""Functions of `flax.linen.module` that Batiste itself has no public use for."""

from __future__ import annotations

from typing import Any

__all__ = ["capture_call_intermediates", "tuple_init", "tuple_reduce"]


def tuple_init() -> tuple[Any, ...]:
    """What `Module.sow` begins with: an empty tuple.

    >>> tuple_init()
    ()
    """
    return ()


def tuple_reduce(xs: tuple[Any, ...], x: Any) -> tuple[Any, ...]:
    """What `Module.sow` does with one more value: appends it.

    >>> tuple_reduce((1, 2), 3)
    (1, 2, 3)
    """
    return (*xs, x)


def capture_call_intermediates(module: Any, method_name: str) -> bool:
    """The filter of `capture_intermediates=True`: all results of `__call__`.

    >>> capture_call_intermediates(None, "__call__")
    True
    """
    return method_name == "__call__"
