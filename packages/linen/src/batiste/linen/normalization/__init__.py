"""Normalization layers: by batch, layer, root mean square, group and instance."""

from .layers import BatchNorm as BatchNorm
from .layers import GroupNorm as GroupNorm
from .layers import InstanceNorm as InstanceNorm
from .layers import LayerNorm as LayerNorm
from .layers import RMSNorm as RMSNorm
from .weights import SpectralNorm as SpectralNorm
from .weights import WeightNorm as WeightNorm
