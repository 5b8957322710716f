"""The submodule that a `compact_name_scope` method's variables belong to."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .methods import compact
from .module import Module

__all__ = ["CompactNameScope", "name_scope"]


class CompactNameScope(Module):
    """Runs a method of its parent so that what it constructs belongs to this module.

    Attributes:
      fn: the method, as a function of the parent.
    """

    fn: Callable[..., Any]

    @compact
    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.fn(self.parent, *args, **kwargs)


def name_scope(module: Any, name: str, fn: Callable[..., Any]) -> CompactNameScope:
    """The submodule for the method `name` of a bound module, made when first asked.

    Raises:
      NameInUseError: another submodule of the module has the name.
    """
    child = module._state.children.get(name)
    if not isinstance(child, CompactNameScope):
        child = CompactNameScope(fn, parent=None, name=name)
        vars(child)["parent"] = module
        child._bind()
    return child
