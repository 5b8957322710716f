"""The import hook, and the distribution that `importlib.metadata` finds."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from importlib.abc import Loader
from importlib.machinery import ModuleSpec
from importlib.metadata import Distribution, DistributionFinder
from pathlib import Path
from types import ModuleType
from typing import Any

from .alias import AliasModule, known_names
from .errors import NotInBatisteError, hint
from .names import MODULES, absence
from .released import is_passed_through, nnx_spec

__all__ = ["AliasDistribution", "AliasFinder"]

_EVERYTHING = DistributionFinder.Context()


class AliasFinder(DistributionFinder):
    """Finds `flax` and every module below it in Batiste, and no other module.

    Only `flax.nnx` is the released one's, where that is installed.

    Args:
      version: the version of flax that is answered for.
      on_import: called when `flax` is first imported.

    >>> finder = AliasFinder("0.12.8", lambda: None)
    >>> finder.find_spec("flax.linen").name
    'flax.linen'
    >>> finder.find_spec("jax") is None
    True
    """

    def __init__(self, version: str, on_import: Callable[[], None]):
        self.version = version
        self._loader = _AliasLoader(version, on_import)

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None = None,
        target: ModuleType | None = None,
    ) -> ModuleSpec | None:
        """Finds the alias of a module.

        Returns:
          Its spec, or None for a module that is not of flax.

        Raises:
          NotInBatisteError: it is of flax, and Batiste has no such module. Where
            `importlib.util.find_spec` asks, the answer is None instead.
        """
        if fullname != "flax" and not fullname.startswith("flax."):
            return None
        if is_passed_through(fullname) and (found := nnx_spec(fullname, path)):
            return found
        if fullname in MODULES:
            # All are packages, so that `from flax.struct import nothing` asks here for
            # a module flax.struct.nothing, and gets an answer that helps.
            return ModuleSpec(fullname, self._loader, origin="batiste", is_package=True)
        if _is_probe():
            return None
        raise NotInBatisteError(fullname, _why_missing(fullname))

    def find_distributions(
        self, context: DistributionFinder.Context = _EVERYTHING
    ) -> Iterator[Distribution]:
        """Finds the distribution `flax`, if it is that or all that are asked for."""
        if context.name is None or context.name.lower() == "flax":
            yield AliasDistribution(self.version)


class _AliasLoader(Loader):
    def __init__(self, version: str, on_import: Callable[[], None]):
        self._version = version
        self._on_import = on_import

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return AliasModule(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        if module.__name__ in ("flax", "flax.version"):
            module.__dict__["__version__"] = self._version
        if module.__name__ == "flax":
            self._on_import()


def _is_probe() -> bool:
    """Whether `importlib.util.find_spec` asks, and not an import.

    The protocol of finders does not tell, and only the caller's frame does.
    """
    # This function, the finder, the search along sys.meta_path, who started it.
    frame = sys._getframe(3)  # noqa: SLF001 (there is no public way)
    return frame.f_globals.get("__name__") == "importlib.util"


def _why_missing(fullname: str) -> str:
    reason = absence(fullname)
    if reason is not None:
        return reason
    parent, _, name = fullname.rpartition(".")
    near = hint(name, known_names(parent)) if parent in MODULES else ""
    return f"{parent!r} has neither a module nor an attribute {name!r}.{near}"


class AliasDistribution(Distribution):
    """The metadata of flax, as `importlib.metadata` gives them.

    Args:
      version: the version of flax that is answered for.

    >>> AliasDistribution("0.12.8").version
    '0.12.8'
    """

    def __init__(self, version: str):
        self._version = version

    def read_text(self, filename: str) -> str | None:
        """Returns the text of one of the files of metadata, or None."""
        if filename == "METADATA":
            return (
                f"Metadata-Version: 2.1\nName: flax\nVersion: {self._version}\n"
                "Summary: Batiste, under the name of flax\n"
            )
        return {"top_level.txt": "flax\n", "INSTALLER": "batiste.flax\n"}.get(filename)

    def locate_file(self, path: Any) -> Path:  # pyright: ignore
        """Returns where a file of the distribution would be; there are none."""
        return Path(__file__).parent / path
