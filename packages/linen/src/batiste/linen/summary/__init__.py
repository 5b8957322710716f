"""Tables that show what a module consists of."""

from .table import Row as Row
from .table import Table as Table
from .table import module_paths as module_paths
from .table import tabulate as tabulate
