"""JAX transforms of functions of scopes."""

from .autodiff import grad, jvp, linearize, value_and_grad, vjp
from .axes import In, Out
from .control_flow import cond, switch, while_loop
from .custom_rules import custom_jvp, custom_vjp
from .jit import jit
from .pack import pack
from .parallel import pmap, shard_map
from .remat import checkpoint, remat, remat_scan
from .scan import scan
from .streams import tree_map_rngs
from .variables import (
    add_metadata_axis,
    fold_rngs,
    id_fn,
    map_variables,
    swap_collection,
)
from .vmap import vmap

__all__ = [
    "In",
    "Out",
    "add_metadata_axis",
    "checkpoint",
    "cond",
    "custom_jvp",
    "custom_vjp",
    "fold_rngs",
    "grad",
    "id_fn",
    "jit",
    "jvp",
    "linearize",
    "map_variables",
    "pack",
    "pmap",
    "remat",
    "remat_scan",
    "scan",
    "shard_map",
    "swap_collection",
    "switch",
    "tree_map_rngs",
    "value_and_grad",
    "vjp",
    "vmap",
    "while_loop",
]
