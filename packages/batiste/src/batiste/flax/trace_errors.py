"""The error of `flax.errors` that is about JAX's transforms and objects of NNX."""

from __future__ import annotations

from batiste.core.errors import FlaxError

__all__ = ["TraceContextError"]


class TraceContextError(FlaxError):
    """An object was changed under another transform than the one it was made in.

    >>> print(TraceContextError("Cannot change it here."))
    Cannot change it here.
    """
