"""Lifted `jax.jit`, compiled once for all modules that compute the same."""

from __future__ import annotations

import dataclasses
import functools
import threading
import types
import weakref
from collections.abc import Hashable, Iterable, Mapping
from typing import Any, Final, cast

import jax

from batiste.core import Scope, lift
from batiste.core.config import config
from batiste.core.scope import CollectionFilter, PRNGSequenceFilter
from batiste.core.static_args import in_either_order
from batiste.core.static_key import functions_of, static_key
from batiste.core.types import Function, Tree

from ..module.context import context, named_calls
from ..module.state import ModuleBase
from .call import (
    LiftedBody,
    LiftedCall,
    commit_cursors,
    continues_names,
    runs_unbound,
)
from .fingerprint import fingerprint
from .folding import FoldedRngs
from .inner_names import commit_names
from .module_map import ModuleMap
from .target import MakesCall, Methods, Target, lift_target

__all__ = ["jit"]

_CACHE_SIZE: Final = 256


def jit(
    target: Target,
    variables: CollectionFilter = True,
    rngs: PRNGSequenceFilter = True,
    static_argnums: int | Iterable[int] = (),
    static_argnames: str | Iterable[str] = (),
    donate_argnums: int | Iterable[int] = (),
    device: Any = None,
    backend: str | None = None,
    methods: Methods = None,
) -> Target:
    """Lifted `jax.jit`: compiles a method of a module class, or a function of a module.

    Within a larger compiled program it keeps the compiler from seeing the same block
    many times. Code is compiled once for all modules with equal constructor
    arguments, whatever their names, as long as shapes and mutability are the same;
    within it, `name` and `path` are those of the first. Modules with arguments that
    cannot be hashed are compiled for each call. Keys are those drawn without `jit`;
    with config `jit_folds_rngs` they are those under `fold_rngs`.

    Args:
      target: a module class, or a function whose first argument is a module.
      variables: a filter that selects the collections to pass in.
      rngs: a filter that selects the PRNG streams to pass in.
      static_argnums: positions of arguments that are compile-time constants; the
        module is number 0.
      static_argnames: names of keyword arguments that are. By position they may be
        left out, as documented: `jit(target, True, True, (), donate_argnums)`.
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
    if static_argnames != () or donate_argnums != ():
        static_argnames, donate_argnums, device, backend, methods = in_either_order(
            static_argnames, donate_argnums, device, backend, methods
        )
    options = {
        "variables": variables,
        "rngs": rngs,
        "static_argnums": static_argnums,
        "static_argnames": static_argnames,
        "donate_argnums": donate_argnums,
        "device": device,
        "backend": backend,
    }
    call_type: MakesCall = _JitCall
    if _lives_long(target):
        call_type = functools.partial(_call_of, target)
    return lift_target(lift.jit, jit, target, options, methods, call_type=call_type)


def _lives_long(target: Any) -> bool:
    """Whether it is a function of a file, and not one made by a call of another."""
    return isinstance(target, types.FunctionType) and not (
        target.__closure__ or "<locals>" in target.__qualname__
    )


# What is compiled belongs to the wrapper, which methods often make anew: they all have
# the compiled code of the function that they wrap, as long as it lives.
_calls_of: weakref.WeakKeyDictionary[Function, dict[Any, _JitCall]]
_calls_of = weakref.WeakKeyDictionary()


def _call_of(
    target: Function, transform: Function, options: Mapping[str, Any]
) -> _JitCall:
    """What runs the calls of a function's wrappers with these options."""
    try:
        key = static_key(tuple(options.items()))
    except TypeError:
        return _FunctionCall(transform, options)
    calls = _calls_of.setdefault(target, {})
    call = calls.get(key)
    if call is None:
        call = calls[key] = _FunctionCall(transform, options)
    return call


@jax.tree_util.register_static
@dataclasses.dataclass(frozen=True)
class _NamesInside:
    """What submodules were named, as static output of compiled code."""

    cursors: tuple[tuple[str, int], ...]
    made: tuple[tuple[str, str], ...]


class _JitBody(LiftedBody):
    """Returns what names were given, too, as its Python may not run."""

    def __call__(self, scopes: list[Scope], *args: Tree, **kwargs: Tree) -> Tree:
        y = super().__call__(scopes, *args, **kwargs)
        return y, _NamesInside(tuple(self.cursors.items()), self.made)


