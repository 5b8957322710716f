"""Which dtype a layer computes in, and bringing its arrays there."""

from __future__ import annotations

import functools
from typing import Any, Final

import jax
import numpy as np
from jax import numpy as jnp
from jax.core import Tracer

from .types import ArrayLike, Dtype

__all__ = ["canonicalize_dtype", "promote_dtype"]

_ARRAYS: Final = (Tracer, jax.Array)


@functools.cache
def _as_numpy_dtype(dtype: Dtype) -> np.dtype:
    return np.dtype(dtype)


@functools.cache
def _is_inexact(dtype: Dtype) -> bool:
    return bool(jnp.issubdtype(dtype, jnp.inexact))


def canonicalize_dtype(
    *args: ArrayLike | None, dtype: Dtype | None = None, inexact: bool = True
) -> Dtype:
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
    if dtype is not None:
        if inexact and not _is_inexact(dtype):
            raise ValueError(
                f"a layer cannot compute in {dtype}, which is neither floating nor "
                "complex; give it one such as float32 as `dtype`, or pass "
                "inexact=False"
            )
        return dtype
    arrays = [jnp.asarray(x) for x in args if x is not None]
    if not arrays:
        raise ValueError(
            "no dtype to compute in: every argument is None and dtype=None; pass at "
            "least one array, or a dtype"
        )
    inferred = jnp.result_type(*arrays)
    if inexact and not _is_inexact(inferred):
        return jnp.promote_types(jnp.float32, inferred)
    return inferred


def promote_dtype(
    *args: ArrayLike | None, dtype: Dtype | None = None, inexact: bool = True
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
        # A tracer is an array, too, but takes longer to be found one.
        if not isinstance(x, _ARRAYS):
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
