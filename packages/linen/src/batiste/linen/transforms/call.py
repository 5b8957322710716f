"""One call of a lifted transform, with modules for scopes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ..module.state import ModuleBase, state_of
from .module_map import ModuleMap, check_output

__all__ = ["LiftedBody", "call_lifted", "commit_cursors", "continues_names"]

Lifter = Callable[[Callable[..., Any]], Callable[..., Any]]


class LiftedBody:
    """A function of modules as a function of scopes, to give to `batiste.core.lift`.

    Args:
      fn: the function; its first argument is a module.
      module_map: the modules of the call.
      target: the slot of the first argument, or a tree of slots.
      kwargs: keyword arguments that do not pass through the transform.
    """

    def __init__(
        self,
        fn: Callable[..., Any],
        module_map: ModuleMap,
        target: Any,
        kwargs: Mapping[str, Any] | None = None,
    ):
        self.fn = fn
        self.module_map = module_map
        self.target = target
        self.kwargs = kwargs or {}
        self.cursors: dict[str, int] = {}
        self.__name__ = getattr(fn, "__name__", type(fn).__name__)

    def __call__(self, scopes: Any, *args: Any, **kwargs: Any) -> Any:
        rebuilt = self.module_map.rebuild(scopes)
        try:
            module = rebuilt.fill(self.target)
            args = tuple([rebuilt.fill(arg) for arg in args])
            kwargs = {
                name: rebuilt.fill(value)
                for name, value in {**self.kwargs, **kwargs}.items()
            }
            y = self.fn(module, *args, **kwargs)
            check_output(y, self.__name__)
            if isinstance(module, ModuleBase):
                self.cursors = state_of(module).cursors
            return y
        finally:
            rebuilt.release()


def call_lifted(
    lifter: Lifter,
    fn: Callable[..., Any],
    module: Any,
    args: tuple,
    kwargs: Mapping[str, Any],
    cls: type | None = None,
    closed_kwargs: bool = False,
) -> Any:
    """Calls `fn(module, *args, **kwargs)` through a lifted transform.

    Args:
      lifter: makes a lifted function of scopes of a function of scopes.
      fn: the function.
      module: a bound module, or a tree of them.
      args: positional arguments; modules and variables among them are lifted too.
      kwargs: keyword arguments, likewise.
      cls: the class that the module has inside, by default its own.
      closed_kwargs: whether keyword arguments go around the transform.
    """
    module_map = ModuleMap(module, cls)
    args = tuple([module_map.add(arg) for arg in args])
    if kwargs:
        kwargs = {name: module_map.add(value) for name, value in kwargs.items()}
    target = module_map.add_target()
    scopes = module_map.scopes
    if closed_kwargs:
        body = LiftedBody(fn, module_map, target, kwargs)
        y = lifter(body)(scopes, *args)
    else:
        body = LiftedBody(fn, module_map, target)
        y = lifter(body)(scopes, *args, **kwargs)
    if continues_names(module):
        commit_cursors(module, body.cursors)
    return y


def continues_names(module: Any) -> bool:
    """Whether unnamed submodules of `module` are being made around the call, too."""
    if not isinstance(module, ModuleBase):
        return False
    state = state_of(module)
    return state.in_compact or state.in_setup


def commit_cursors(module: Any, cursors: Mapping[str, int]) -> None:
    """Lets the names that were given inside be followed by others outside."""
    state_of(module).cursors.update(cursors)
