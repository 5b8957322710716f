"""`init` and `apply` for functions of a module."""

from __future__ import annotations

from collections.abc import Callable
from inspect import CO_VARARGS
from typing import Any, Final

from batiste.core import DenyList, Scope
from batiste.core import scope as core_scope
from batiste.core.scope import CollectionFilter, union_filters
from batiste.core.traceback_util import api_boundary

from .. import errors
from .context import context
from .state import ModuleBase

__all__ = ["apply", "init", "init_with_output"]

_ALL_BUT_INTERMEDIATES: Final = DenyList("intermediates")

CaptureFilter = bool | Callable[[Any, str], bool]


def _is_call(module: Any, method_name: str) -> bool:
    return method_name == "__call__"


def _run_on_scope(
    fn: Callable[..., Any], module: Any, capture_intermediates: CaptureFilter
) -> Callable[..., Any]:
    """`fn` as a function of a scope: runs on a copy of `module` bound to it."""
    if not isinstance(module, ModuleBase):
        raise errors.InvalidInstanceModuleError()
    code = getattr(fn, "__code__", None)
    takes_nothing = code and not code.co_argcount and not code.co_flags & CO_VARARGS
    if not callable(fn) or takes_nothing:
        raise errors.ApplyModuleInvalidMethodError(fn, module_cls=type(module))
    capture = _is_call if capture_intermediates is True else capture_intermediates

    def scope_fn(scope: Scope, *args: Any, **kwargs: Any) -> Any:
        # The modules of a running call must not adopt those of this one.
        context.modules.append(None)
        context.captures.append(capture or None)
        context.refresh()
        bound = None
        try:
            bound = module.clone(parent=scope, _deep_clone=True)
            return fn(bound, *args, **kwargs)
        finally:
            context.captures.pop()
            context.modules.pop()
            context.refresh()
            if bound is not None:
                _unlink(bound)

    return scope_fn


def _unlink(module: Any) -> None:
    """Takes a tree of modules apart, so that it is freed without the collector.

    Modules know their submodules; only the way up makes a cycle.
    """
    pending = [module]
    while pending:
        for child in pending.pop()._state.children.values():
            child.__dict__["parent"] = None
            pending.append(child)


def apply(
    fn: Callable[..., Any],
    module: Any,
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
    return api_boundary(make_apply(fn, module, mutable, capture_intermediates))


def make_apply(
    fn: Callable[..., Any],
    module: Any,
    mutable: CollectionFilter,
    capture_intermediates: CaptureFilter,
) -> Callable[..., Any]:
    """As `apply`, with all frames in tracebacks."""
    if capture_intermediates:
        mutable = union_filters(mutable, "intermediates")
    return core_scope.apply(
        _run_on_scope(fn, module, capture_intermediates), mutable=mutable
    )


def init_with_output(
    fn: Callable[..., Any],
    module: Any,
    mutable: CollectionFilter = _ALL_BUT_INTERMEDIATES,
    capture_intermediates: CaptureFilter = False,
) -> Callable[..., Any]:
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
    return api_boundary(make_init(fn, module, mutable, capture_intermediates))


def make_init(
    fn: Callable[..., Any],
    module: Any,
    mutable: CollectionFilter,
    capture_intermediates: CaptureFilter,
) -> Callable[..., Any]:
    """As `init_with_output`, with all frames in tracebacks."""
    if capture_intermediates:
        mutable = union_filters(mutable, "intermediates")
    return core_scope.init(
        _run_on_scope(fn, module, capture_intermediates), mutable=mutable
    )


def init(
    fn: Callable[..., Any],
    module: Any,
    mutable: CollectionFilter = _ALL_BUT_INTERMEDIATES,
    capture_intermediates: CaptureFilter = False,
) -> Callable[..., Any]:
    """As `init_with_output`, but the function returns only the variables.

    >>> import jax, jax.numpy as jnp
    >>> import batiste.linen as nn
    >>> run = nn.init(lambda dense, x: dense(x), nn.Dense(3))
    >>> run(jax.random.key(0), jnp.ones((1, 2)))["params"]["bias"].shape
    (3,)
    """
    run = make_init(fn, module, mutable, capture_intermediates)

    @api_boundary
    def init_fn(*args: Any, **kwargs: Any) -> Any:
        return run(*args, **kwargs)[1]

    return init_fn
