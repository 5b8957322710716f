"""Modules that hold nothing, and find each name in Batiste when it is first used."""

from __future__ import annotations

import importlib
import pkgutil
import sys
from types import ModuleType
from typing import Any

from .errors import hint
from .imports import imported
from .names import LIVE, MODULES, RENAMED, SHOWN, absence, children
from .released import LENT, has_nnx, is_passed_through, lent

__all__ = ["AliasModule", "known_names", "loaded_aliases", "restore_live"]

_MISSING = object()

# What names had for values before a program set them, by module of Batiste and name.
_before: dict[tuple[str, str], Any] = {}


def known_names(module: str) -> list[str]:
    """The public names of an alias module, sorted.

    >>> "Dense" in known_names("flax.linen")
    True
    """
    found = {name for owner, name in (*RENAMED, *LIVE) if owner == module}
    below = children(module)
    for source in MODULES[module]:
        target = importlib.import_module(source)
        public = getattr(target, "__all__", None)
        found.update(dir(target) if public is None else public)
        # A package imports some of its modules only when it is asked for them.
        folders = getattr(target, "__path__", None) or ()
        for found_below in pkgutil.iter_modules(folders):
            if found_below.name in found and found_below.name not in below:
                getattr(target, found_below.name, None)
        found -= {n for n, v in vars(target).items() if isinstance(v, ModuleType)}
    found.update(below)
    return sorted(name for name in found if not name.startswith("_"))


class AliasModule(ModuleType):
    """A module of flax whose attributes are those of modules of Batiste.

    Raises:
      AttributeError: none of them has the name; the message lists the nearest names.
    """

    def __getattr__(self, name: str) -> Any:
        if (self.__name__, name) in LIVE:
            source, attribute = LIVE[self.__name__, name]
            return getattr(importlib.import_module(source), attribute)
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

    def __setattr__(self, name: str, value: Any) -> None:
        if (self.__name__, name) not in LIVE:
            super().__setattr__(name, value)
            return
        source, attribute = LIVE[self.__name__, name]
        target = importlib.import_module(source)
        _before.setdefault((source, attribute), getattr(target, attribute))
        setattr(target, attribute, value)

    def __delattr__(self, name: str) -> None:
        # What `unittest.mock` does where it finds no value in the module itself.
        if (self.__name__, name) not in LIVE:
            super().__delattr__(name)
            return
        _restore(*LIVE[self.__name__, name])

    def __dir__(self) -> list[str]:
        return sorted({*self.__dict__, *known_names(self.__name__)})


def _find(module: str, name: str) -> Any:
    """The value of a name of an alias module, or _MISSING."""
    if name == "__all__":
        return known_names(module)
    if name.startswith("__"):
        return _MISSING
    whole = f"{module}.{name}"
    if whole in MODULES or (is_passed_through(whole) and has_nnx()):
        return importlib.import_module(whole)
    if (module, name) in RENAMED:
        source, attribute = RENAMED[module, name]
        target = importlib.import_module(source)
        return target if attribute is None else getattr(target, attribute)
    for source in MODULES[module]:
        value = getattr(importlib.import_module(source), name, _MISSING)
        if value is _MISSING:
            continue
        # How Batiste splits its packages into modules is its own affair.
        if not isinstance(value, ModuleType) or (module, name) in SHOWN:
            return value
    if name in LENT.get(module, ()) and has_nnx():
        return lent(module, name)
    if (module_name := imported(module, name)) is not None:
        try:
            return importlib.import_module(module_name)
        except ModuleNotFoundError:  # orbax, msgpack: who lacks them has no use for it
            return _MISSING
    return _MISSING


def restore_live() -> None:
    """Gives the names that a program has set through an alias their first values.

    >>> restore_live()
    """
    for source, attribute in list(_before):
        _restore(source, attribute)


def _restore(source: str, attribute: str) -> None:
    if (source, attribute) in _before:
        value = _before.pop((source, attribute))
        setattr(importlib.import_module(source), attribute, value)


def loaded_aliases() -> list[str]:
    """The names under which alias modules, and NNX's, are imported now.

    >>> loaded_aliases()
    []
    """
    return [
        name
        for name, module in list(sys.modules.items())
        if isinstance(module, AliasModule) or is_passed_through(name)
    ]
