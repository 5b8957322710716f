"""What happens around a module's method when it is called."""

from __future__ import annotations

import functools
import types
from collections.abc import Callable
from typing import Any, TypeVar

import jax

from batiste.core import errors as core_errors
from batiste.core.traceback_util import hide_frames

from .. import errors
from .context import context, named_calls, run_interceptors
from .state import ModuleBase, SetupState

__all__ = [
    "compact",
    "compact_name_scope",
    "nowrap",
    "wrap_descriptor_once",
    "wrap_method_once",
]

F = TypeVar("F", bound=Callable[..., Any])


def compact(fun: F) -> F:
    """Lets a method construct submodules and declare variables where it uses them.

    Unnamed submodules are named `Class_0`, `Class_1`, ... by class and order of
    construction. A class may have one compact method.

    >>> import jax, jax.numpy as jnp
    >>> import batiste.linen as nn
    >>> class Block(nn.Module):
    ...     @nn.compact
    ...     def __call__(self, x):
    ...         return nn.Dense(2)(nn.relu(nn.Dense(4)(x)))
    >>> sorted(Block().init(jax.random.key(0), jnp.ones((1, 3)))["params"])
    ['Dense_0', 'Dense_1']
    """
    fun.compact = True  # type: ignore[attr-defined]
    return fun


def nowrap(fun: F) -> F:
    """Marks a helper method that needs nothing of the module system.

    It runs as an ordinary Python method: modules that it constructs belong to
    whoever calls it, and it neither triggers `setup` nor shows in profiles.

    >>> import batiste.linen as nn
    >>> class Net(nn.Module):
    ...     width: int
    ...     @nn.nowrap
    ...     def make_layer(self):
    ...         return nn.Dense(self.width)
    >>> Net(3).make_layer().features
    3
    """
    fun.nowrap = True  # type: ignore[attr-defined]
    return fun


def compact_name_scope(fun: F) -> F:
    """Makes a method compact within a name scope of its own.

    Unlike with `compact`, a class may have many of these: the submodules that each
    constructs are kept under the method's name. Variables of the module itself are
    declared elsewhere, in `setup` or in its compact method.

    Raises:
      CallCompactUnboundModuleError: when the method is called on an unbound module.
      NameInUseError: then, if the module has a submodule of the method's name.

    >>> import jax, jax.numpy as jnp
    >>> import batiste.linen as nn
    >>> class Autoencoder(nn.Module):
    ...     @nn.compact_name_scope
    ...     def encode(self, x):
    ...         return nn.Dense(2)(x)
    ...     @nn.compact_name_scope
    ...     def decode(self, z):
    ...         return nn.Dense(3)(z)
    ...     def __call__(self, x):
    ...         return self.decode(self.encode(x))
    >>> variables = Autoencoder().init(jax.random.key(0), jnp.ones((1, 3)))
    >>> sorted(variables["params"])
    ['decode', 'encode']
    """
    fun.compact_name_scope = True  # type: ignore[attr-defined]
    return fun


def wrap_method_once(fun: Callable[..., Any]) -> Callable[..., Any]:
    """Gives a function the behaviour of a module's method, unless it has it."""
    if getattr(fun, "method_handler_wrapped", False):
        return fun
    if getattr(fun, "compact_name_scope", False):
        return _wrap_in_name_scope(fun)
    name = getattr(fun, "__name__", "unnamed_function")
    is_setup = name == "setup"
    is_compact = getattr(fun, "compact", False)
    suffix = "" if name == "__call__" else f".{name}"

    @functools.wraps(fun)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        # A function in the class body need not be a method of it.
        if not args or not isinstance(args[0], ModuleBase):
            return fun(*args, **kwargs)
        self: Any = args[0]
        state = self._state
        scope = self.scope
        if scope is None:
            try:
                if is_compact:
                    raise errors.CallCompactUnboundModuleError(module_cls=type(self))
                if is_setup:
                    raise errors.CallSetupUnboundModuleError(module_cls=type(self))
            except core_errors.FlaxError as error:
                hide_frames(error)
                raise
        elif state.setup is not SetupState.DONE and not is_setup:
            self._try_setup()
        was_compact, was_setup = state.in_compact, state.in_setup
        if is_compact:
            state.in_compact = True
        elif is_setup:
            state.in_setup = True
        modules = context.modules
        modules.append(self)
        try:
            if context.hooked:
                return call_hooked(self, fun, name, suffix, args[1:], kwargs)
            if is_setup or scope is None or not named_calls():
                return fun(*args, **kwargs)
            with jax.named_scope((self.name or type(self).__name__) + suffix):
                return fun(*args, **kwargs)
        except Exception as error:
            if len(modules) == 1:
                # Called by the user on a bound module, not within init or apply.
                hide_frames(error)
            raise
        finally:
            modules.pop()
            if is_compact:
                # Its names may be used again, by the next call, which shares them.
                if state.shares_scope:
                    # Not those of the module that it shares its scope with.
                    self.__dict__["scope"] = self.scope.rewound()
                else:
                    self.scope.reservations = {}
                if not was_compact:
                    state.in_compact = False
                    state.cursors = {}
            elif is_setup and not was_setup:
                state.in_setup = False
                state.cursors = {}

    wrapped.method_handler_wrapped = True  # type: ignore[attr-defined]
    return wrapped


