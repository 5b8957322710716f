"""Scopes: functions of variables made of functions of a scope."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Concatenate, ParamSpec, TypeVar

from .. import errors
from ..frozen_dict import FrozenDict, entries_of
from ..types import Collection, Keys, Variables
from .filters import CollectionFilter, in_filter, is_filter_empty
from .keys import is_rng, is_rng_dict
from .nested_dicts import snapshot
from .scope import Scope

__all__ = [
    "apply",
    "bind",
    "empty_scope",
    "init",
    "lazy_init",
]

P = ParamSpec("P")
T = TypeVar("T")


def bind(
    variables: Variables,
    rngs: Any = None,
    mutable: CollectionFilter = False,
    flags: Mapping[str, Any] | None = None,
) -> Scope:
    """Makes a root scope over variables, with an unlimited life.

    The variables are not changed, nor copied unless they are mutable.

    Args:
      variables: a mapping from collection names to nested dicts of arrays.
      rngs: a PRNG key for each stream, or one key for the stream "params".
      mutable: a filter that selects the collections that may change.
      flags: static data that every scope of the tree can read.

    Returns:
      The root scope.

    Raises:
      ApplyScopeInvalidVariablesTypeError: `variables` is no such mapping.
      ApplyScopeInvalidVariablesStructureError: it has a "params" within "params".
      InvalidRngError: `rngs` is neither a key nor a dict of keys.
      InvalidFilterError: `mutable` is no filter.

    >>> import numpy as np
    >>> scope = bind({"params": {"w": np.ones(2)}})
    >>> scope.get_variable("params", "w").shape
    (2,)
    """
    if mutable is not False:
        is_filter_empty(mutable)  # raises for what is no filter
    # Nested dicts read faster than a FrozenDict, which wraps what it gives out.
    if type(variables) is FrozenDict:
        given: Mapping[str, Any] = entries_of(variables)
    elif isinstance(variables, Mapping):
        given = variables
    else:
        raise errors.ApplyScopeInvalidVariablesTypeError(found=variables)
    collections: dict[str, Collection] = {}
    for name, col in given.items():
        # Whether something is a mapping is quickly told of a dict only.
        is_mapping = type(col) is dict or isinstance(col, Mapping)
        if not isinstance(name, str) or not is_mapping:
            raise errors.ApplyScopeInvalidVariablesTypeError(found=variables)
        if mutable is not False and in_filter(mutable, name):
            col = snapshot(col)
        elif type(col) is FrozenDict:
            col = entries_of(col)
        collections[name] = col
    params = collections.get("params")
    if params is not None and isinstance(params.get("params"), Mapping):
        raise errors.ApplyScopeInvalidVariablesStructureError(variables)
    keys = {} if rngs is None else _keys(rngs, "apply")
    return Scope(collections, rngs=keys, mutable=mutable, flags=flags)


def empty_scope(
    rngs: Any,
    mutable: CollectionFilter = True,
    flags: Mapping[str, Any] | None = None,
) -> Scope:
    """Makes a root scope without variables, to initialize them.

    Args:
      rngs: a PRNG key for each stream, or one key for the stream "params".
      mutable: a filter that selects the collections to initialize.
      flags: static data that every scope of the tree can read. "initializing" is
        added.

    Returns:
      The root scope.

    Raises:
      InvalidRngError: `rngs` is neither a key nor a dict of keys.
      InvalidFilterError: `mutable` is no filter.

    >>> import jax
    >>> scope = empty_scope(jax.random.key(0))
    >>> scope.param("w", jax.nn.initializers.ones, (2,)).shape
    (2,)
    >>> scope.get_flag("initializing")
    True
    """
    is_filter_empty(mutable)
    if rngs is None:
        raise errors.InvalidRngError(
            "init needs a PRNG key, as jax.random.key(0) makes it, or a dict from "
            "stream names to such keys, but was given None."
        )
    keys = _keys(rngs, "init")
    flags = {**(flags or {}), "initializing": True}
    return Scope({}, rngs=keys, mutable=mutable, flags=flags)


def _keys(rngs: Any, call: str) -> Keys:
    if is_rng(rngs):
        return {"params": rngs}
    if not is_rng_dict(rngs):
        raise errors.InvalidRngError(
            f"The rngs passed to {call} must be one PRNG key, as jax.random.key(0) "
            f"makes it, or a dict from stream names (str) to such keys, but they are "
            f"of type {type(rngs).__name__}{_first_bad_rng(rngs)}."
        )
    return rngs


def _first_bad_rng(rngs: Any) -> str:
    if not isinstance(rngs, Mapping):
        return ""
    for name, rng in rngs.items():
        if not isinstance(name, str) or not is_rng(rng):
            return f" with the entry {name!r} of type {type(rng).__name__}"
    return ""


def apply(
    fn: Callable[Concatenate[Scope, P], Any],
    mutable: CollectionFilter = False,
    flags: Mapping[str, Any] | None = None,
) -> Callable[..., Any]:
    """Makes a pure function of variables out of a function of a scope.

    Args:
      fn: a function whose first argument is a scope.
      mutable: a filter that selects the collections that may change.
      flags: static data that every scope of the tree can read.

    Returns:
      A function `(variables, *args, rngs=None, **kwargs)` that returns what `fn`
      returns or, if `mutable` is not False, that and the mutable collections.

    Raises:
      As `bind`, when the returned function is called.

    >>> double = apply(lambda scope: 2 * scope.get_variable("params", "w"))
    >>> double({"params": {"w": 4}})
    8
    """

    def wrapper(
        variables: Variables, *args: Any, rngs: Any = None, **kwargs: Any
    ) -> Any:
        root = bind(variables, rngs=rngs, mutable=mutable, flags=flags)
        return _run(fn, root, args, kwargs)

    return wrapper


def init(
    fn: Callable[Concatenate[Scope, P], T],
    mutable: CollectionFilter = True,
    flags: Mapping[str, Any] | None = None,
) -> Callable[..., tuple[T, Variables]]:
    """Makes a function that initializes the variables of a function of a scope.

    Args:
      fn: a function whose first argument is a scope.
      mutable: a filter that selects the collections to initialize.
      flags: static data that every scope of the tree can read.

    Returns:
      A function `(rngs, *args, **kwargs)` that returns what `fn` returns and the
      variables. `rngs` is a PRNG key, or a dict of them by stream.

    Raises:
      As `empty_scope`, when the returned function is called.

    >>> import jax
    >>> model = lambda scope: scope.param("b", jax.nn.initializers.zeros, (3,))
    >>> init(model)(jax.random.key(0))[1]["params"]["b"].shape
    (3,)
    """

    def wrapper(rngs: Any, *args: Any, **kwargs: Any) -> Any:
        root = empty_scope(rngs, mutable=mutable, flags=flags)
        return _run(fn, root, args, kwargs)

    return wrapper


def _run(
    fn: Callable[..., Any],
    root: Scope,
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
) -> Any:
    """Calls `fn` on a root scope, whose life ends with the call."""
    try:
        y = fn(root, *args, **kwargs)
        return y if root.mutable is False else (y, root.mutable_variables())
    finally:
        root.invalidate()


def lazy_init(
    fn: Callable[Concatenate[Scope, P], Any],
    mutable: CollectionFilter = True,
    flags: Mapping[str, Any] | None = None,
) -> Callable[..., Variables]:
    """As `init`, but runs only what the variables need.

    Arguments may be `jax.ShapeDtypeStruct`s: their values must not decide over any
    variable.

    Args:
      fn: a function whose first argument is a scope.
      mutable: a filter that selects the collections to initialize.
      flags: static data that every scope of the tree can read.

    Returns:
      A function `(rngs, *args, **kwargs)` that returns the variables.

    Raises:
      LazyInitError: a variable depends on the value of such an argument.

    >>> import jax
    >>> model = lambda scope, x: scope.param("b", jax.nn.initializers.zeros, x.shape)
    >>> x = jax.ShapeDtypeStruct((3,), "float32")
    >>> lazy_init(model)(jax.random.key(0), x)["params"]["b"].shape
    (3,)
    """
    from .. import partial_eval  # most programs need it never

    run = init(fn, mutable=mutable, flags=flags)
    return partial_eval.lazy_init(lambda *args, **kwargs: run(*args, **kwargs)[1])
