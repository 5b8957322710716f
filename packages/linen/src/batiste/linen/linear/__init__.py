"""Layers that contract axes of their input with a matrix: Dense and DenseGeneral."""

from ..types import PromoteDtypeFn as PromoteDtypeFn
from .conv import Conv as Conv
from .conv import ConvLocal as ConvLocal
from .conv_shapes import canonicalize_padding as canonicalize_padding
from .conv_transpose import ConvTranspose as ConvTranspose
from .dense import Dense as Dense
from .dense import DenseGeneral as DenseGeneral
from .einsum import Einsum as Einsum
from .embed import Embed as Embed
