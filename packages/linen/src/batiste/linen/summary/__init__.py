"""Tables and pictures that show what a module consists of."""

from .graph import graph
from .rows import Row, VariableSpec
from .table import Table, TableText, module_paths, tabulate

__all__ = [
    "Row",
    "Table",
    "TableText",
    "VariableSpec",
    "graph",
    "module_paths",
    "tabulate",
]
