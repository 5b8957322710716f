"""What can go wrong when Batiste answers to the name `flax`.

All are ImportErrors, and none of them needs JAX: the drop-in is installed before a
program has imported anything.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

__all__ = ["FlaxImportedError", "GenerationError", "NotInBatisteError", "hint"]


def hint(name: str, known: Iterable[str]) -> str:
    """Says which names are nearest to one that does not exist.

    Args:
      name: the name that was asked for, without dots.
      known: the names that there are.

    Returns:
      A sentence with a space before it, or an empty string.

    >>> hint("Densee", ["Conv", "Dense", "DenseGeneral"])
    " The nearest names are 'Dense', 'DenseGeneral'."
    >>> hint("quux", ["Conv"])
    ''
    """
    by_case = {other.lower(): other for other in known}
    found = difflib.get_close_matches(name.lower(), by_case)
    near = [repr(by_case[other]) for other in found]
    if not near:
        return ""
    few = "The nearest name is" if len(near) == 1 else "The nearest names are"
    return f" {few} {', '.join(near)}."


class FlaxImportedError(ImportError):
    """Flax itself was imported before Batiste took its name.

    Args:
      modules: the names of modules of flax that are loaded.
      location: the file of `flax`, where known.

    >>> print(FlaxImportedError(["flax", "flax.core"], "lib/flax/__init__.py"))
    Cannot install Batiste under the name flax: the released flax is imported already
    (flax, flax.core, from lib/flax/__init__.py), and the two would be mixed. Call
    batiste.flax.install() before anything imports flax, or start the program with
    "python -m batiste.flax".
    """

    def __init__(self, modules: Iterable[str], location: str | None = None):
        self.modules = sorted(modules)
        few = ", ".join(self.modules[:5])
        if len(self.modules) > 5:
            few += f" and {len(self.modules) - 5} more"
        origin = f", from {location}" if location else ""
        super().__init__(
            "Cannot install Batiste under the name flax: the released flax is imported "
            f"already ({few}{origin}), and the two would be mixed. Call "
            "batiste.flax.install() before anything imports flax, or start the program "
            'with "python -m batiste.flax".',
            name="flax",
            path=location,
        )


class GenerationError(ImportError, ValueError):
    """A generation of defaults does not exist, or another one is in force.

    Args:
      message: the whole text.

    >>> raise GenerationError("There is no generation '0.7'.")
    Traceback (most recent call last):
        ...
    batiste.flax.errors.GenerationError: There is no generation '0.7'.
    """


class NotInBatisteError(ModuleNotFoundError):
    """Something of flax was imported that Batiste does not have.

    Its attribute `name` is None, unlike that of other ModuleNotFoundErrors: with the
    name of the module there, `from flax import nnx` would replace the message.

    Args:
      module: the whole name, as `flax.nnx`.
      reason: why it is missing, and what to do.

    >>> print(NotInBatisteError("flax.nnx", "NNX is not part of this system."))
    No module named 'flax.nnx' in Batiste, which is installed as flax: NNX is not part
    of this system.
    """

    def __init__(self, module: str, reason: str):
        self.module = module
        super().__init__(
            f"No module named {module!r} in Batiste, which is installed as flax: "
            f"{reason}"
        )
