"""Lifted `jax.jit` and `jax.checkpoint`."""

from __future__ import annotations

import dataclasses
import functools
import types
from collections.abc import Callable, Iterable
from typing import Any

import jax

from batiste.core import lift
from batiste.core.config import config
from batiste.core.scope import CollectionFilter, PRNGSequenceFilter

from ..module.context import context, named_calls
from .call import LiftedBody, call_lifted, commit_cursors, continues_names
from .fingerprint import fingerprint
from .module_map import ModuleMap
from .target import Call, lift_target

__all__ = ["checkpoint", "jit", "remat"]

_CACHE_SIZE = 256


def jit(
    target: Any,
    variables: CollectionFilter = True,
    rngs: PRNGSequenceFilter = True,
    static_argnums: int | Iterable[int] = (),
    static_argnames: str | Iterable[str] = (),
    donate_argnums: int | Iterable[int] = (),
    device: Any = None,
    backend: str | None = None,
    methods: Any = None,
) -> Any:
    """Lifted `jax.jit`: compiles a method of a module class, or a function of a module.

    Within a larger compiled program it keeps the compiler from seeing the same block
    many times. Code is compiled once for all modules with equal constructor
    arguments, whatever their names, as long as shapes and mutability are the same;
    within it, `name` and `path` are those of the first. Modules with arguments that
    cannot be hashed are compiled for each call. Keys are those drawn without `jit`.

    Args:
      target: a module class, or a function whose first argument is a module.
      variables: a filter that selects the collections to pass in.
      rngs: a filter that selects the PRNG streams to pass in.
      static_argnums: positions of arguments that are compile-time constants; the
        module is number 0.
      static_argnames: names of keyword arguments that are.
      donate_argnums: positions of arguments whose memory may be reused.
      device: the device to run on; passed on to JAX.
      backend: the platform to run on; passed on to JAX.
      methods: for a class, the names of the methods to transform, by default
        `__call__`.

    Raises:
      TransformTargetError: `target` is neither.
      TransformedMethodReturnValueError: the function returns a module or variable.

    >>> import jax, jax.numpy as jnp
    >>> import batiste.linen as nn
    >>> class MLP(nn.Module):
    ...     @nn.compact
    ...     def __call__(self, x):
    ...         for _ in range(8):
    ...             x = nn.jit(nn.Dense)(4)(x)
    ...         return x
    >>> variables = MLP().init(jax.random.key(0), jnp.ones((2, 4)))
    >>> sorted(variables["params"])[:2]
    ['JitDense_0', 'JitDense_1']
    """
    options = {
        "variables": variables,
        "rngs": rngs,
        "static_argnums": static_argnums,
        "static_argnames": static_argnames,
        "donate_argnums": donate_argnums,
        "device": device,
        "backend": backend,
    }
    if not _lives_long(target):
        return lift_target(_jit_call, jit, target, options, methods)
    try:
        return _jit_once(target, tuple(options.items()))
    except TypeError:  # an option cannot be hashed
        return lift_target(_jit_call, jit, target, options, methods)


def _lives_long(target: Any) -> bool:
    """Whether it is a function of a file, and not one made by a call of another."""
    return isinstance(target, types.FunctionType) and not (
        target.__closure__ or "<locals>" in target.__qualname__
    )


@functools.lru_cache(maxsize=_CACHE_SIZE)
def _jit_once(target: Any, options: tuple[tuple[str, Any], ...]) -> Any:
    # What is compiled belongs to the wrapper, which methods often make anew.
    return lift_target(_jit_call, jit, target, dict(options))


@jax.tree_util.register_static
@dataclasses.dataclass(frozen=True)
class _Cursors:
    """Numbers of unnamed submodules, as static output of compiled code."""

    items: tuple[tuple[str, int], ...]


class _JitBody(LiftedBody):
    """Returns what names were given, too, as its Python may not run."""

    def __call__(self, scopes: Any, *args: Any, **kwargs: Any) -> Any:
        y = super().__call__(scopes, *args, **kwargs)
        return y, _Cursors(tuple(self.cursors.items()))


