"""Fails where an environment holds what the package under test did not declare.

Usage: check_isolation.py PACKAGE MODULE... where no MODULE may be importable.
"""

import importlib.util
import sys
import sysconfig
from pathlib import Path


def _importable(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        return False


def main(package: str, *absent: str) -> int:
    name = "batiste.struct" if package == "batiste" else f"batiste.{package}"
    spec = importlib.util.find_spec(name)
    if spec is None or spec.origin is None:
        print(f"{name} is not importable, or has no __init__.py")
        return 1
    if not Path(spec.origin).is_relative_to(sysconfig.get_path("purelib")):
        print(f"{name} is not the installed one: it comes from {spec.origin}")
        return 1
    found = [module for module in absent if _importable(module)]
    if found:
        print(f"{name} does not declare {', '.join(found)}, yet they are importable")
        return 1
    print(f"{name} is installed; not importable, as it should be: {', '.join(absent)}")
    return 0


if __name__ == "__main__":
    # The script's own folder must not answer for a missing module.
    del sys.path[0]
    sys.exit(main(*sys.argv[1:]))
