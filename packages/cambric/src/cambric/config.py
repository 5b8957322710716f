"""The flat name of :mod:`cambric.core.config`: the settings.

>>> from cambric import config
>>> config.update('return_frozendict', False)
>>> config.return_frozendict
False
>>> config.update('return_frozendict', True)
"""

from typing import Any

from cambric.core.config import *  # noqa: F403
from cambric.core.config import config


def __getattr__(name: str) -> Any:
    return getattr(config, name)
