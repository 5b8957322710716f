"""The released flax, where it is installed beside Batiste: `flax.nnx` comes from it.

Nothing else does. What NNX imports of flax's other modules is Batiste's, so that its
bridge works with Batiste's modules; a few helpers that are for NNX alone, and that
Batiste therefore lacks, are read from the released files under names of their own.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any

__all__ = ["LENT", "has_nnx", "is_passed_through", "lent", "nnx_spec"]

_PASSED = ("flax.nnx", "flax.experimental")

# The helpers, by the alias module in which NNX looks for them.
LENT: dict[str, frozenset[str]] = {
    "flax.core.spmd": frozenset(
        "apply_rules composite_rules from_sharding_rules get_mesh get_pspec "
        "map_sharding shard_value".split()
    ),
    "flax.typing": frozenset({"BaseConfigContext"}),
}


def is_passed_through(module: str) -> bool:
    """Tells whether a module is one that only the released flax can have.

    >>> is_passed_through("flax.nnx.bridge"), is_passed_through("flax.linen")
    (True, False)
    """
    return any(module == name or module.startswith(name + ".") for name in _PASSED)


def has_nnx() -> bool:
    """Tells whether a released flax with NNX is installed.

    >>> isinstance(has_nnx(), bool)
    True
    """
    return _spec_below("flax.nnx") is not None


def nnx_spec(fullname: str, path: Sequence[str] | None = None) -> ModuleSpec | None:
    """Finds a module of NNX in the released flax.

    Args:
      fullname: its whole name.
      path: where its package is, as the import system tells; the released flax for
        `flax.nnx` itself.

    Returns:
      Its spec, or None where there is no such module, or no released flax.

    >>> nnx_spec("flax.linen") is None
    True
    """
    if not is_passed_through(fullname) or not has_nnx():
        return None
    if fullname in _PASSED:
        return _spec_below(fullname)
    return PathFinder.find_spec(fullname, path)


def lent(module: str, name: str) -> Any:
    """Returns a helper that NNX needs and Batiste lacks.

    Args:
      module: the alias module that it is looked for in.
      name: its name, one of `LENT[module]`.

    Raises:
      AttributeError: there is no released flax, or none that has it.

    >>> lent("flax.typing", "no such helper")
    Traceback (most recent call last):
        ...
    AttributeError: the released flax lends no 'no such helper' of flax.typing
    """
    found = None
    if name in LENT.get(module, ()) and has_nnx():
        found = getattr(_private(module), name, None)
    if found is None:
        raise AttributeError(f"the released flax lends no {name!r} of {module}")
    return found


def _folders() -> list[str]:
    """The folders of the released package."""
    # The finder that is asked knows folders and archives, and no import hook.
    spec = PathFinder.find_spec("flax", sys.path)
    return list(spec.submodule_search_locations or ()) if spec else []


def _spec_below(fullname: str) -> ModuleSpec | None:
    folders = _folders()
    return PathFinder.find_spec(fullname, folders) if folders else None


def _private(module: str) -> ModuleType:
    """A module of the released flax under a name of its own, on what Batiste has."""
    name = f"{__name__}_{module.replace('.', '_')}"
    if name in sys.modules:
        return sys.modules[name]
    folders = _folders()
    *packages, last = module.split(".")[1:]
    places = ["/".join([folder, *packages]) for folder in folders]
    found = PathFinder.find_spec(last, places)
    if found is None or found.origin is None:
        raise AttributeError(f"the released flax has no module {module}")
    spec = importlib.util.spec_from_file_location(name, found.origin)
    assert spec is not None
    assert spec.loader is not None
    private = importlib.util.module_from_spec(spec)
    sys.modules[name] = private
    try:
        spec.loader.exec_module(private)
    except BaseException:
        del sys.modules[name]
        raise
    # Both are to see the same rules in force, and to know the same classes.
    alias = importlib.import_module(module)
    for shared in set(dir(alias)) & set(vars(private)) - LENT[module]:
        setattr(private, shared, getattr(alias, shared))
    return private
