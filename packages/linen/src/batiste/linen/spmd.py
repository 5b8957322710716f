"""Partitioning metadata and logical axis rules, as `batiste.spmd` has them."""

from batiste.spmd import PARTITION_NAME as PARTITION_NAME
from batiste.spmd import LogicallyPartitioned as LogicallyPartitioned
from batiste.spmd import LogicalNames as LogicalNames
from batiste.spmd import LogicalRules as LogicalRules
from batiste.spmd import Partitioned as Partitioned
from batiste.spmd import RulesFallback as RulesFallback
from batiste.spmd import get_logical_axis_rules as get_logical_axis_rules
from batiste.spmd import get_partition_spec as get_partition_spec
from batiste.spmd import get_sharding as get_sharding
from batiste.spmd import logical_axis_rules as logical_axis_rules
from batiste.spmd import logical_to_mesh as logical_to_mesh
from batiste.spmd import logical_to_mesh_axes as logical_to_mesh_axes
from batiste.spmd import logical_to_mesh_sharding as logical_to_mesh_sharding
from batiste.spmd import set_logical_axis_rules as set_logical_axis_rules
from batiste.spmd import with_logical_constraint as with_logical_constraint
from batiste.spmd import with_logical_partitioning as with_logical_partitioning
from batiste.spmd import with_partitioning as with_partitioning