def _without_module(argnums: int | Iterable[int]) -> tuple[int, ...]:
    """Positions of arguments, counted without the module."""
    argnums = (argnums,) if isinstance(argnums, int) else tuple(argnums)
    if 0 in argnums:
        raise ValueError(
            "Argument 0 is the module, which is static by itself. The first argument "
            f"after it is number 1, but static_argnums or donate_argnums is {argnums}."
        )
    return tuple([n - 1 if n > 0 else n for n in argnums])


def _jit_call(**options: Any) -> Call:
    for name in ("static_argnums", "donate_argnums"):
        options[name] = _without_module(options[name])
    cache: dict[Any, Callable[..., Any]] = {}

    def call(
        fn: Callable[..., Any], module: Any, args: tuple, kwargs: Any, cls: Any
    ) -> Any:
        module_map = ModuleMap(module, cls)
        args = tuple([module_map.add(arg) for arg in args])
        if kwargs:
            kwargs = {name: module_map.add(value) for name, value in kwargs.items()}
        target = module_map.add_target()
        scopes = module_map.scopes
        jitted = None
        # Hooks see every call, so that Python must run.
        key = None if context.hooked else fingerprint(module_map, target)
        if key is not None:
            key = (fn, key, named_calls(), config.fix_rng_separator)
            jitted = cache.get(key)
        if jitted is None:
            body = _JitBody(fn, module_map.detach(), target)
            jitted = lift.jit(body, **options)
            if key is not None:
                if len(cache) >= _CACHE_SIZE:
                    cache.pop(next(iter(cache)))
                cache[key] = jitted
        y, cursors = jitted(scopes, *args, **kwargs)
        if continues_names(module):
            commit_cursors(module, dict(cursors.items))
        return y

    return call


def checkpoint(
    target: Any,
    variables: CollectionFilter = True,
    rngs: PRNGSequenceFilter = True,
    concrete: bool = False,
    prevent_cse: bool = True,
    static_argnums: int | Iterable[int] = (),
    policy: Callable[..., bool] | None = None,
    methods: Any = None,
) -> Any:
    """Lifted `jax.checkpoint`: computes again in the backward pass what it forgot.

    That trades time for memory: of the transformed call only the inputs are kept for
    the gradient. `remat` is the same function.

    Args:
      target: a module class, or a function whose first argument is a module.
      variables: a filter that selects the collections to pass in.
      rngs: a filter that selects the PRNG streams to pass in.
      concrete: whether Python control flow may depend on values; passed on to JAX.
      prevent_cse: whether to keep the compiler from undoing the transform. Not
        needed within `scan`.
      static_argnums: positions of arguments that are compile-time constants; the
        module is number 0.
      policy: what to keep nevertheless, one of `jax.checkpoint_policies`.
      methods: for a class, the names of the methods to transform, by default
        `__call__`.

    Raises:
      TransformTargetError: `target` is neither.
      TransformedMethodReturnValueError: the function returns a module or variable.

    >>> import jax, jax.numpy as jnp
    >>> import batiste.linen as nn
    >>> class MLP(nn.Module):
    ...     @nn.compact
    ...     def __call__(self, x):
    ...         x = nn.relu(nn.checkpoint(nn.Dense)(8)(x))
    ...         return nn.checkpoint(nn.Dense)(1)(x)
    >>> variables = MLP().init(jax.random.key(0), jnp.ones((2, 4)))
    >>> sorted(variables["params"])
    ['CheckpointDense_0', 'CheckpointDense_1']
    """
    options = {
        "variables": variables,
        "rngs": rngs,
        "concrete": concrete,
        "prevent_cse": prevent_cse,
        "static_argnums": static_argnums,
        "policy": policy,
    }
    return lift_target(_checkpoint_call, checkpoint, target, options, methods)


remat = checkpoint


def _checkpoint_call(**options: Any) -> Call:
    options["static_argnums"] = _without_module(options["static_argnums"])

    def call(
        fn: Callable[..., Any], module: Any, args: tuple, kwargs: Any, cls: Any
    ) -> Any:
        return call_lifted(
            lambda body: lift.checkpoint(body, **options), fn, module, args, kwargs, cls
        )

    return call
