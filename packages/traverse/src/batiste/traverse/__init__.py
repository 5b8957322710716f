"""Flat and nested dictionaries, and traversals of nested data.

>>> from batiste.traverse import flatten_dict, t_identity
>>> flatten_dict({'dense': {'kernel': 1, 'bias': 2}}, sep='/')
{'dense/kernel': 1, 'dense/bias': 2}
>>> t_identity['dense'].each().update(lambda x: -x, {'dense': {'kernel': 1, 'bias': 2}})
{'dense': {'kernel': -1, 'bias': -2}}
"""

from .errors import (
    NotAMappingError,
    NotTraversableError,
    PathConflictError,
    PathKeyError,
    TraverseAttributeError,
    TraverseError,
    TraverseItemError,
    TraverseValuesError,
)
from .flatten import empty_node, flatten_dict, path_aware_map, unflatten_dict
from .model_params import ModelParamTraversal
from .traversal import (
    Traversal,
    TraverseAttr,
    TraverseCompose,
    TraverseEach,
    TraverseFilter,
    TraverseId,
    TraverseItem,
    TraverseMerge,
    TraverseTree,
    t_identity,
)

__all__ = [
    "ModelParamTraversal",
    "NotAMappingError",
    "NotTraversableError",
    "PathConflictError",
    "PathKeyError",
    "Traversal",
    "TraverseAttr",
    "TraverseAttributeError",
    "TraverseCompose",
    "TraverseEach",
    "TraverseError",
    "TraverseFilter",
    "TraverseId",
    "TraverseItem",
    "TraverseItemError",
    "TraverseMerge",
    "TraverseTree",
    "TraverseValuesError",
    "empty_node",
    "flatten_dict",
    "path_aware_map",
    "t_identity",
    "unflatten_dict",
]
