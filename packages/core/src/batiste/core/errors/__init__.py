"""Every error of Batiste. All derive from `FlaxError`.

A message says what happened, where (the path of the scope or module, or the file),
and what to do. Errors can be pickled and copied, and carry as attributes the names,
paths and shapes they were made from.
"""

from .arguments import InvalidArgumentError
from .base import (
    BatisteError,
    FlaxError,
    collection_names,
    name_hint,
    nearest_names,
    path_text,
    quoted,
    short_repr,
)
from .cursor import CursorFindError, TraverseTreeError
from .scope import (
    ApplyScopeInvalidVariablesStructureError,
    ApplyScopeInvalidVariablesTypeError,
    AxisMetadataError,
    ImmutableVariableError,
    InvalidFilterError,
    InvalidRngError,
    InvalidScopeError,
    JaxTransformError,
    LazyInitError,
    ModifyScopeVariableError,
    PartitioningUnspecifiedError,
    ScopeCollectionNotFound,
    ScopeParamNotFoundError,
    ScopeParamShapeError,
    ScopeVariableNotFoundError,
    passing_on,
)

__all__ = [
    "ApplyScopeInvalidVariablesStructureError",
    "ApplyScopeInvalidVariablesTypeError",
    "AxisMetadataError",
    "BatisteError",
    "CursorFindError",
    "FlaxError",
    "ImmutableVariableError",
    "InvalidArgumentError",
    "InvalidFilterError",
    "InvalidRngError",
    "InvalidScopeError",
    "JaxTransformError",
    "LazyInitError",
    "ModifyScopeVariableError",
    "PartitioningUnspecifiedError",
    "ScopeCollectionNotFound",
    "ScopeParamNotFoundError",
    "ScopeParamShapeError",
    "ScopeVariableNotFoundError",
    "TraverseTreeError",
    "collection_names",
    "name_hint",
    "nearest_names",
    "passing_on",
    "path_text",
    "quoted",
    "short_repr",
]
