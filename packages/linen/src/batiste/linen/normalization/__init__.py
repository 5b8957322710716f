"""Normalization layers: by batch, layer, root mean square, group and instance."""

from .layers import BatchNorm, GroupNorm, InstanceNorm, LayerNorm, RMSNorm
from .weights import SpectralNorm, WeightNorm

__all__ = [
    "BatchNorm",
    "GroupNorm",
    "InstanceNorm",
    "LayerNorm",
    "RMSNorm",
    "SpectralNorm",
    "WeightNorm",
]
