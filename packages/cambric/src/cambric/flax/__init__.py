"""Run code that was written for flax, with Cambric in the place of flax.

``python -m cambric.flax script.py`` runs a program; :func:`install` does the same
within one, before anything imports flax; ``pytest -p cambric.flax.pytest`` runs a test
suite. Nothing is copied: ``flax.linen.Dense`` is ``cambric.linen.Dense``.

>>> import cambric.flax
>>> cambric.flax.install()
>>> import flax
>>> flax.__version__
'0.12.8'
>>> cambric.flax.uninstall()
"""

from .errors import FlaxImportedError as FlaxImportedError
from .errors import GenerationError as GenerationError
from .errors import NotInCambricError as NotInCambricError
from .installing import install as install
from .installing import installed_generation as installed_generation
from .installing import uninstall as uninstall