class _Bodies(threading.local):
    """The bodies of the calls that are going on, the innermost last."""

    def __init__(self) -> None:
        self.stack: list[_JitBody] = []


_bodies = _Bodies()


class _Program:
    """A function to compile, which keeps nothing of the calls that are made of it.

    What is compiled stays for long, and what a module holds must not.
    """

    def __call__(self, scopes: list[Scope], *args: Tree, **kwargs: Tree) -> Tree:
        """Runs the body of the call that is going on."""
        return _bodies.stack[-1](scopes, *args, **kwargs)


class _Programs(dict[Any, tuple[Function, list[Any]]]):
    """Programs by their keys, with what watches over the functions in a key."""


class _JitCall(LiftedCall):
    """Keeps what is compiled, for all modules that compute the same."""

    transforms_kwargs = True
    argnums = ("static_argnums", "donate_argnums")

    def __init__(self, transform: Function, options: Mapping[str, Any]):
        super().__init__(transform, options)
        self._cache = _Programs()
        self._unbound: dict[Any, Function] = {}

    def _key_of_function(self, fn: Function) -> Hashable:
        return fn

    def __call__(
        self,
        fn: Function,
        module: Tree,
        args: tuple[Tree, ...],
        kwargs: Mapping[str, Tree],
        cls: type[ModuleBase] | None = None,
    ) -> Tree:
        """Returns `fn(module, *args, **kwargs)`, compiled; as `LiftedCall`."""
        if getattr(module, "scope", 0) is None and runs_unbound(fn, module):
            return self._run_unbound(fn, cast(ModuleBase, module), args, kwargs)
        module_map = ModuleMap(module, cls)
        args = module_map.add_args(args)
        if kwargs:
            kwargs = module_map.add_kwargs(kwargs)
        target = module_map.add_target()
        # Hooks see every call, so that Python must run.
        key = None if context.hooked else fingerprint(module_map, target)
        found = None
        if key is not None:
            key = (self._key_of_function(fn), key, named_calls(), config.state)
            found = self._cache.get(key)
        if found is None:
            found = self.transform(_Program(), **self.options), self._watch(key)
            if key is not None:
                if len(self._cache) >= _CACHE_SIZE:
                    self._cache.pop(next(iter(self._cache)), None)
                self._cache[key] = found
        body = _JitBody(fn, module_map, target)
        # The names around are those of this call, and no part of what is compiled.
        body.taken = module_map.taken_names()
        scopes = module_map.scopes
        folded = None
        if config.jit_folds_rngs:
            folded = FoldedRngs(scopes, module)
            scopes = folded.scopes
        stack = _bodies.stack
        size = len(stack)
        try:
            try:
                stack.append(body)
                if folded is not None:
                    folded.lend()
                y, inside = found[0](scopes, *args, **kwargs)
            finally:
                del stack[size:]
                if folded is not None:
                    folded.give_back()
        except BaseException:
            # An interrupt may have come before the above.
            del stack[size:]
            if folded is not None:
                folded.give_back()
            raise
        if continues_names(module):
            commit_cursors(module, dict(inside.cursors))
            if inside.made:
                commit_names(module, inside.made, body.taken.get(target.index, {}))
        return y

    def without_scopes(self, fn: Function, module: ModuleBase) -> Function:
        """As `LiftedCall`, kept for all equal modules that can be hashed."""
        try:
            key = (fn, static_key(module), named_calls(), config.state)
            found = self._unbound.get(key)
        except TypeError:
            return super().without_scopes(fn, module)
        if found is None:
            if len(self._unbound) >= _CACHE_SIZE:
                self._unbound.pop(next(iter(self._unbound)))
            found = self._unbound[key] = super().without_scopes(fn, module)
        return found

    def _watch(self, key: Hashable) -> list[Any]:
        """What takes a program away when a function of its key is gone."""
        cache = weakref.ref(self._cache)

        def forget(_: object) -> None:
            programs = cache()
            if programs is not None:
                programs.pop(key, None)

        return [weakref.ref(fn, forget) for fn in functions_of(key)]


class _FunctionCall(_JitCall):
    """Runs the calls of one function, whose wrappers come and go."""

    def _key_of_function(self, fn: Function) -> Hashable:
        return getattr(fn, "compact", False), getattr(fn, "compact_name_scope", False)
