"""Which JAX transform is being traced: the guard against leaked values."""

from typing import Any

from .errors import JaxTransformError

__all__ = [
    "check_trace_level",
    "current_trace",
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
    """The state of tracing here, as an opaque value to compare by ``==``.

    It is the same at two places exactly if no JAX transform begins or ends between.

    >>> here = current_trace()
    >>> here == current_trace()
    True
    >>> import jax
    >>> bool(jax.jit(lambda: here == current_trace())())
    False
    """
    return _opaque_trace_state(convention="nnx")


def check_trace_level(base_level: Any, scope_path: Any = None) -> None:
    """Check that no JAX transform began or ended since ``base_level`` was taken.

    Args:
      base_level: a value from :func:`current_trace`, or None to check nothing.
      scope_path: path of the scope that is used, for the message.

    Raises:
      JaxTransformError: the trace is another one.

    >>> check_trace_level(current_trace())
    """
    if base_level is not None and base_level != _opaque_trace_state(convention="nnx"):
        raise JaxTransformError(scope_path=scope_path)
