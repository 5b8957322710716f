"""What an initializer would produce, remembered per (initializer, arguments)."""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

__all__ = ["expected_shapes"]

# Entries die with their initializer: a closure over arrays (or tracers) is not kept
# alive by its entry, and a lambda made anew at each call does not fill the table.
_memo: weakref.WeakKeyDictionary[Callable[..., Any], dict[Any, tuple[Any, ...]]]
_memo = weakref.WeakKeyDictionary()

_STATIC_TYPES = (int, float, str, bytes, type, np.dtype, np.generic, type(None))


def _is_static(value: Any) -> bool:
    if isinstance(value, tuple):
        return all(map(_is_static, value))
    return isinstance(value, _STATIC_TYPES)


def _trace(init_fn: Callable[..., Any], args: tuple, kwargs: dict) -> tuple[Any, ...]:
    result = jax.eval_shape(lambda: init_fn(jax.random.key(0), *args, **kwargs))
    return tuple(getattr(leaf, "shape", None) for leaf in jax.tree.leaves(result))


def expected_shapes(
    init_fn: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    again: bool = False,
) -> tuple[Any, ...]:
    """Returns the shapes of the leaves of `init_fn(key, *args, **kwargs)`.

    The initializer is traced abstractly, once for each `(init_fn, args)` whose
    arguments are static data; with keyword arguments, or arguments or an initializer
    that cannot be hashed, it is traced at every call. An initializer that is made
    anew at each call, around another, is known again by its attribute `memo_key`: a
    pair of what it is made around and of hashable data that tells the rest.

    An initializer may look at what is not among its arguments, and make something else
    than what is remembered of it: who is about to raise an error asks `again`.

    >>> import jax.numpy as jnp
    >>> expected_shapes(jax.nn.initializers.zeros, ((2, 3), jnp.float32), {})
    ((2, 3),)
    """
    if kwargs:
        return _trace(init_fn, args, kwargs)
    owner, detail = getattr(init_fn, "memo_key", None) or (init_fn, None)
    if not again:
        try:
            return _memo[owner][detail, args]
        except (KeyError, TypeError):
            pass
    shapes = _trace(init_fn, args, kwargs)
    if _is_static(args):
        # What cannot be hashed or weakly referenced is traced at every call.
        with contextlib.suppress(TypeError):
            _memo.setdefault(owner, {})[detail, args] = shapes
    return shapes
