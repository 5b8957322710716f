"""What the running thread is in the middle of: the stack of modules, and hooks."""

from __future__ import annotations

import contextlib
import dataclasses
import threading
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from ..flags import config

if TYPE_CHECKING:
    from .module import Module

__all__ = [
    "InterceptorContext",
    "disable_named_call",
    "enable_named_call",
    "intercept_methods",
    "override_named_call",
]


class _Context(threading.local):
    """The state of one thread.

    `hooked` says whether a method call has more to do than run: interceptors,
    capture of intermediates, or a record of calls for `tabulate`.
    """

    def __init__(self) -> None:
        # The module whose method runs is on top. None marks the start of a call that
        # must not see the modules below.
        self.modules: list[Module | None] = []
        self.captures: list[Callable[[Module, str], bool] | None] = []
        self.interceptors: list[Interceptor] = []
        self.recorders: list[Callable[..., Any]] = []
        self.named_call: bool | None = None
        self.hooked = False

    def __reduce__(self) -> str:
        # Methods of classes that are pickled by value refer to it: it is the same one
        # wherever they arrive.
        return "context"

    def refresh(self) -> None:
        self.hooked = bool(
            self.interceptors
            or self.recorders
            or (self.captures and self.captures[-1] is not None)
        )


context = _Context()


@dataclasses.dataclass(frozen=True)
class InterceptorContext:
    """What an interceptor is told of the method call that it intercepts.

    Attributes:
      module: the module whose method is called.
      method_name: the method's name.
      orig_method: the bound method itself; to call it is to pass over the
        interceptors that have not run yet.
    """

    module: Module
    method_name: str
    orig_method: Callable[..., Any]


Interceptor = Callable[[Callable[..., Any], tuple, dict, InterceptorContext], Any]


@contextlib.contextmanager
def intercept_methods(interceptor: Interceptor) -> Iterator[None]:
    """Runs `interceptor` in place of every method call of every module in the block.

    Args:
      interceptor: called as `interceptor(next_fun, args, kwargs, context)`, where
        `next_fun(*args, **kwargs)` runs the method, or the next interceptor, and
        `context` is an `InterceptorContext`. What it returns is the call's result.
        With several blocks around a call, the outermost interceptor runs first.

    Only this thread is affected.

    >>> import jax, jax.numpy as jnp
    >>> import batiste.linen as nn
    >>> def double_outputs(next_fun, args, kwargs, context):
    ...     y = next_fun(*args, **kwargs)
    ...     return 2 * y if context.method_name == "__call__" else y
    >>> model = nn.Dense(1, kernel_init=nn.initializers.ones)
    >>> variables = model.init(jax.random.key(0), jnp.ones((1, 3)))
    >>> with nn.intercept_methods(double_outputs):
    ...     y = model.apply(variables, jnp.ones((1, 3)))
    >>> float(y[0, 0])
    6.0
    """
    context.interceptors.append(interceptor)
    context.refresh()
    try:
        yield
    finally:
        context.interceptors.pop()
        context.refresh()


def run_interceptors(
    orig_method: Callable[..., Any], module: Module, args: tuple, kwargs: dict
) -> Any:
    """Runs a bound method through all interceptors, the outermost block first."""
    interceptors = tuple(context.interceptors)
    name = getattr(orig_method, "__name__", "<unnamed>")
    info = InterceptorContext(module, name, orig_method)

    def run(index: int, args: tuple, kwargs: dict) -> Any:
        if index == len(interceptors):
            return orig_method(*args, **kwargs)

        def next_fun(*args: Any, **kwargs: Any) -> Any:
            return run(index + 1, args, kwargs)

        return interceptors[index](next_fun, args, kwargs, info)

    return run(0, args, kwargs)


def named_calls() -> bool:
    """Whether method calls are to be named in JAX's profiles."""
    choice = context.named_call
    return config.profile if choice is None else choice


def enable_named_call() -> None:
    """Names method calls by their modules in JAX's profiles, in this thread.

    It is on by default (config `profile`).
    """
    context.named_call = True


def disable_named_call() -> None:
    """Stops naming method calls in JAX's profiles, in this thread."""
    context.named_call = False


@contextlib.contextmanager
def override_named_call(enable: bool = True) -> Iterator[None]:
    """Names method calls in JAX's profiles, or does not, within a `with` block.

    >>> import batiste.linen as nn
    >>> with nn.override_named_call(False):
    ...     pass  # the calls in here leave no trace in the profile
    """
    before = context.named_call
    context.named_call = enable
    try:
        yield
    finally:
        context.named_call = before
