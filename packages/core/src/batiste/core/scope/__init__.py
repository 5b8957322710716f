"""Scopes: functions of variables made of functions of a scope."""

from .filters import (
    CollectionFilter,
    DenyList,
    Filter,
    PRNGSequenceFilter,
    filter_to_set,
    group_collections,
    in_filter,
    intersect_filters,
    is_filter_empty,
    subtract_filters,
    union_filters,
)
from .functions import apply, bind, empty_scope, init, lazy_init
from .keys import LazyRng
from .scope import Scope
from .variables import Variable

__all__ = [
    "CollectionFilter",
    "DenyList",
    "Filter",
    "LazyRng",
    "PRNGSequenceFilter",
    "Scope",
    "Variable",
    "apply",
    "bind",
    "empty_scope",
    "filter_to_set",
    "group_collections",
    "in_filter",
    "init",
    "intersect_filters",
    "is_filter_empty",
    "lazy_init",
    "subtract_filters",
    "union_filters",
]
