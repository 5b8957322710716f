"""What the packages of this repository declare, and so what they need."""

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]

# From the bottom up, so that the first failure names the package at fault.
PACKAGES = ("traverse", "serialization", "core", "spmd", "linen", "training", "batiste")


def project(package: str) -> dict:
    """The `[project]` table of one package's pyproject.toml."""
    text = (ROOT / "packages" / package / "pyproject.toml").read_text("utf-8")
    return tomllib.loads(text)["project"]


def _requirement_name(requirement: str) -> str:
    match = re.match(r"[A-Za-z0-9._-]+", requirement)
    assert match is not None, requirement
    return match.group()


def requirements(package: str, extras: tuple[str, ...] = ()) -> list[str]:
    """The declared requirements of one package, with those of the named extras."""
    declared = project(package)
    optional = declared.get("optional-dependencies", {})
    return [*declared["dependencies"], *(r for e in extras for r in optional[e])]


def local(requirement: str) -> str | None:
    """The package of this repository that a requirement names, or None."""
    name = _requirement_name(requirement)
    if name == "batiste":
        return name
    folder = name.removeprefix("batiste-")
    return folder if folder != name and folder in PACKAGES else None


def closure(*chosen: str, extras: bool = False) -> list[str]:
    """The chosen packages and the local ones that they declare, from the bottom up.

    With `extras`, also those that the extras of the chosen ones name.
    """
    found: set[str] = set()
    queue = list(chosen)
    for package in chosen if extras else ():
        named = tuple(project(package).get("optional-dependencies", {}))
        queue += [p for p in map(local, requirements(package, named)) if p]
    while queue:
        package = queue.pop()
        if package not in found:
            found.add(package)
            queue += [p for p in map(local, requirements(package)) if p]
    return [p for p in PACKAGES if p in found]


def third_party(names: list[str] | tuple[str, ...], extras: bool = False) -> list[str]:
    """What the packages need beside each other; with `extras`, also for those."""
    found = set()
    for package in names:
        optional = project(package).get("optional-dependencies", {})
        wanted = tuple(e for e in optional if e != "test") if extras else ()
        found |= {r for r in requirements(package, wanted) if not local(r)}
    return sorted(found)


def lowest_pins(requirements: list[str]) -> list[str]:
    """Turns lower bounds into pins: 'jax>=0.7.0' becomes 'jax==0.7.0'."""
    return [
        re.sub(r">=\s*([^,;\s]+)(,[^;]*)?", r"==\1", r, count=1) for r in requirements
    ]
