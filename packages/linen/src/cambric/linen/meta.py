"""Boxes with facts on the axes of variables: the interface, and the one of meshes."""

from cambric.core.meta import AxisMetadata as AxisMetadata
from cambric.core.meta import add_axis as add_axis
from cambric.core.meta import is_axis_metadata as is_axis_metadata
from cambric.core.meta import map_axis_meta as map_axis_meta
from cambric.core.meta import remove_axis as remove_axis
from cambric.core.meta import replace_boxed as replace_boxed
from cambric.core.meta import unbox as unbox
from cambric.spmd import PARTITION_NAME as PARTITION_NAME
from cambric.spmd import Partitioned as Partitioned
from cambric.spmd import get_global_mesh as get_global_mesh
from cambric.spmd import get_partition_spec as get_partition_spec
from cambric.spmd import get_sharding as get_sharding
from cambric.spmd import global_mesh_defined as global_mesh_defined
from cambric.spmd import with_partitioning as with_partitioning
