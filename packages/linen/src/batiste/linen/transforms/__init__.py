"""JAX's transformations for modules: of classes, of methods, and of functions."""

from .autodiff import grad as grad
from .autodiff import jvp as jvp
from .autodiff import linearize as linearize
from .autodiff import value_and_grad as value_and_grad
from .autodiff import vjp as vjp
from .control_flow import cond as cond
from .control_flow import switch as switch
from .custom_rules import custom_jvp as custom_jvp
from .custom_rules import custom_vjp as custom_vjp
from .jit import checkpoint as checkpoint
from .jit import jit as jit
from .jit import remat as remat
from .lift_transform import decorator_lift_transform as decorator_lift_transform
from .lift_transform import lift_direct_transform as lift_direct_transform
from .lift_transform import lift_transform as lift_transform
from .lift_transform import module_class_lift_transform as module_class_lift_transform
from .named_call import named_call as named_call
from .parallel import pmap as pmap
from .parallel import shard_map as shard_map
from .scan import remat_scan as remat_scan
from .scan import scan as scan
from .scan import while_loop as while_loop
from .variables import add_metadata_axis as add_metadata_axis
from .variables import fold_rngs as fold_rngs
from .variables import map_variables as map_variables
from .vmap import vmap as vmap
