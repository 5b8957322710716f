"""What the running thread is in the middle of: the stack of modules, and hooks."""

from __future__ import annotations

import contextlib
import dataclasses
import threading
from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

from batiste.core.types import Path

from ..flags import config
from .state import ModuleBase

__all__ = [
    "Capture",
    "Interceptor",
    "InterceptorContext",
    "Recorder",
    "context",
    "disable_named_call",
    "enable_named_call",
    "intercept_methods",
    "named_calls",
    "override_named_call",
    "run_interceptors",
]

Capture: TypeAlias = Callable[[Any, str], bool]
"""Whether what a module's method of this name returns is to be stored."""

Recorder: TypeAlias = Callable[
    [Any, str, Callable[..., Any], tuple[Any, ...], dict[str, Any]], Any
]
"""Makes a method call in place of the method: `(module, name, run, args, kwargs)`."""


class _Context(threading.local):
    """The state of one thread.

    Attributes:
      modules: the modules whose methods run, the innermost last. None marks the start
        of a call that must not see the modules below.
      capture: what decides whose results are stored, None if nothing is.
      interceptors: what runs in place of method calls, the outermost first.
      recorders: what makes the method calls, for `tabulate`; the last one counts.
      named_call: whether calls are named in profiles; None leaves it to the config.
      replaced: the paths of submodules in whose place others are called, so that their
        own `setup` must not run.
      hooked: a method call has more to do than run: there is any of the above.
    """

    def __init__(self) -> None:
        self.modules: list[ModuleBase | None] = []
        self.capture: Capture | None = None
        self.interceptors: list[Interceptor] = []
        self.recorders: list[Recorder] = []
        self.named_call: bool | None = None
        self.replaced: frozenset[Path] = frozenset()
        self.hooked = False

    def __reduce__(self) -> str:
        # Methods of classes that are pickled by value refer to it: it is the same one
        # wherever they arrive.
        return "context"

    def refresh(self) -> None:
        """To be called after a change of what `hooked` tells."""
        self.hooked = bool(
            self.interceptors or self.recorders or self.capture is not None
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

    >>> import batiste.linen as nn
    >>> layer = nn.Dense(3)
    >>> InterceptorContext(layer, "__call__", layer.__call__).method_name
    '__call__'
    """

    module: Any
    method_name: str
    orig_method: Callable[..., Any]


Interceptor: TypeAlias = Callable[
    [Callable[..., Any], tuple[Any, ...], dict[str, Any], InterceptorContext], Any
]
"""Runs in place of a method call: `(next_fun, args, kwargs, context)`."""


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
    interceptors = context.interceptors
    depth = len(interceptors)
    try:
        try:
            interceptors.append(interceptor)
            context.refresh()
            yield
        finally:
            del interceptors[depth:]
            context.refresh()
    except BaseException:
        # An interrupt may have come before or within the above.
        del interceptors[depth:]
        context.refresh()
        raise


def run_interceptors(
    orig_method: Callable[..., Any],
    module: ModuleBase,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> Any:
    """Runs a bound method through all interceptors, the outermost block first.

    Args:
      orig_method: the method.
      module: the module that it is bound to.
      args: positional arguments of the call.
      kwargs: keyword arguments of the call.

    Returns:
      What the outermost interceptor returns.
    """
    interceptors = tuple(context.interceptors)
    name = getattr(orig_method, "__name__", "<unnamed>")
    info = InterceptorContext(module, name, orig_method)

    def run(index: int, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
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

    >>> import batiste.linen as nn
    >>> with nn.override_named_call():  # which puts back what was before
    ...     nn.enable_named_call()
    """
    context.named_call = True


def disable_named_call() -> None:
    """Stops naming method calls in JAX's profiles, in this thread.

    >>> import batiste.linen as nn
    >>> with nn.override_named_call():  # which puts back what was before
    ...     nn.disable_named_call()
    """
    context.named_call = False


@contextlib.contextmanager
def override_named_call(enable: bool = True) -> Iterator[None]:
    """Names method calls in JAX's profiles, or does not, within a `with` block.

    Args:
      enable: whether to name them.

    >>> import batiste.linen as nn
    >>> with nn.override_named_call(False):
    ...     pass  # the calls in here leave no trace in the profile
    """
    before = context.named_call
    try:
        try:
            context.named_call = enable
            yield
        finally:
            context.named_call = before
    except BaseException:
        context.named_call = before  # an interrupt may have come before the above
        raise
