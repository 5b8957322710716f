"""One path for `init`, `apply` and `bind`: variables, a root scope, a bound copy."""

from __future__ import annotations

import types
from collections.abc import Callable, Mapping
from inspect import CO_VARARGS
from typing import Any, Final

from batiste.core import DenyList, Scope
from batiste.core import scope as core_scope
from batiste.core.errors import InvalidArgumentError, short_repr
from batiste.core.scope import CollectionFilter, union_filters
from batiste.core.traceback_util import api_boundary
from batiste.core.types import Function, Variables

from .. import errors
from .context import Capture, context
from .state import ModuleBase, state_of
from .text import too_deep

__all__ = [
    "ALL_BUT_INTERMEDIATES",
    "CaptureFilter",
    "apply",
    "check_instance",
    "function_of",
    "init",
    "init_with_output",
    "run",
]

ALL_BUT_INTERMEDIATES: Final = DenyList("intermediates")

CaptureFilter = bool | Capture


def check_instance(module: Any) -> None:
    """Raises unless `module` is one.

    Raises:
      InvalidInstanceModuleError: it is not, but a class perhaps.
    """
    if not isinstance(module, ModuleBase):
        raise errors.InvalidInstanceModuleError()


def function_of(module: Any, method: Function | str | None) -> Function:
    """The function of a bound module that the argument `method` stands for.

    Args:
      module: an unbound module.
      method: a method, a function whose first argument is a module, the name of a
        method or submodule, or None for `__call__`.

    Raises:
      ApplyModuleInvalidMethodError: `method` cannot be called with a module.
      InvalidInstanceModuleError: `module` is not a module, but a class perhaps.
    """
    if not isinstance(module, ModuleBase):
        raise errors.InvalidInstanceModuleError()
    if isinstance(method, str):
        return _NamedMethod(method)
    fn = module.__call__ if method is None else method  # type: ignore[attr-defined]
    return _checked(getattr(fn, "__func__", fn), module)


def _checked(fn: Any, module: ModuleBase) -> Function:
    code = getattr(fn, "__code__", None)
    takes_nothing = code and not code.co_argcount and not code.co_flags & CO_VARARGS
    if not callable(fn) or takes_nothing:
        raise errors.ApplyModuleInvalidMethodError(fn, module_cls=type(module))
    return fn


class _NamedMethod:
    """A function of a bound module: its method, or submodule, of a given name."""

    def __init__(self, name: str):
        self.__name__ = name

    def __call__(self, module: ModuleBase, *args: Any, **kwargs: Any) -> Any:
        method = getattr(module, self.__name__)
        if not callable(method):
            raise TypeError(
                f'method="{self.__name__}" names an attribute of '
                f"{type(module).__name__} that is of type {type(method).__name__} and "
                f"cannot be called. Give the name of a method or of a submodule."
            )
        return method(*args, **kwargs)


def run(
    fn: Function,
    module: ModuleBase,
    root: Scope,
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    capture_intermediates: CaptureFilter = False,
) -> Any:
    """Calls `fn` on a copy of `module` bound to `root`, whose life ends with the call.

    Args:
      fn: a function whose first argument is a module.
      module: the module, which is not changed.
      root: a root scope.
      args: further arguments of `fn`.
      kwargs: keyword arguments of `fn`.
      capture_intermediates: which results of methods to store, as for `apply`.

    Returns:
      What `fn` returns and, unless nothing is mutable, the mutable collections.
    """
    outer = context.capture
    capture = _is_call if capture_intermediates is True else capture_intermediates
    if capture and not callable(capture):
        raise InvalidArgumentError(
            f"capture_intermediates={short_repr(capture)} (of type "
            f"{type(capture).__name__}) cannot be used; it must be True, False, or a "
            "function of a module and the name of a method.",
            argument="capture_intermediates",
        )
    bound = None
    modules = context.modules
    depth = len(modules)
    try:
        try:
            # The modules of a running call must not adopt those of this one.
            modules.append(None)
            if capture or outer:
                context.capture = capture or None
                context.refresh()
            bound = module.clone(parent=root, _deep_clone=True)
            y = fn(bound, *args, **kwargs)
            if type(y) in _LATER:
                raise _runs_later(fn, bound, y)
            return y if root.mutable is False else (y, root.mutable_variables())
        finally:
            del modules[depth:]
            if capture or outer:
                context.capture = outer
                context.refresh()
            if bound is not None:
                _unlink(bound)
            root.invalidate()
    except BaseException as error:
        # An interrupt may have come before or within the above.
        del modules[depth:]
        context.capture = outer
        context.refresh()
        root.invalidate()
        if type(error) is RecursionError and (told := too_deep(error)) is not error:
            raise told from None
        raise


# What a call of a function returns whose code does not run at once.
_LATER: Final = frozenset(
    {types.GeneratorType, types.CoroutineType, types.AsyncGeneratorType}
)


