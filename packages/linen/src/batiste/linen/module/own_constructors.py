"""Modules whose class has an `__init__` of its own, not the one of a dataclass."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any, TypeVar

from .. import errors
from .state import ModuleBase

__all__ = ["construct", "not_set"]

T = TypeVar("T", bound=ModuleBase)


def construct(cls: type[T], arguments: Mapping[str, Any]) -> T:
    """Returns a module of the class, made of its constructor arguments.

    Args:
      cls: the class.
      arguments: the values of all fields, `parent` and `name` included.

    Raises:
      InvalidConstructorError: the constructor does not take one of the fields.

    >>> import batiste.linen as nn
    >>> construct(nn.Dense, {"features": 3, "parent": None}).features
    3
    """
    parameters = inspect.signature(cls).parameters
    if not any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        for name in arguments:
            if name not in parameters:
                raise errors.InvalidConstructorError(
                    f"does not take {name!r}, an argument of every copy of the module",
                    module_cls=cls,
                )
    return cls(**arguments)


def not_set(module: ModuleBase, name: str) -> Exception:
    """The error for a module whose constructor has not set the field `name`.

    >>> import batiste.linen as nn
    >>> print(not_set(nn.Dense(3), "parent"))
    ... # doctest: +ELLIPSIS
    The `__init__` of Dense does not set the attribute 'parent'. Declare ...
    """
    return errors.InvalidConstructorError(
        f"does not set the attribute {name!r}", module_cls=type(module)
    )
