"""Let `flax` mean Batiste in this process, and undo it."""

from __future__ import annotations

import importlib
import sys
import threading

from . import children, generations
from .alias import AliasModule, loaded_aliases, restore_live
from .errors import FlaxImportedError, GenerationError
from .finder import AliasFinder
from .released import has_nnx

__all__ = ["install", "installed_generation", "uninstall"]

_lock = threading.RLock()


class _Installation:
    """What `install` did, for `uninstall` to undo."""

    def __init__(self, generation: str):
        self.generation = generation
        self.flags_before: dict[str, bool] | None = None
        version = generations.VERSIONS[generation]
        self.finder = AliasFinder(version, self.apply_flags)

    def apply_flags(self) -> None:
        if self.flags_before is None:
            self.flags_before = generations.apply_flags(self.generation)
            if has_nnx():
                importlib.import_module("batiste.flax.nnx_flags")


_installation: _Installation | None = None


def install(generation: str = generations.DEFAULT) -> None:
    """Lets `import flax` and all below it find Batiste.

    It neither needs the released flax nor touches it. It holds in this process and in
    those that it starts, until `uninstall`. A second call with the same
    generation changes nothing.

    The defaults of the generation are flags of `batiste.core.config`. They are set
    when flax is first imported, or at once if the flags exist already; a flag that an
    environment variable sets (as `FLAX_RETURN_FROZENDICT=1`) stays as it is.

    Args:
      generation: whose defaults to set. `"0.12"`: those that code for the newest flax
        expects, as plain dicts from `init` and checkpoints by Orbax. `"0.6"`: those
        of the documentation of flax 0.6.9, which are Batiste's own.

    Raises:
      FlaxImportedError: the released flax was imported already.
      GenerationError: there is no such generation, or another one is installed.

    >>> install("0.6")
    >>> import flax.linen, batiste.linen
    >>> flax.linen.Dense is batiste.linen.Dense, flax.__version__
    (True, '0.6.9')
    >>> uninstall()
    """
    global _installation
    generations.check(generation)
    with _lock:
        if _installation is not None:
            if _installation.generation != generation:
                raise GenerationError(
                    f"Batiste is installed as flax with the defaults of generation "
                    f"{_installation.generation!r}, and cannot have those of "
                    f"{generation!r} as well. Call batiste.flax.uninstall() first."
                )
            return
        _refuse_released_flax()
        _installation = _Installation(generation)
        sys.meta_path.insert(0, _installation.finder)
        if generations.flags_exist():
            _installation.apply_flags()
        children.prepare(generation)


def uninstall() -> None:
    """Undoes `install`: flags, environment, and the meaning of `flax`.

    What was imported from the alias goes on working, since it is Batiste's. Without an
    installation it does nothing.

    >>> uninstall()
    """
    global _installation
    with _lock:
        if _installation is None:
            return
        if _installation.finder in sys.meta_path:
            sys.meta_path.remove(_installation.finder)
        restore_live()
        for name in loaded_aliases():
            del sys.modules[name]
        if _installation.flags_before:
            generations.restore_flags(_installation.flags_before)
        children.forget()
        _installation = None


def installed_generation() -> str | None:
    """Returns the generation that is installed, or None.

    >>> installed_generation() is None
    True
    """
    return None if _installation is None else _installation.generation


def _refuse_released_flax() -> None:
    loaded = {
        name: module
        for name, module in list(sys.modules.items())
        if (name == "flax" or name.startswith("flax."))
        and module is not None
        and not isinstance(module, AliasModule)
    }
    if loaded:
        location = getattr(loaded.get("flax"), "__file__", None)
        raise FlaxImportedError(loaded, location)
