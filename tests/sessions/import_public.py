"""Imports every public module of one installed package: import_public.py PACKAGE."""

import importlib
import importlib.util
import pkgutil
import sys

# Only what they are written for imports these; it need not be installed.
PLUGINS = {"batiste.flax.pytest": "pytest"}


def public_modules(package: str) -> list[str]:
    """The names of a package's modules that no leading underscore hides."""
    if package != "batiste":
        names = [f"batiste.{package}"]
    else:
        # The facade is the modules that lie directly in the namespace.
        import batiste

        names = [
            f"batiste.{m.name}"
            for m in pkgutil.iter_modules(batiste.__path__)
            if not m.name.startswith("_")
        ]
    found = list(names)
    for name in names:
        module = importlib.import_module(name)
        below = pkgutil.walk_packages(getattr(module, "__path__", []), f"{name}.")
        found += (info.name for info in below if "._" not in info.name)
    return found


def main(package: str) -> int:
    names = [
        name
        for name in public_modules(package)
        if name not in PLUGINS or importlib.util.find_spec(PLUGINS[name])
    ]
    for name in names:
        module = importlib.import_module(name)
        for public in getattr(module, "__all__", []):
            getattr(module, public)
    heavy = {"matplotlib", "optax", "orbax", "rich"} & set(sys.modules)
    if heavy:
        print(f"importing {package} imported {sorted(heavy)}, to be imported on use")
        return 1
    print(f"{package}: {len(names)} public modules imported")
    return 0 if names else 1


if __name__ == "__main__":
    del sys.path[0]
    sys.exit(main(*sys.argv[1:]))
