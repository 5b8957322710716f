"""Logical axis names of variables, kept in collections beside them.

The names of the axes of a variable `kernel` in the collection `params` are kept as
`kernel_axes` in the collection `params_axes`. Boxes (`nn.with_logical_partitioning`)
are the newer way to say the same; this one leaves the variables bare.
"""

from batiste.spmd import RulesFallback

from .transforms import core_remat_static, remat, scan_with_axes, vmap_with_axes
from .variables import (
    AxisMetadata,
    PartitionedVariable,
    get_axis_names,
    param_with_axes,
    variable_with_axes,
)

__all__ = [
    "AxisMetadata",
    "PartitionedVariable",
    "RulesFallback",
    "core_remat_static",
    "get_axis_names",
    "param_with_axes",
    "remat",
    "scan_with_axes",
    "variable_with_axes",
    "vmap_with_axes",
]
