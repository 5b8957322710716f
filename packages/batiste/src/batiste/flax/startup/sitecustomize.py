"""Found first by an interpreter that a program under `batiste.flax` starts.

It installs the drop-in, and then runs the sitecustomize that it hides.
"""

import importlib
import importlib.machinery
import importlib.util
import os
import sys

_here = os.path.dirname(os.path.abspath(__file__))


def _install():
    generation = os.environ.get("BATISTE_FLAX_GENERATION")
    if generation is None or sys.version_info < (3, 11):
        return
    try:
        dropin = importlib.import_module("batiste.flax")
    except ImportError:
        return  # the interpreter of an environment that has no Batiste
    try:
        dropin.install(generation)
    except ValueError as error:
        # Python prints what a sitecustomize raises, and goes on: without the drop-in,
        # and so with whatever flax there is.
        sys.stderr.write(f"BATISTE_FLAX_GENERATION: {error}\n")
        sys.stderr.flush()
        os._exit(2)


def _run_hidden():
    sys.path[:] = [p for p in sys.path if os.path.abspath(p) != _here]
    spec = importlib.machinery.PathFinder.find_spec("sitecustomize", sys.path)
    if spec is not None and spec.loader is not None:
        module = importlib.util.module_from_spec(spec)
        sys.modules["sitecustomize"] = module
        spec.loader.exec_module(module)


try:
    _install()
finally:
    _run_hidden()
