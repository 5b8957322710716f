"""Modules that hold nothing, and find each name in Batiste when it is first used."""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import Any

from .errors import hint
from .names import MODULES, RENAMED, absence, children

__all__ = ["AliasModule", "known_names"]

_MISSING = object()


def known_names(module: str) -> list[str]:
    """The public names of an alias module, sorted.

    >>> "Dense" in known_names("flax.linen")
    True
    """
    found = {name for owner, name in RENAMED if owner == module}
    for source in MODULES[module]:
        target = importlib.import_module(source)
        public = getattr(target, "__all__", None)
        found.update(dir(target) if public is None else public)
        found -= {n for n, v in vars(target).items() if isinstance(v, ModuleType)}
    found.update(children(module))
    return sorted(name for name in found if not name.startswith("_"))


class AliasModule(ModuleType):
    """A module of flax whose attributes are those of modules of Batiste.

    Raises:
      AttributeError: none of them has the name; the message lists the nearest names.
    """

    def __getattr__(self, name: str) -> Any:
        value = _find(self.__name__, name)
        if value is not _MISSING:
            # The next time Python finds it without asking here.
            self.__dict__[name] = value
            return value
        whole = f"{self.__name__}.{name}"
        # Python and its tools ask every module for such names, and know what to do.
        if name.startswith("__") and name.endswith("__"):
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        reason = absence(whole)
        if reason is None:
            near = hint(name, known_names(self.__name__))
            reason = f"Batiste, which is installed as flax, does not have it.{near}"
        raise AttributeError(
            f"module {self.__name__!r} has no attribute {name!r}: {reason}"
        )

    def __dir__(self) -> list[str]:
        return sorted({*self.__dict__, *known_names(self.__name__)})


def _find(module: str, name: str) -> Any:
    """The value of a name of an alias module, or _MISSING."""
    if name == "__all__":
        return known_names(module)
    if name.startswith("__"):
        return _MISSING
    whole = f"{module}.{name}"
    if whole in MODULES:
        return importlib.import_module(whole)
    if (module, name) in RENAMED:
        source, attribute = RENAMED[module, name]
        target = importlib.import_module(source)
        return target if attribute is None else getattr(target, attribute)
    for source in MODULES[module]:
        value = getattr(importlib.import_module(source), name, _MISSING)
        # How Batiste splits its packages into modules is its own affair.
        if value is not _MISSING and not isinstance(value, ModuleType):
            return value
    return _MISSING


def loaded_aliases() -> list[str]:
    """The names under which alias modules are imported now.

    >>> loaded_aliases()
    []
    """
    return [n for n, m in list(sys.modules.items()) if isinstance(m, AliasModule)]
