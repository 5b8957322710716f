"""Lifted `jax.jit`, compiled once for however many places in a tree of scopes."""

from __future__ import annotations

import dataclasses
import functools
import threading
import weakref
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from ..config import config
from ..scope.filters import DenyList, Filter
from ..scope.keys import LazyRng, RngCounters
from ..static_args import as_tuple, in_either_order, static_args
from ..static_key import static_key
from ..types import Array, Function, Key, Tree
from .pack import Lifted, PerScope, Repack, VariableGroups, pack
from .requested_keys import Draws, RequestedRng, StreamId, WordRequests, counted
from .streams import RngGroups, without_suffix

__all__ = ["jit"]

# The compiled function gets its own arguments before those of the user's function.
_OWN_ARGS = 4
# How many words for keys a program takes at first. Most jitted functions are layers;
# one that draws more keys is traced again with room for them.
_FEW_WORDS = 32


def jit(
    fn: Function,
    variables: Filter = True,
    rngs: Filter = True,
    static_argnums: int | Iterable[int] = (),
    static_argnames: str | Iterable[str] = (),
    donate_argnums: int | Iterable[int] = (),
    device: Any = None,
    backend: str | None = None,
    fingerprint: Hashable = None,
) -> Function:
    """Lifted `jax.jit`: compiles a function of a scope.

    The function is traced and compiled once for all scopes: a program does not depend
    on the path of its scope, nor on how many keys were drawn there before. It does
    depend on shapes, dtypes, static arguments, flags, and on what may be changed.
    The keys that are drawn are those that are drawn without `jit`. With config
    `jit_folds_rngs` the streams start anew, as in `fold_rngs`, and code is compiled for
    each number of keys that were drawn before.

    Args:
      fn: a function whose first argument is a scope or a pytree of them.
      variables: the collections that are lifted in.
      rngs: the PRNG streams that are lifted in.
      static_argnums: what arguments are static, counted without the scope; also
        where they are passed by keyword.
      static_argnames: the names of static arguments; also where they are passed by
        position. By position it may be left out, as documented: `jit(fn, True, True,
        (), donate_argnums, device, backend)`.
      donate_argnums: the arguments whose memory may be used for results, counted
        without the scope.
      device: the device to run on, for versions of JAX that let `jax.jit` choose it.
      backend: the backend to compile for, as `device`.
      fingerprint: what says that two functions are the same program: functions that
        are given with equal fingerprints share what is compiled for the first of them.
        By default a function is the same only as itself.

    Returns:
      A function of the same arguments and results.

    Raises:
      InvalidArgumentError: the function has no such static argument.
      As `pack`, and as `jax.jit`.

    >>> import jax.numpy as jnp
    >>> from batiste.core import init, nn
    >>> dense = jit(nn.dense, static_argnums=1)
    >>> def model(scope, x):
    ...     for i in range(4):  # compiled once
    ...         x = dense(scope.push(f"layer{i}"), x, 3)
    ...     return x
    >>> y, variables = init(model)(jax.random.key(0), jnp.ones((2, 3)))
    >>> sorted(variables["params"])
    ['layer0', 'layer1', 'layer2', 'layer3']
    """
    if static_argnames != () or donate_argnums != ():
        static_argnames, donate_argnums, device, backend = in_either_order(
            static_argnames, donate_argnums, device, backend
        )
    numbers, names = static_args(
        "jit", fn, as_tuple(static_argnums), as_tuple(static_argnames), skipped=1
    )
    options: dict[str, Any] = {
        "static_argnums": (0, *_shifted(numbers)),
        "static_argnames": names,
        "donate_argnums": _shifted(donate_argnums),
    }
    if device is not None:
        options["device"] = device
    if backend is not None:
        options["backend"] = backend
    compiled = _compiled(fn, fingerprint, tuple(options.items()))

    def inner(
        scope_fn: Lifted,
        repack_fn: Repack,
        variable_groups: VariableGroups,
        rng_groups: RngGroups,
        *args: Tree,
        **kwargs: Tree,
    ) -> tuple[Tree, VariableGroups]:
        call = _Call(fn, scope_fn, repack_fn)
        anew = config.jit_folds_rngs and any(map(any, rng_groups))
        if anew:
            rng_groups = without_suffix(rng_groups)
        key = _static_key(scope_fn, rng_groups, anew)
        keys = tuple(
            [
                {stream: lazy.rng for stream, lazy in streams.items()}
                for streams in rng_groups[0]
            ]
        )
        words = np.zeros(0, np.uint32)
        stack = _calls.stack
        depth = len(stack)
        try:
            try:
                stack.append(call)
                if any(keys) and not anew:
                    # Tracing tells what keys are drawn, and it is remembered by JAX.
                    words = _find_words(
                        lambda words: compiled.eval_shape(
                            key, words, variable_groups, keys, *args, **kwargs
                        )[2],
                        rng_groups[0],
                        scope_fn.counters,
                    )
                y, out_groups, draws = compiled(
                    key, words, variable_groups, keys, *args, **kwargs
                )
            finally:
                del stack[depth:]
        except BaseException:
            del stack[depth:]  # an interrupt may have come before the above
            raise
        draws.count(scope_fn.counters)
        return y, out_groups

    return pack(
        inner, (variables,), (variables,), (rngs,), name="jit", enable_kwargs=True
    )


@dataclasses.dataclass
class _Call:
    """What a trace needs to know of the call that it is made for."""

    fn: Function
    scope_fn: Lifted
    repack_fn: Repack


