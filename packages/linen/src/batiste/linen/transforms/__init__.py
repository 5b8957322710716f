"""JAX's transformations for modules: of classes, of methods, and of functions."""

from .branching import cond as cond
from .branching import switch as switch
from .compiling import checkpoint as checkpoint
from .compiling import jit as jit
from .compiling import remat as remat
from .custom_rules import custom_jvp as custom_jvp
from .custom_rules import custom_vjp as custom_vjp
from .differentiating import grad as grad
from .differentiating import jvp as jvp
from .differentiating import linearize as linearize
from .differentiating import value_and_grad as value_and_grad
from .differentiating import vjp as vjp
from .generic import decorator_lift_transform as decorator_lift_transform
from .generic import lift_direct_transform as lift_direct_transform
from .generic import lift_transform as lift_transform
from .generic import module_class_lift_transform as module_class_lift_transform
from .looping import remat_scan as remat_scan
from .looping import scan as scan
from .looping import while_loop as while_loop
from .mapping import vmap as vmap
from .naming import named_call as named_call
from .parallel import pmap as pmap
from .parallel import shard_map as shard_map
from .variables import add_metadata_axis as add_metadata_axis
from .variables import fold_rngs as fold_rngs
from .variables import map_variables as map_variables
