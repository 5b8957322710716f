"""What happens around a module's method when it is called."""

from __future__ import annotations

import functools
import types
from typing import Any, Final, TypeVar

import jax

from batiste.core.traceback_util import hide_frames
from batiste.core.tracers import current_trace, eager_trace
from batiste.core.types import Function

from .. import errors
from ..flags import config
from .context import context, named_calls, run_interceptors
from .explain import explained_failure
from .state import ModuleBase, ModuleState, SetupState, state_of, try_setup
from .text import too_deep
from .variables import sow

__all__ = [
    "DataDescriptorWrapper",
    "DescriptorWrapper",
    "call_hooked",
    "compact",
    "compact_name_scope",
    "construction_method",
    "nowrap",
    "wrap_descriptor_once",
    "wrap_method_once",
]

F = TypeVar("F", bound=Function)

_DONE: Final = SetupState.DONE  # a member costs more to look up on its class


def compact(fun: F) -> F:
    """Lets a method construct submodules and declare variables where it uses them.

    Unnamed submodules are named `Class_0`, `Class_1`, ... by class and order of
    construction. A class may have one compact method.

    Args:
      fun: the method.

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

    Args:
      fun: the method.

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

    Args:
      fun: the method.

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


# A wrapper for each kind of method. They are alike, and written out: each step that one
# of them leaves to another function is one more call around every call of every method.
#
# An interrupt may come between any two lines, also in a `finally`. So what was put on
# the stack is not taken off: the stack is cut where it ended before, and once more by
# the handler around, for the interrupt that came before the first cut.
#
# Names of calls are seen only in programs that JAX traces, so that a call outside of
# all transforms has none: to enter `jax.named_scope` would be half of its cost.


def wrap_method_once(fun: Function) -> Function:
    """Gives a function the behaviour of a module's method, unless it has it.

    Args:
      fun: a function in the body of a module class, or one whose first argument is a
        module; with the marks that `compact` and the like have left on it.

    >>> import batiste.linen as nn
    >>> wrap_method_once(nn.Dense.__call__) is nn.Dense.__call__
    True
    """
    if getattr(fun, "method_handler_wrapped", False):
        return fun
    if getattr(fun, "compact_name_scope", False):
        wrapped = _name_scope_method(fun)
    elif getattr(fun, "compact", False):
        wrapped = _compact_method(fun)
    elif getattr(fun, "__name__", None) == "setup":
        wrapped = _setup_method(fun)
    else:
        wrapped = _plain_method(fun)
    wrapped.method_handler_wrapped = True  # type: ignore[attr-defined]
    return wrapped


def _leave(error: Exception) -> None:
    """Prepares an error that leaves for the user's code.

    Raises:
      ModuleDepthError: in its place, where it says no more than that it is too deep.
    """
    if type(error) is RecursionError and (told := too_deep(error)) is not error:
        raise told from None
    hide_frames(error)


def _name_and_suffix(fun: Function) -> tuple[str, str]:
    """A method's name, and what is put after the module's name in profiles."""
    name = getattr(fun, "__name__", "unnamed_function")
    return name, "" if name == "__call__" else f".{name}"


def _plain_method(fun: Function) -> Function:
    name, suffix = _name_and_suffix(fun)

    @functools.wraps(fun)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        # A function in the class body need not be a method of it.
        if not args or not isinstance(args[0], ModuleBase):
            return fun(*args, **kwargs)
        self: Any = args[0]
        state = self._state
        bound = self.scope is not None
        if bound and state.setup is not _DONE:
            self._try_setup()
        modules = context.modules
        depth = len(modules)
        try:
            try:
                modules.append(self)
                if context.hooked:
                    return call_hooked(self, fun, name, suffix, args[1:], kwargs)
                named = context.named_call
                if bound and (config.profile if named is None else named):
                    eager = eager_trace()
                    if self.scope.trace_level == eager and current_trace() == eager:
                        return fun(*args, **kwargs)
                    with jax.named_scope((self.name or type(self).__name__) + suffix):
                        return fun(*args, **kwargs)
                return fun(*args, **kwargs)
            finally:
                del modules[depth:]
        except BaseException as error:
            del modules[depth:]
            found = explained_failure(self, fun, args, kwargs, error)
            if not depth and isinstance(error, Exception):
                # Called by the user on a bound module, not within init or apply.
                _leave(error)
            if found is not None:
                raise found from error
            raise

    return wrapped


def _compact_method(fun: Function) -> Function:
    name, suffix = _name_and_suffix(fun)

    @functools.wraps(fun)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        if not args or not isinstance(args[0], ModuleBase):
            return fun(*args, **kwargs)
        self: Any = args[0]
        state = self._state
        bound = self.scope is not None
        if bound and state.setup is not _DONE:
            self._try_setup()
        was_compact = state.in_compact
        modules = context.modules
        depth = len(modules)
        try:
            try:
                modules.append(self)
                if not bound:
                    raise errors.CallCompactUnboundModuleError(module_cls=type(self))
                state.in_compact = True
                if context.hooked:
                    return call_hooked(self, fun, name, suffix, args[1:], kwargs)
                named = context.named_call
                if config.profile if named is None else named:
                    eager = eager_trace()
                    if self.scope.trace_level == eager and current_trace() == eager:
                        return fun(*args, **kwargs)
                    with jax.named_scope((self.name or type(self).__name__) + suffix):
                        return fun(*args, **kwargs)
                return fun(*args, **kwargs)
            finally:
                del modules[depth:]
                if bound:
                    # Its names may be used again, by the next call, which shares them.
                    if state.shares_scope:
                        # Not those of the module that it shares its scope with.
                        self.__dict__["scope"] = self.scope.rewound()
                    else:
                        self.scope.reservations = {}
                    if not was_compact:
                        state.in_compact = False
                        state.cursors = {}
        except BaseException as error:
            del modules[depth:]
            if bound:
                if not state.shares_scope:
                    self.scope.reservations = {}
                if not was_compact:
                    state.in_compact = False
                    state.cursors = {}
            found = explained_failure(self, fun, args, kwargs, error)
            if (not depth or not bound) and isinstance(error, Exception):
                _leave(error)
            if found is not None:
                raise found from error
            raise

    return wrapped


def _setup_method(fun: Function) -> Function:
    @functools.wraps(fun)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        if not args or not isinstance(args[0], ModuleBase):
            return fun(*args, **kwargs)
        self: Any = args[0]
        state = self._state
        bound = self.scope is not None
        was_setup = state.in_setup
        modules = context.modules
        depth = len(modules)
        try:
            try:
                modules.append(self)
                if not bound:
                    raise errors.CallSetupUnboundModuleError(module_cls=type(self))
                state.in_setup = True
                if context.hooked:
                    return call_hooked(self, fun, "setup", ".setup", args[1:], kwargs)
                return fun(*args, **kwargs)
            finally:
                del modules[depth:]
                if not was_setup:
                    state.in_setup = False
                    state.cursors = {}
        except BaseException as error:
            del modules[depth:]
            if not was_setup:
                state.in_setup = False
                state.cursors = {}
            found = explained_failure(self, fun, args, kwargs, error)
            if (not depth or not bound) and isinstance(error, Exception):
                _leave(error)
            if found is not None:
                raise found from error
            raise

    return wrapped


def construction_method(fun: Function) -> Function:
    """Lets a constructor of the user's own use the module before it is one.

    Until the module has its state, methods and properties find a preliminary one, of a
    module without a scope.

    Args:
      fun: an `__init__` or `__post_init__`.

    >>> import batiste.linen as nn
    >>> class Net(nn.Module):
    ...     width: int
    ...     def __post_init__(self):
    ...         assert self.scope is None and self.double() == 2 * self.width
    ...         super().__post_init__()
    ...     def double(self):
    ...         return 2 * self.width
    >>> Net(3).double()
    6
    """

    @functools.wraps(fun)
    def wrapped(self: Any, *args: Any, **kwargs: Any) -> None:
        attributes = vars(self)
        if "_state" in attributes:
            return fun(self, *args, **kwargs)
        preliminary = attributes["_state"] = ModuleState(SetupState.DONE)
        try:
            fun(self, *args, **kwargs)
        finally:
            if attributes["_state"] is preliminary:
                # Who uses it is told that it was not set up.
                del attributes["_state"]

    return wrapped


def _name_scope_method(fun: Function) -> Function:
    @functools.wraps(fun)
    def wrapped(self: Any, *args: Any, **kwargs: Any) -> Any:
        if self.scope is None:
            raise errors.CallCompactUnboundModuleError(module_cls=type(self))
        self._try_setup()
        scope = self._name_scope(fun)
        before = scope.fn
        try:
            # An overriding method and the one it overrides have one scope.
            vars(scope)["fn"] = fun
            return scope(*args, **kwargs)
        finally:
            vars(scope)["fn"] = before

    return wrapped


def call_hooked(
    module: Any,
    fun: Function,
    name: str,
    suffix: str,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> Any:
    """A method call while interceptors, captures or recorders are active.

    Args:
      module: the module.
      fun: the function that is its method.
      name: the method's name.
      suffix: what is put after the module's name in profiles.
      args: the call's arguments, without the module.
      kwargs: its keyword arguments.
    """
    bound = types.MethodType(fun, module)
    if module.scope is None or name == "setup":
        if context.interceptors:
            y = run_interceptors(bound, module, args, kwargs)
        else:
            y = bound(*args, **kwargs)
    elif context.recorders:
        run = functools.partial(_run_named, bound, module, suffix)
        y = context.recorders[-1](module, name, run, args, kwargs)
    else:
        y = _run_named(bound, module, suffix, *args, **kwargs)
    capture = context.capture
    if module.scope is not None and capture is not None and capture(module, name):
        sow(module, "intermediates", name, y, reports=False)
    return y


def _run_named(
    bound: Function, module: Any, suffix: str, /, *args: Any, **kwargs: Any
) -> Any:
    # Each frame here is one more at each level of nesting.
    if not named_calls():
        if context.interceptors:
            return run_interceptors(bound, module, args, kwargs)
        return bound(*args, **kwargs)
    with jax.named_scope((module.name or type(module).__name__) + suffix):
        if context.interceptors:
            return run_interceptors(bound, module, args, kwargs)
        return bound(*args, **kwargs)


class DescriptorWrapper:
    """A descriptor whose getter runs as a module's method does.

    So `setup` has run before a property reads what it defines, and an
    `AttributeError` in the getter is not mistaken for a missing property.

    Args:
      wrapped: the descriptor.
      name: the attribute's name.

    >>> import batiste.linen as nn
    >>> class Net(nn.Module):
    ...     @property
    ...     def width(self):
    ...         return self.missing
    >>> Net().width
    Traceback (most recent call last):
        ...
    batiste.linen.errors.DescriptorAttributeError: The property "width" of Net read ...
    """

    def __init__(self, wrapped: Any, name: str):
        self.wrapped = wrapped
        self.name = name
        self.__doc__ = getattr(wrapped, "__doc__", None)

    def __get__(self, obj: Any, owner: type | None = None) -> Any:
        if obj is None:
            # On the class a property is itself, as Python has it.
            return self.wrapped.__get__(obj, owner)
        if state_of(obj).setup is not SetupState.DONE and obj.scope is not None:
            try_setup(obj)
        modules = context.modules
        depth = len(modules)
        try:
            try:
                modules.append(obj)
                return self.wrapped.__get__(obj, owner)
            finally:
                del modules[depth:]
        except BaseException as error:
            del modules[depth:]
            if not isinstance(error, AttributeError):
                raise
            raise errors.DescriptorAttributeError(
                module_cls=type(obj), attr_name=self.name
            ) from error

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


def wrap_descriptor_once(descriptor: Any, name: str) -> DescriptorWrapper:
    """Gives a descriptor the behaviour of a module's method, unless it has it.

    Args:
      descriptor: what is in the body of a module class.
      name: under this name.

    >>> type(wrap_descriptor_once(property(lambda self: 3), "three")).__name__
    'DataDescriptorWrapper'
    """
    if isinstance(descriptor, DescriptorWrapper):
        return descriptor
    if hasattr(type(descriptor), "__set__") or hasattr(type(descriptor), "__delete__"):
        return DataDescriptorWrapper(descriptor, name)
    return DescriptorWrapper(descriptor, name)