def _runs_later(fn: Function, module: ModuleBase, y: Any) -> Exception:
    if isinstance(y, types.CoroutineType):
        y.close()  # Python warns of those that nobody awaited
    kind = "a generator" if isinstance(y, types.GeneratorType) else "asynchronous"
    name = getattr(fn, "__name__", "the function")
    return InvalidArgumentError(
        f"{type(module).__name__}.{name} is {kind}: its code would run only after the "
        "call has ended, when the module has no variables any more. Let it return its "
        "result: a list of what it yields, or a value without `async`.",
        where=type(module).__name__,
        argument="method",
    )


def _is_call(module: ModuleBase, method_name: str) -> bool:
    return method_name == "__call__"


def _unlink(module: ModuleBase) -> None:
    """Takes a tree of modules apart, so that it is freed without the collector.

    Modules know their submodules; only the way up makes a cycle.
    """
    pending = [module]
    while pending:
        for child in state_of(pending.pop()).children.values():
            child.__dict__["parent"] = None
            pending.append(child)


def apply(
    fn: Function,
    module: ModuleBase,
    mutable: CollectionFilter = False,
    capture_intermediates: CaptureFilter = False,
) -> Callable[..., Any]:
    """Makes a pure function of variables out of a function of a module.

    Args:
      fn: a function whose first argument is a bound copy of `module`.
      module: the module.
      mutable: a filter that selects the collections that may change.
      capture_intermediates: whether to store what methods return in the collection
        "intermediates". True for all `__call__`s; a function `(module, method_name)
        -> bool` for a choice.

    Returns:
      A function `(variables, *args, rngs=None, **kwargs)` that returns what `fn`
      returns, and the mutable collections if `mutable` is not False.

    Raises:
      InvalidInstanceModuleError: `module` is not a module, but a class perhaps.
      ApplyModuleInvalidMethodError: `fn` is not callable, or takes no argument.

    >>> import jax, jax.numpy as jnp
    >>> import batiste.linen as nn
    >>> model = nn.Dense(3)
    >>> twice = nn.apply(lambda dense, x: 2 * dense(x), model)
    >>> variables = model.init(jax.random.key(0), jnp.ones((1, 2)))
    >>> twice(variables, jnp.ones((1, 2))).shape
    (1, 3)
    """
    check_instance(module)
    fn = _checked(fn, module)
    if capture_intermediates:
        mutable = union_filters(mutable, "intermediates")

    @api_boundary
    def apply_fn(
        variables: Variables, *args: Any, rngs: Any = None, **kwargs: Any
    ) -> Any:
        root = core_scope.bind(variables, rngs=rngs, mutable=mutable)
        return run(fn, module, root, args, kwargs, capture_intermediates)

    return apply_fn


def init_with_output(
    fn: Function,
    module: ModuleBase,
    mutable: CollectionFilter = ALL_BUT_INTERMEDIATES,
    capture_intermediates: CaptureFilter = False,
) -> Callable[..., tuple[Any, Variables]]:
    """Makes a function that initializes a module's variables by running `fn` on it.

    Args:
      fn: a function whose first argument is a bound copy of `module`.
      module: the module.
      mutable: a filter that selects the collections to initialize.
      capture_intermediates: as for `apply`.

    Returns:
      A function `(rngs, *args, **kwargs)` that returns what `fn` returns and the
      variables. `rngs` is one PRNG key, or a dict of them by stream.

    Raises:
      As `apply`.

    >>> import jax, jax.numpy as jnp
    >>> import batiste.linen as nn
    >>> run = nn.init_with_output(lambda dense, x: dense(x), nn.Dense(3))
    >>> y, variables = run(jax.random.key(0), jnp.ones((1, 2)))
    >>> y.shape, variables["params"]["kernel"].shape
    ((1, 3), (2, 3))
    """
    check_instance(module)
    fn = _checked(fn, module)
    if capture_intermediates:
        mutable = union_filters(mutable, "intermediates")

    @api_boundary
    def init_fn(rngs: Any, *args: Any, **kwargs: Any) -> Any:
        root = core_scope.empty_scope(rngs, mutable=mutable)
        return run(fn, module, root, args, kwargs, capture_intermediates)

    return init_fn


def init(
    fn: Function,
    module: ModuleBase,
    mutable: CollectionFilter = ALL_BUT_INTERMEDIATES,
    capture_intermediates: CaptureFilter = False,
) -> Callable[..., Variables]:
    """As `init_with_output`, but the function returns only the variables.

    >>> import jax, jax.numpy as jnp
    >>> import batiste.linen as nn
    >>> run = nn.init(lambda dense, x: dense(x), nn.Dense(3))
    >>> run(jax.random.key(0), jnp.ones((1, 2)))["params"]["bias"].shape
    (3,)
    """
    run_init = init_with_output(fn, module, mutable, capture_intermediates)

    @api_boundary
    def init_fn(*args: Any, **kwargs: Any) -> Any:
        return run_init(*args, **kwargs)[1]

    return init_fn