def _wrap_in_name_scope(fun: Callable[..., Any]) -> Callable[..., Any]:
    name = fun.__name__

    @functools.wraps(fun)
    def wrapped(self: Any, *args: Any, **kwargs: Any) -> Any:
        from .name_scope import name_scope  # it is made of modules

        if self.scope is None:
            raise errors.CallCompactUnboundModuleError(module_cls=type(self))
        self._try_setup()
        scope = name_scope(self, name, fun)
        before = scope.fn
        # An overriding method and the one it overrides have one scope.
        vars(scope)["fn"] = fun
        try:
            return scope(*args, **kwargs)
        finally:
            vars(scope)["fn"] = before

    wrapped.method_handler_wrapped = True  # type: ignore[attr-defined]
    return wrapped


def call_hooked(
    module: Any, fun: Callable[..., Any], name: str, suffix: str, args: tuple, kwargs
) -> Any:
    """A method call while interceptors, captures or recorders are active."""
    is_setup = name == "setup"
    bound = types.MethodType(fun, module)

    def run(*args: Any, **kwargs: Any) -> Any:
        if context.interceptors:
            return run_interceptors(bound, module, args, kwargs)
        return bound(*args, **kwargs)

    if module.scope is None:
        return run(*args, **kwargs)

    def run_named(*args: Any, **kwargs: Any) -> Any:
        if is_setup or not named_calls():
            return run(*args, **kwargs)
        with jax.named_scope((module.name or type(module).__name__) + suffix):
            return run(*args, **kwargs)

    if context.recorders and not is_setup:
        y = context.recorders[-1](module, name, run_named, args, kwargs)
    else:
        y = run_named(*args, **kwargs)
    capture = context.captures[-1] if context.captures else None
    if capture is not None and capture(module, name):
        module.sow("intermediates", name, y)
    return y


class DescriptorWrapper:
    """A descriptor whose getter runs as a module's method does.

    So `setup` has run before a property reads what it defines, and an
    `AttributeError` in the getter is not mistaken for a missing property.
    """

    def __init__(self, wrapped: Any, name: str):
        self.wrapped = wrapped
        self.name = name
        self.__doc__ = getattr(wrapped, "__doc__", None)

    def __get__(self, obj: Any, owner: type | None = None) -> Any:
        if obj is None:
            # On the class a property is itself, as Python has it.
            return self.wrapped.__get__(obj, owner)
        state = obj._state
        if obj.scope is not None and state.setup is not SetupState.DONE:
            obj._try_setup()
        context.modules.append(obj)
        try:
            return self.wrapped.__get__(obj, owner)
        except AttributeError as error:
            raise errors.DescriptorAttributeError(
                module_cls=type(obj), attr_name=self.name
            ) from error
        finally:
            context.modules.pop()

    def __getattr__(self, name: str) -> Any:
        if name == "wrapped":  # while it is unpickled
            raise AttributeError(name)
        return getattr(self.wrapped, name)


class DataDescriptorWrapper(DescriptorWrapper):
    """As `DescriptorWrapper`, for descriptors that can be assigned or deleted."""

    def __set__(self, obj: Any, value: Any) -> None:
        self.wrapped.__set__(obj, value)

    def __delete__(self, obj: Any) -> None:
        self.wrapped.__delete__(obj)


def wrap_descriptor_once(descriptor: Any, name: str) -> Any:
    """Gives a descriptor the behaviour of a module's method, unless it has it."""
    if isinstance(descriptor, DescriptorWrapper):
        return descriptor
    if hasattr(type(descriptor), "__set__") or hasattr(type(descriptor), "__delete__"):
        return DataDescriptorWrapper(descriptor, name)
    return DescriptorWrapper(descriptor, name)
