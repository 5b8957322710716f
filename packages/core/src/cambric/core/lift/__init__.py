"""JAX transforms of functions of scopes."""

from .axes import In as In
from .axes import Out as Out
from .pack import pack as pack
from .pack import tree_map_rngs as tree_map_rngs
from .remat import checkpoint as checkpoint
from .remat import remat as remat
from .remat import remat_scan as remat_scan
from .scan import scan as scan
from .vmap import vmap as vmap
