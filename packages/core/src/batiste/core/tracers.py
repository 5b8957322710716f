"""Which JAX transform is being traced: the guard against leaked values."""

import functools
from typing import Any

import jax
import numpy as np
from jax.core import Tracer

from .errors import JaxTransformError
from .types import Path

__all__ = [
    "check_trace_level",
    "current_trace",
    "eager_trace",
    "is_staging",
    "jit_is_inlined",
    "staged_type",
]


def _opaque_trace_state(convention: str) -> Any:
    """JAX's function of this name, which takes this one's place at the first call.

    The module that has it takes longer to import than this whole package.
    """
    global _opaque_trace_state
    import jax.core
    import jax.extend.core

    # The newer name first: asking a new JAX for the older one gives a warning.
    found: Any = getattr(jax.extend.core, "get_opaque_trace_state", None)
    _opaque_trace_state = found or jax.core.get_opaque_trace_state
    return _opaque_trace_state(convention=convention)


def current_trace() -> Any:
    """Returns the state of tracing here, as an opaque value to compare by `==`.

    It is the same at two places exactly if no JAX transform begins or ends between.

    >>> here = current_trace()
    >>> here == current_trace()
    True
    >>> bool(jax.jit(lambda: here == current_trace())())
    False
    """
    return _opaque_trace_state(convention="nnx")


def check_trace_level(base_level: Any, scope_path: str | Path | None = None) -> None:
    """Checks that no JAX transform began or ended since `base_level` was taken.

    Args:
      base_level: a value from `current_trace`, or None to check nothing.
      scope_path: the path of the scope that is used, for the message.

    Raises:
      JaxTransformError: the trace is another one.

    >>> check_trace_level(current_trace())
    """
    if base_level is not None and base_level != current_trace():
        raise JaxTransformError(scope_path=scope_path)


@functools.cache
def eager_trace() -> Any:
    """Returns what `current_trace` is outside of all JAX transforms.

    >>> current_trace() == eager_trace()
    True
    >>> bool(jax.jit(lambda: current_trace() == eager_trace())())
    False
    """
    with jax.ensure_compile_time_eval():
        return current_trace()


def is_staging() -> bool:
    """Returns whether a jaxpr is being written here, as under `jax.jit`.

    `jax.vmap` and `jax.grad` alone run eagerly, though they have tracers as well.

    >>> is_staging(), bool(jax.jit(is_staging)())
    (False, True)
    """
    # Constants become tracers then, and only then. To ask so adds no equation.
    return isinstance(jax.numpy.asarray(np.float32(0)), Tracer)


@functools.cache
def staged_type() -> type:
    """Returns the type of the tracers that write a jaxpr, and do nothing else.

    >>> is_staged = lambda x: type(x) is staged_type()
    >>> is_staged(0), bool(jax.jit(is_staged)(0))
    (False, True)
    """
    types: list[type] = []
    jax.make_jaxpr(lambda x: types.append(type(x)))(0)
    return types[0]


@functools.cache
def jit_is_inlined() -> bool:
    """Whether `jax.jit(..., inline=True)` leaves no call in a jaxpr (before JAX 0.12).

    >>> program = jax.make_jaxpr(jax.jit(lambda x: -x, inline=True))(0)
    >>> (program.eqns[0].primitive.name == "neg") is jit_is_inlined()
    True
    """
    negative = jax.jit(lambda x: -x, inline=True)
    return jax.make_jaxpr(negative)(0).eqns[0].primitive.name == "neg"
