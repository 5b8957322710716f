"""Layers that contract axes of their input with a matrix: Dense and DenseGeneral."""

from ..initializers import default_kernel_init
from ..types import PromoteDtypeFn
from .conv import Conv, ConvLocal
from .conv_shapes import canonicalize_padding
from .conv_transpose import ConvTranspose
from .dense import Dense, DenseGeneral
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
