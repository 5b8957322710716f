"""The flat name of `batiste.core.config`: the settings.

>>> from batiste import config
>>> config.update('return_frozendict', False)
>>> config.return_frozendict
False
>>> config.update('return_frozendict', True)
"""

from typing import Any

from batiste.core.config import *  # noqa: F403
from batiste.core.config import config


def __getattr__(name: str) -> Any:
    return getattr(config, name)
