"""Names of `flax.linen.transforms`: type variables, and transforms that are kept.

>>> def twice(target: Target) -> Target: ...
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from batiste.linen import Module
from batiste.linen.transforms import (
    decorator_lift_transform,
    lift_transform,
    module_class_lift_transform,
)

__all__ = [
    "C",
    "Target",
    "TransformTarget",
    "decorator_lift_transform_cached",
    "lift_transform_cached",
    "module_class_lift_transform_cached",
]

TransformTarget = type[Module] | Callable[..., Any]
Target = TypeVar("Target", bound=TransformTarget)
C = TypeVar("C")

# Batiste keeps what is compiled in any case.
lift_transform_cached = lift_transform


def decorator_lift_transform_cached(
    transform: Callable[..., Any], class_fn: Any, **trafo_kwargs: Any
) -> Any:
    """As `decorator_lift_transform`, with keyword arguments alone.

    >>> from batiste.core import lift
    >>> decorator_lift_transform_cached(lift.jit, lambda mdl, x: mdl(x)).__name__
    '<lambda>'
    """
    return decorator_lift_transform(transform, class_fn, **trafo_kwargs)


def module_class_lift_transform_cached(
    transform: Callable[..., Any],
    module_class: Any,
    methods: Any = None,
    **trafo_kwargs: Any,
) -> Any:
    """As `module_class_lift_transform`, with `methods` in third place.

    >>> import batiste.linen as nn
    >>> from batiste.core import lift
    >>> module_class_lift_transform_cached(lift.jit, nn.Dense, ["__call__"]).__name__
    'JitDense'
    """
    return module_class_lift_transform(
        transform, module_class, methods=methods, **trafo_kwargs
    )
