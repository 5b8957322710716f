"""Names of functions in profiles."""

from __future__ import annotations

import functools
from typing import Any

import jax

from batiste.core.types import Function

from ..module.context import named_calls
from ..module.state import ModuleBase

__all__ = ["named_call"]


def named_call(class_fn: Function, force: bool = True) -> Function:
    """Shows the calls of a function of a module by name in JAX's profiles.

    Methods of modules are shown anyway, unless that is switched off.

    Args:
      class_fn: a method, or a function whose first argument is a module.
      force: whether to do so even if names are switched off.

    >>> import jax, jax.numpy as jnp
    >>> import batiste.linen as nn
    >>> class Net(nn.Module):
    ...     @nn.compact
    ...     def __call__(self, x):
    ...         head = nn.named_call(lambda mdl, x: nn.Dense(1)(x))
    ...         return head(self, x)
    >>> y, _ = Net().init_with_output(jax.random.key(0), jnp.ones((2, 3)))
    >>> y.shape
    (2, 1)
    """
    name = getattr(class_fn, "__name__", "unnamed_function")
    suffix = "" if name == "__call__" else f".{name}"

    @functools.wraps(class_fn)
    def wrapper(module: Any, *args: Any, **kwargs: Any) -> Any:
        if not isinstance(module, ModuleBase) or not (force or named_calls()):
            return class_fn(module, *args, **kwargs)
        module_name = getattr(module, "name", None) or type(module).__name__
        with jax.named_scope(module_name + suffix):
            return class_fn(module, *args, **kwargs)

    return wrapper
