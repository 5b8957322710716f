"""Tables that show what a module consists of."""

from .rows import Row
from .table import Table, module_paths, tabulate

__all__ = [
    "Row",
    "Table",
    "module_paths",
    "tabulate",
]