class _Calls(threading.local):
    """The calls that are going on. JAX must not keep them, only what it compiled."""

    def __init__(self) -> None:
        self.stack: list[_Call] = []


_calls = _Calls()


class _StaticKey(NamedTuple):
    """All static data that a trace looks at, except for what JAX sees itself.

    Attributes:
      scopes: what is known of each root scope.
      per_scope: which of the scopes are where below the roots.
      start: if streams start anew, how many keys were drawn before.
      flags: the state of the config.
    """

    scopes: tuple[Any, ...]
    per_scope: PerScope
    start: Draws | None
    flags: int


def _run(
    key: _StaticKey,
    words: Array,
    variable_groups: Tree,
    keys: tuple[dict[str, Key], ...],
    *args: Tree,
    **kwargs: Tree,
) -> tuple[Tree, VariableGroups, Draws]:
    """The program. What it takes from the call is the same wherever it is used."""
    call = _calls.stack[-1]
    requests = WordRequests(words)
    streams = _streams(key, requests, keys)
    lifted = call.scope_fn
    start = [RngCounters() for _ in lifted.roots]
    if key.start is not None:
        key.start.count(start)
    with lifted.counting_on([state.copy() for state in start]) as counters:
        scope = lifted(variable_groups, (streams,))
        y = call.fn(scope, *args, **kwargs)
        counts = tuple(
            [tuple(counted(state, since)) for state, since in zip(counters, start)]
        )
        out_groups = call.repack_fn(scope)
    return y, out_groups, Draws(tuple(requests.index), counts)


def _streams(
    key: _StaticKey, requests: WordRequests, keys: tuple[dict[str, Key], ...]
) -> tuple[dict[str, LazyRng], ...]:
    """The PRNG streams within the program."""
    if key.start is not None:
        return tuple(
            [{name: LazyRng(rng) for name, rng in root.items()} for root in keys]
        )
    at_root = {
        StreamId(i, name) for i, scope in enumerate(key.scopes) for name in scope[2]
    }
    return tuple(
        [
            {
                name: RequestedRng(rng, requests, stream, stream in at_root)
                for name, rng in root.items()
                for stream in [StreamId(i, name)]
            }
            for i, root in enumerate(keys)
        ]
    )


def _find_words(
    trace: Callable[[np.ndarray], Draws],
    rngs: Sequence[Mapping[str, LazyRng]],
    counters: Sequence[RngCounters],
) -> np.ndarray | Array:
    """The words that are to be folded into the keys of this call."""
    size = _FEW_WORDS
    draws = trace(np.zeros(size, np.uint32))
    while len(draws.requests) > size:
        size = 2 ** (len(draws.requests) - 1).bit_length()
        draws = trace(np.zeros(size, np.uint32))
    return draws.words(rngs, counters, size)


def _static_key(lifted: Lifted, rng_groups: RngGroups, anew: bool) -> _StaticKey:
    scopes = tuple(
        (
            _hashable_filter(scope.mutable),
            _hashable_flags(scope.flags),
            tuple([name for name, lazy in streams.items() if lazy.folds_nothing]),
            # What other transforms do not let out is an error in a trace.
            tuple([_hashable_filter(kept) for kept in scope.tree.mutable_outside()]),
        )
        for scope, streams in zip(lifted.roots, rng_groups[0], strict=True)
    )
    start = None
    if anew:
        start = Draws((), tuple([tuple(counted(state)) for state in lifted.counters]))
    return _StaticKey(scopes, lifted.per_scope, start, config.state)


def _hashable_filter(filter_like: Filter) -> Hashable:
    if isinstance(filter_like, (bool, str)):
        return filter_like
    if isinstance(filter_like, DenyList):
        return ("deny", _hashable_filter(filter_like.deny))
    return frozenset(filter_like)


def _hashable_flags(flags: Mapping[str, Any]) -> Hashable:
    try:
        return tuple([(name, static_key(flags[name])) for name in sorted(flags)])
    except TypeError:
        return object()  # equal to nothing: traced at every call


def _compiled(fn: Function, fingerprint: Hashable, options: Hashable) -> Any:
    """What JAX compiles and remembers for a function, or for a fingerprint."""
    if fingerprint is not None:
        return _compiled_for_fingerprint(fingerprint, options)
    try:
        by_options = _compiled_for_fn.setdefault(fn, {})
    except TypeError:  # cannot be hashed or weakly referenced
        return _new_compiled(options)
    if options not in by_options:
        by_options[options] = _new_compiled(options)
    return by_options[options]


# Entries die with their functions.
_compiled_for_fn: weakref.WeakKeyDictionary[Function, dict[Any, Any]]
_compiled_for_fn = weakref.WeakKeyDictionary()


@functools.lru_cache(maxsize=1024)
def _compiled_for_fingerprint(fingerprint: Hashable, options: Hashable) -> Any:
    return _new_compiled(options)


def _new_compiled(options: Any) -> Any:
    # A function object of its own: JAX remembers by it what it has compiled.
    def lifted_jit(*args: Tree, **kwargs: Tree) -> Any:
        return _run(*args, **kwargs)

    return jax.jit(lifted_jit, **dict(options))


def _shifted(argnums: int | Iterable[int]) -> tuple[int, ...]:
    if isinstance(argnums, int):
        argnums = (argnums,)
    return tuple([n + _OWN_ARGS if n >= 0 else n for n in argnums])
