"""Settings: named flags with a default, an environment variable, and a local value.

The flags that this package reads are defined in `config.flags`. Another package defines
those that only it reads in its module `flags`. They are there once that is imported,
and at the latest when somebody asks for a flag that is not defined yet: then the
modules `flags` of all packages of Batiste that are installed are imported.

>>> from batiste.core.config import config
>>> with config.temp_flip_flag('return_frozendict', False):
...     config.return_frozendict
False
"""

from __future__ import annotations

import contextlib
from types import TracebackType
from typing import Any, Self

from . import flags as _flags  # noqa: F401
from .definitions import (
    bool_flag,
    define_bool_state,
    int_flag,
    static_bool_env,
    static_int_env,
)
from .settings import Config, FlagHolder, FlagValueError, UnknownFlagError, config

__all__ = [
    "Config",
    "FlagHolder",
    "FlagValueError",
    "UnknownFlagError",
    "bool_flag",
    "config",
    "define_bool_state",
    "int_flag",
    "static_bool_env",
    "static_int_env",
    "temp_flip_flag",
    "update",
    "use_regular_dict",
]

# So that `batiste.core.config.update(...)` and `batiste.core.config.<flag>` work on the
# module too.
update = config.update
temp_flip_flag = config.temp_flip_flag


def __getattr__(name: str) -> Any:
    return getattr(config, name)


class use_regular_dict(contextlib.ContextDecorator):
    """Lets `init` and `apply` return plain dicts, in a block or a function.

    >>> with use_regular_dict():
    ...     config.return_frozendict
    False
    >>> @use_regular_dict()
    ... def train():
    ...     return config.return_frozendict
    >>> train()
    False
    """

    def _recreate_cm(self) -> Self:
        # The decorated function may run in several threads and recursively.
        return type(self)()

    def __enter__(self) -> Self:
        self._flip = config.temp_flip_flag("return_frozendict", False)
        self._flip.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool | None:
        return self._flip.__exit__(kind, error, traceback)
