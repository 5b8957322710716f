"""Every error that Batiste raises, from the packages that raise them.

>>> from batiste import errors
>>> errors.NameInUseError.__module__, errors.InvalidRngError.__module__
('batiste.linen.errors', 'batiste.core.errors.scope')
>>> errors.PathConflictError.__module__, errors.SerializationError.__module__
('batiste.traverse.errors', 'batiste.serialization.errors')
"""

from batiste.core.errors import *  # noqa: F403
from batiste.linen.errors import *  # noqa: F403
from batiste.serialization.errors import *  # noqa: F403
from batiste.spmd.errors import *  # noqa: F403
from batiste.training.errors import *  # noqa: F403
from batiste.traverse.errors import *  # noqa: F403

# Those modules also have what builds their messages, which is no error.
__all__ = [  # pyright: ignore[reportUnsupportedDunderAll]
    name for name, value in globals().items() if isinstance(value, type)
]
