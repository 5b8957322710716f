"""Constructors that follow the config: a default that is a function; an order."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ..flags import config
from .positions import in_force
from .state import ModuleBase, has_own_init, orders_of

__all__ = ["documented_functions", "documented_order"]


def documented_functions(cls: type[ModuleBase], **functions: Any) -> None:
    """Gives fields the functions for defaults that are documented, or else None.

    The documentation has `jax.lax.dot_general` itself for the default of a field
    `dot_general`. Later versions of Flax have None, which means the same. Which one it
    is, config `documented_functions` says, here and whenever it changes; constructors
    are as fast as ever.

    Args:
      cls: a class, whose fields have the default None. Subclasses follow it.
      **functions: the documented default of each field.

    >>> import jax
    >>> import batiste.linen as nn
    >>> nn.Dense(3).dot_general is jax.lax.dot_general
    True
    >>> with config.temp_flip_flag("documented_functions", False):
    ...     nn.Dense(3).dot_general is None
    True
    """

    def follow(documented: bool) -> None:
        for name, function in functions.items():
            _set_default(cls, name, function if documented else None)

    config.watch("documented_functions", follow)


def documented_order(cls: type[ModuleBase]) -> None:
    """Lets the signature of a class with `_field_orders` be in the order in force.

    Args:
      cls: the class. Subclasses follow it.

    >>> import inspect
    >>> import batiste.linen as nn
    >>> with config.temp_flip_flag("documented_orders", True):
    ...     list(inspect.signature(nn.LSTMCell).parameters)[:2]
    ['gate_fn', 'activation_fn']
    """

    def follow(documented: bool) -> None:
        del documented
        for owner in _with_subclasses(cls):
            init = vars(owner).get("__init__")
            if "__signature__" in getattr(init, "__dict__", ()):
                declared = list(owner.__match_args__)
                init.__signature__ = in_force(
                    init.__signature__, orders_of(owner), declared
                )

    config.watch("documented_orders", follow)


def _with_subclasses(cls: type) -> Iterator[Any]:
    yield cls
    for subclass in cls.__subclasses__():
        yield from _with_subclasses(subclass)


def _set_default(cls: Any, name: str, value: Any) -> None:
    """Sets the default of a field of a class, and of subclasses that inherit it."""
    field = cls.__dataclass_fields__[name]
    field.default = value
    setattr(cls, name, value)
    for owner in _with_subclasses(cls):
        init = vars(owner).get("__init__")
        inherits = owner.__dataclass_fields__[name] is field
        if inherits and init is not None and not has_own_init(owner):
            _set_default_of(init, name, value)


def _set_default_of(init: Any, name: str, value: Any) -> None:
    code = init.__code__
    positional = code.co_varnames[: code.co_argcount]
    if name in positional:
        defaults = list(init.__defaults__)
        defaults[positional.index(name) - len(positional)] = value
        init.__defaults__ = tuple(defaults)
    else:
        init.__kwdefaults__[name] = value
    if "__signature__" in vars(init):
        old = init.__signature__
        parameters = dict(old.parameters)
        parameters[name] = parameters[name].replace(default=value)
        init.__signature__ = old.replace(parameters=list(parameters.values()))
