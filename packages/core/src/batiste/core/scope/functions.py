"""Scopes: functions of variables made of functions of a scope."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from .. import errors
from ..frozen_dict import FrozenDict
from .filters import CollectionFilter, in_filter, is_filter_empty
from .keys import is_rng, is_rng_dict
from .nested_dicts import snapshot
from .scope import Scope

__all__ = [
    "apply",
    "bind",
    "init",
    "lazy_init",
]


def _entries(col: Mapping[str, Any]) -> Mapping[str, Any]:
    # Nested dicts read faster than a FrozenDict, which wraps what it gives out.
    return col._dict if type(col) is FrozenDict else col


def _check_variables(variables: Any) -> None:
    if not isinstance(variables, Mapping) or not all(
        isinstance(name, str) and isinstance(col, Mapping)
        for name, col in variables.items()
    ):
        raise errors.ApplyScopeInvalidVariablesTypeError(found=variables)
    params = variables.get("params")
    if params is not None and "params" in params:
        if isinstance(params["params"], Mapping):
            raise errors.ApplyScopeInvalidVariablesStructureError(variables)


def _as_rngs(rngs: Any, call: str) -> Mapping[str, Any]:
    if rngs is None:
        return {}
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


def bind(
    variables: Mapping[str, Any],
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
    _check_variables(variables)
    rngs = _as_rngs(rngs, "apply")
    is_filter_empty(mutable)
    collections = {
        name: snapshot(col) if in_filter(mutable, name) else _entries(col)
        for name, col in variables.items()
    }
    return Scope(collections, rngs=rngs, mutable=mutable, flags=flags)


def apply(
    fn: Callable[..., Any],
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
        variables: Mapping[str, Any], *args: Any, rngs: Any = None, **kwargs: Any
    ) -> Any:
        root = bind(variables, rngs=rngs, mutable=mutable, flags=flags)
        try:
            y = fn(root, *args, **kwargs)
            if mutable is False:
                return y
            return y, root.mutable_variables()
        finally:
            root.invalidate()

    return wrapper


def init(
    fn: Callable[..., Any],
    mutable: CollectionFilter = True,
    flags: Mapping[str, Any] | None = None,
) -> Callable[..., Any]:
    """Makes a function that initializes the variables of a function of a scope.

    Args:
      fn: a function whose first argument is a scope.
      mutable: a filter that selects the collections to initialize.
      flags: static data that every scope of the tree can read.

    Returns:
      A function `(rngs, *args, **kwargs)` that returns what `fn` returns and the
      variables. `rngs` is a PRNG key, or a dict of them by stream.

    Raises:
      InvalidRngError: `rngs` is neither (when the returned function is called).

    >>> import jax
    >>> model = lambda scope: scope.param("b", jax.nn.initializers.zeros, (3,))
    >>> init(model)(jax.random.key(0))[1]["params"]["b"].shape
    (3,)
    """
    run = apply(fn, mutable=mutable, flags={**(flags or {}), "initializing": True})

    def wrapper(rngs: Any, *args: Any, **kwargs: Any) -> Any:
        if rngs is None:
            raise errors.InvalidRngError(
                "init needs a PRNG key, as jax.random.key(0) makes it, or a dict from "
                "stream names to such keys, but was given None."
            )
        return run({}, *args, rngs=_as_rngs(rngs, "init"), **kwargs)

    return wrapper


def lazy_init(
    fn: Callable[..., Any],
    mutable: CollectionFilter = True,
    flags: Mapping[str, Any] | None = None,
) -> Callable[..., Any]:
    """As `init`, but runs only what the variables need.

    Arguments may be `jax.ShapeDtypeStruct`s: their values must not decide over any
    variable.

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
    from .. import partial_eval

    run = init(fn, mutable=mutable, flags=flags)
    return partial_eval.lazy_init(lambda *args, **kwargs: run(*args, **kwargs)[1])
