"""JAX's transformations for modules: of classes, of methods, and of functions."""

from .autodiff import grad, jvp, linearize, value_and_grad, vjp
from .control_flow import cond, switch, while_loop
from .custom_rules import custom_jvp, custom_vjp
from .jit import jit
from .lift_transform import (
    decorator_lift_transform,
    lift_direct_transform,
    lift_transform,
    module_class_lift_transform,
)
from .named_call import named_call
from .parallel import pmap, shard_map
from .remat import checkpoint, remat, remat_scan
from .scan import scan
from .variables import add_metadata_axis, fold_rngs, map_variables
from .vmap import vmap

__all__ = [
    "add_metadata_axis",
    "checkpoint",
    "cond",
    "custom_jvp",
    "custom_vjp",
    "decorator_lift_transform",
    "fold_rngs",
    "grad",
    "jit",
    "jvp",
    "lift_direct_transform",
    "lift_transform",
    "linearize",
    "map_variables",
    "module_class_lift_transform",
    "named_call",
    "pmap",
    "remat",
    "remat_scan",
    "scan",
    "shard_map",
    "switch",
    "value_and_grad",
    "vjp",
    "vmap",
    "while_loop",
]
