"""Every error of Batiste. All derive from :class:`FlaxError`.

A message says what happened, where (the path of the scope or module, or the file),
and what to do. Errors can be pickled and copied, and carry as attributes the names,
paths and shapes they were made from.
"""

from .base import BatisteError as BatisteError
from .base import FlaxError as FlaxError
from .base import collection_names as collection_names
from .base import name_hint as name_hint
from .base import nearest_names as nearest_names
from .base import path_text as path_text
from .base import quoted as quoted
from .base import short_repr as short_repr
from .cursor import CursorFindError as CursorFindError
from .cursor import TraverseTreeError as TraverseTreeError
from .scope import (
    ApplyScopeInvalidVariablesStructureError as ApplyScopeInvalidVariablesStructureError,  # noqa: E501
)
from .scope import (
    ApplyScopeInvalidVariablesTypeError as ApplyScopeInvalidVariablesTypeError,
)
from .scope import AxisMetadataError as AxisMetadataError
from .scope import ImmutableVariableError as ImmutableVariableError
from .scope import InvalidFilterError as InvalidFilterError
from .scope import InvalidRngError as InvalidRngError
from .scope import InvalidScopeError as InvalidScopeError
from .scope import JaxTransformError as JaxTransformError
from .scope import LazyInitError as LazyInitError
from .scope import ModifyScopeVariableError as ModifyScopeVariableError
from .scope import PartitioningUnspecifiedError as PartitioningUnspecifiedError
from .scope import ScopeCollectionNotFound as ScopeCollectionNotFound
from .scope import ScopeParamNotFoundError as ScopeParamNotFoundError
from .scope import ScopeParamShapeError as ScopeParamShapeError
from .scope import ScopeVariableNotFoundError as ScopeVariableNotFoundError
