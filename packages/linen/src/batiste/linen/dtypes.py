"""Which dtype a layer computes in, and bringing its arrays there."""

from __future__ import annotations

import functools
from typing import Any

import jax
import numpy as np
from jax import numpy as jnp

__all__ = ["canonicalize_dtype", "promote_dtype"]

_NO_ARRAYS = (
    "no dtype to compute in: every argument is None and dtype=None; pass at least one "
    "array, or a dtype"
)
_NOT_INEXACT = (
    "Dtype must be inexact: {dtype}; a layer computes in a floating or complex dtype "
    "such as float32, so pass one as `dtype`, or inexact=False"
)


@functools.cache
def _as_numpy_dtype(dtype: Any) -> np.dtype:
    return np.dtype(dtype)


@functools.cache
def _is_inexact(dtype: Any) -> bool:
    return bool(jnp.issubdtype(dtype, jnp.inexact))


def canonicalize_dtype(
    *args: Any, dtype: Any | None = None, inexact: bool = True
) -> Any:
    """Chooses the dtype in which a layer combines `args`.

    Args:
      *args: arrays or scalars of any shape; `None` is left out.
      dtype: a dtype that overrides the choice.
      inexact: whether the result is to be floating or complex. Integers and booleans
        then count as float32.

    Returns:
      `dtype` as it was given, or else what JAX's type promotion makes of `args`.

    Raises:
      ValueError: `dtype` is not inexact although `inexact` is set, or there is
        neither an array nor a dtype.

    >>> import jax.numpy as jnp
    >>> canonicalize_dtype(jnp.ones(2, jnp.bfloat16), None, 1.0)
    dtype(bfloat16)
    >>> canonicalize_dtype(jnp.arange(2))
    dtype('float32')
    """
    if dtype is None:
        arrays = [jnp.asarray(x) for x in args if x is not None]
        if not arrays:
            raise ValueError(_NO_ARRAYS)
        dtype = jnp.result_type(*arrays)
        if inexact and not _is_inexact(dtype):
            dtype = jnp.promote_types(jnp.float32, dtype)
    elif inexact and not _is_inexact(dtype):
        raise ValueError(_NOT_INEXACT.format(dtype=dtype))
    return dtype


def promote_dtype(
    *args: Any, dtype: Any | None = None, inexact: bool = True
) -> list[Any]:
    """Casts `args` to the one dtype that `canonicalize_dtype` chooses.

    Arrays that have that dtype already are returned as they are, without a cast.

    Args:
      *args: arrays or scalars of any shape; `None` stays `None`.
      dtype: a dtype that overrides the choice.
      inexact: whether the result is to be floating or complex.

    Returns:
      A list as long as `args`, of arrays of their shapes.

    Raises:
      ValueError: as `canonicalize_dtype` does.

    >>> import jax.numpy as jnp
    >>> x, bias = promote_dtype(jnp.arange(2), jnp.ones(2, jnp.bfloat16))
    >>> x.dtype, bias.dtype
    (dtype(bfloat16), dtype(bfloat16))
    """
    common = None if dtype is None else _as_numpy_dtype(dtype)
    for x in args:
        if x is None:
            continue
        if not isinstance(x, jax.Array):
            break
        if common is None:
            common = x.dtype
        elif x.dtype is not common and x.dtype != common:
            break
    else:
        if common is not None and (not inexact or _is_inexact(common)):
            return list(args)
    dtype = canonicalize_dtype(*args, dtype=dtype, inexact=inexact)
    return [None if x is None else jnp.asarray(x, dtype) for x in args]
