"""Run code that was written for flax, with Batiste in the place of flax.

`python -m batiste.flax script.py` runs a program; `install` does the same
within one, before anything imports flax; `pytest -p batiste.flax.pytest` runs a test
suite. Nothing is copied: `flax.linen.Dense` is `batiste.linen.Dense`.

>>> import batiste.flax
>>> batiste.flax.install()
>>> import flax
>>> flax.__version__
'0.12.8'
>>> batiste.flax.uninstall()
"""

from .errors import FlaxImportedError, GenerationError, NotInBatisteError
from .installing import install, installed_generation, uninstall

__all__ = [
    "FlaxImportedError",
    "GenerationError",
    "NotInBatisteError",
    "install",
    "installed_generation",
    "uninstall",
]
