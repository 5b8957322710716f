"""Scopes: functions of variables made of functions of a scope."""

from .filters import CollectionFilter as CollectionFilter
from .filters import DenyList as DenyList
from .filters import Filter as Filter
from .filters import PRNGSequenceFilter as PRNGSequenceFilter
from .filters import filter_to_set as filter_to_set
from .filters import group_collections as group_collections
from .filters import in_filter as in_filter
from .filters import intersect_filters as intersect_filters
from .filters import is_filter_empty as is_filter_empty
from .filters import subtract_filters as subtract_filters
from .filters import union_filters as union_filters
from .functions import apply as apply
from .functions import bind as bind
from .functions import init as init
from .functions import lazy_init as lazy_init
from .keys import LazyRng as LazyRng
from .scope import Scope as Scope
from .variables import Variable as Variable
