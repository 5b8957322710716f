"""Boxes with facts on the axes of variables: the interface, and the one of meshes."""

from batiste.core.meta import AxisMetadata as AxisMetadata
from batiste.core.meta import add_axis as add_axis
from batiste.core.meta import is_axis_metadata as is_axis_metadata
from batiste.core.meta import map_axis_meta as map_axis_meta
from batiste.core.meta import remove_axis as remove_axis
from batiste.core.meta import replace_boxed as replace_boxed
from batiste.core.meta import unbox as unbox
from batiste.spmd import PARTITION_NAME as PARTITION_NAME
from batiste.spmd import Partitioned as Partitioned
from batiste.spmd import get_global_mesh as get_global_mesh
from batiste.spmd import get_partition_spec as get_partition_spec
from batiste.spmd import get_sharding as get_sharding
from batiste.spmd import global_mesh_defined as global_mesh_defined
from batiste.spmd import with_partitioning as with_partitioning
