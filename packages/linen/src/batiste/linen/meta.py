"""Boxes with facts on the axes of variables: the interface, and the one of meshes."""

from batiste.core.meta import (
    AxisMetadata,
    add_axis,
    is_axis_metadata,
    map_axis_meta,
    remove_axis,
    replace_boxed,
    unbox,
)
from batiste.spmd import (
    PARTITION_NAME,
    Partitioned,
    get_global_mesh,
    get_partition_spec,
    get_sharding,
    global_mesh_defined,
    with_partitioning,
)

__all__ = [
    "PARTITION_NAME",
    "AxisMetadata",
    "Partitioned",
    "add_axis",
    "get_global_mesh",
    "get_partition_spec",
    "get_sharding",
    "global_mesh_defined",
    "is_axis_metadata",
    "map_axis_meta",
    "remove_axis",
    "replace_boxed",
    "unbox",
    "with_partitioning",
]
