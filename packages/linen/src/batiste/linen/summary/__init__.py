"""Tables that show what a module consists of."""

from .table import Row, Table, module_paths, tabulate

__all__ = [
    "Row",
    "Table",
    "module_paths",
    "tabulate",
]
