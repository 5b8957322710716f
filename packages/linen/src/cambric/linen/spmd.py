"""Partitioning metadata and logical axis rules, as `cambric.spmd` has them."""

from cambric.spmd import PARTITION_NAME as PARTITION_NAME
from cambric.spmd import LogicallyPartitioned as LogicallyPartitioned
from cambric.spmd import LogicalNames as LogicalNames
from cambric.spmd import LogicalRules as LogicalRules
from cambric.spmd import Partitioned as Partitioned
from cambric.spmd import RulesFallback as RulesFallback
from cambric.spmd import get_logical_axis_rules as get_logical_axis_rules
from cambric.spmd import get_partition_spec as get_partition_spec
from cambric.spmd import get_sharding as get_sharding
from cambric.spmd import logical_axis_rules as logical_axis_rules
from cambric.spmd import logical_to_mesh as logical_to_mesh
from cambric.spmd import logical_to_mesh_axes as logical_to_mesh_axes
from cambric.spmd import logical_to_mesh_sharding as logical_to_mesh_sharding
from cambric.spmd import set_logical_axis_rules as set_logical_axis_rules
from cambric.spmd import with_logical_constraint as with_logical_constraint
from cambric.spmd import with_logical_partitioning as with_logical_partitioning
from cambric.spmd import with_partitioning as with_partitioning
