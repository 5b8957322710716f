"""Methods of bound modules in the place of functions of a module."""

from __future__ import annotations

import types
from typing import Any

from batiste.core import errors as core_errors
from batiste.core.config import config
from batiste.core.types import Function

from .. import errors
from ..module.state import ModuleBase

__all__ = ["check_owner", "without_module"]


def without_module(fn: Any) -> tuple[Function, ModuleBase | None]:
    """Returns the function of a module's method, and the module; or `fn` and None.

    >>> import batiste.linen as nn
    >>> dense = nn.Dense(3)
    >>> fn, owner = without_module(dense.__call__)
    >>> fn is nn.Dense.__call__, owner is dense, without_module(abs)
    (True, True, (<built-in function abs>, None))
    """
    if isinstance(fn, types.MethodType) and isinstance(fn.__self__, ModuleBase):
        return fn.__func__, fn.__self__
    return fn, None


def check_owner(owner: ModuleBase, module: Any) -> None:
    """Raises if a method was given that is bound to another module than it gets.

    Args:
      owner: the module that it is bound to.
      module: the one that it gets.

    Raises:
      JaxTransformError: they are not the same (config `documented_checks`).
      TransformTargetError: it gets no module.

    >>> import batiste.linen as nn
    >>> dense = nn.Dense(3)
    >>> check_owner(dense, dense)
    """
    if owner is module:
        return
    if not isinstance(module, ModuleBase):
        raise errors.TransformTargetError(module)
    if config.documented_checks and owner.scope != module.scope:
        path = None if owner.scope is None else owner.scope.path_text
        raise core_errors.JaxTransformError(scope_path=path, closed_over=True)
