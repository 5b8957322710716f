"""Layers that contract axes of their input with a matrix: Dense and DenseGeneral.

The others are imported when they are first used.
"""

import importlib
from typing import TYPE_CHECKING, Any

from ..initializers import default_kernel_init
from ..types import PromoteDtypeFn
from .conv_shapes import canonicalize_padding
from .dense import Dense, DenseGeneral

if TYPE_CHECKING:
    from .conv import Conv, ConvLocal
    from .conv_transpose import ConvTranspose
    from .einsum import Einsum
    from .embed import Embed

__all__ = [
    "Conv",
    "ConvLocal",
    "ConvTranspose",
    "Dense",
    "DenseGeneral",
    "Einsum",
    "Embed",
    "PromoteDtypeFn",
    "canonicalize_padding",
    "default_kernel_init",
]

# Where to find what is imported when it is first used.
_HOME = {
    "Conv": ".conv",
    "ConvLocal": ".conv",
    "ConvTranspose": ".conv_transpose",
    "Einsum": ".einsum",
    "Embed": ".embed",
}


def __getattr__(name: str) -> Any:
    home = _HOME.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(home, __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME})
