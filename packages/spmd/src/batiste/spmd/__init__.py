"""Partitioning metadata, logical axis rules, and plans of a sharded model."""

from .axis_names import LogicalNames, LogicalRules
from .axis_rules import (
    get_logical_axis_rules,
    logical_axis_rules,
    logical_to_mesh_axes,
    set_logical_axis_rules,
)
from .context_mesh import get_global_mesh, global_mesh_defined
from .errors import (
    AxisRulesError,
    DuplicateAxisError,
    PartitioningError,
    PartitioningUnspecifiedError,
    RankMismatchError,
    UnknownAxisError,
)
from .hlo_collectives import Collective, collectives
from .logical import (
    LogicallyPartitioned,
    RulesFallback,
    logical_to_mesh,
    logical_to_mesh_sharding,
    with_logical_constraint,
    with_logical_partitioning,
)
from .partitioned import (
    PARTITION_NAME,
    Partitioned,
    get_partition_spec,
    get_sharding,
    with_partitioning,
)
from .planning import ParameterPlan, Plan, plan

__all__ = [
    "PARTITION_NAME",
    "AxisRulesError",
    "Collective",
    "DuplicateAxisError",
    "LogicalNames",
    "LogicalRules",
    "LogicallyPartitioned",
    "ParameterPlan",
    "Partitioned",
    "PartitioningError",
    "PartitioningUnspecifiedError",
    "Plan",
    "RankMismatchError",
    "RulesFallback",
    "UnknownAxisError",
    "collectives",
    "get_global_mesh",
    "get_logical_axis_rules",
    "get_partition_spec",
    "get_sharding",
    "global_mesh_defined",
    "logical_axis_rules",
    "logical_to_mesh",
    "logical_to_mesh_axes",
    "logical_to_mesh_sharding",
    "plan",
    "set_logical_axis_rules",
    "with_logical_constraint",
    "with_logical_partitioning",
    "with_partitioning",
]
