"""Every error that Batiste raises, from the packages that raise them.

>>> from batiste import errors
>>> errors.NameInUseError.__module__, errors.InvalidRngError.__module__
('batiste.linen.errors', 'batiste.core.errors.scope')
"""

from batiste.core.errors import *  # noqa: F403
from batiste.linen.errors import *  # noqa: F403
from batiste.serialization.errors import *  # noqa: F403
from batiste.spmd.errors import *  # noqa: F403
from batiste.training.errors import *  # noqa: F403
