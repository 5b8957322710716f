"""The names that each package offers, and those of others that it uses.

A file in tests/golden/released tells what a released version offers. So it is known,
without an index, whether a package runs with the lowest version of another that it
declares.
"""

import ast
import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from versions import ReleaseError, bounds, declared, distribution

__all__ = ["golden_files", "missing", "names", "record", "recorded", "released", "used"]

Names = dict[str, list[str]]

# What a released version of a package is held to for ever, by package.
GOLDEN = {
    "core": ("tests/golden",),
    "linen": ("tests/golden",),
    "serialization": ("packages/serialization/tests/data",),
}


@dataclass
class _Facts:
    """What of a module's text matters here."""

    offered: set[str]
    # What is imported, under the name that it gets, if it gets one.
    imported: list[tuple[str, str | None]]
    texts: set[str]
    # `a.b.c`, wherever it is read.
    dotted: set[str]


@cache
def _facts(text: str) -> _Facts:
    tree = ast.parse(text)
    facts = _Facts(_offered(tree), [], set(), set())
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            facts.imported += [(a.name, a.asname) for a in node.names]
        elif isinstance(node, ast.ImportFrom) and not node.level:
            facts.imported += [
                (f"{node.module}.{a.name}".removesuffix(".*"), a.asname or a.name)
                for a in node.names
            ]
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            facts.texts.add(node.value)
        elif isinstance(node, ast.Attribute):
            facts.dotted |= _dotted(node)
    return facts


def _dotted(node: ast.expr) -> set[str]:
    names = []
    while isinstance(node, ast.Attribute):
        names.append(node.attr)
        node = node.value
    if not isinstance(node, ast.Name):
        return set()
    return {".".join([node.id, *reversed(names)])}


def _sources(root: Path, package: str) -> Iterator[tuple[str, _Facts]]:
    """Yields the modules of a package, by name."""
    source = root / "packages" / package / "src"
    for path in sorted(source.rglob("*.py")):
        *folders, name = path.relative_to(source).with_suffix("").parts
        parts = folders if name == "__init__" else [*folders, name]
        yield ".".join(parts), _facts(path.read_text("utf-8"))


def names(root: Path, package: str) -> Names:
    """What each public module of a package offers; its submodules are among it."""
    modules = dict(_sources(root, package))
    found: Names = {}
    for module, facts in modules.items():
        if not any(part.startswith("_") for part in module.split(".")):
            below = {
                name.removeprefix(f"{module}.")
                for name in modules
                if name.startswith(f"{module}.")
            }
            below = {name for name in below if "." not in name}
            found[module] = sorted(facts.offered | {n for n in below if n[0] != "_"})
    return found


def _offered(tree: ast.Module) -> set[str]:
    """The names in `__all__`; where that is computed, all that are bound."""
    for node in tree.body:
        target = node.targets[0] if isinstance(node, ast.Assign) else None
        if isinstance(node, ast.AnnAssign):
            target = node.target
        if isinstance(target, ast.Name) and target.id == "__all__":
            assert isinstance(node, ast.Assign | ast.AnnAssign)
            try:
                return set(ast.literal_eval(node.value or ast.List([])))
            except ValueError:
                break
    bound: set[str] = set()
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            bound.add(node.name)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            bound |= {(a.asname or a.name).partition(".")[0] for a in node.names}
        else:
            assigned = (n for n in ast.walk(node) if isinstance(n, ast.Name))
            bound |= {n.id for n in assigned if isinstance(n.ctx, ast.Store)}
    return {name for name in bound if not name.startswith("_")}


def used(root: Path, package: str, of: str) -> set[str]:
    """The dotted names of another package that a package uses.

    They are those in import statements, the attributes that are taken of modules which
    are imported so, and texts that are the name of a module.
    """
    there = names(root, of)
    prefix = f"batiste.{of}"
    found: set[str] = set()
    for _, facts in _sources(root, package):
        found |= facts.texts & there.keys()
        modules: dict[str, str] = {}
        for dotted, name in facts.imported:
            if _is_of(dotted, prefix):
                found.add(dotted)
                if name is not None and dotted in there:
                    modules[name] = dotted
        for dotted in facts.dotted:
            first, _, rest = dotted.partition(".")
            if first in modules and "." not in rest:
                found.add(f"{modules[first]}.{rest}")
            elif _is_of(dotted, prefix) and _has(there, dotted):
                found.add(dotted)
    return found


def _is_of(dotted: str, prefix: str) -> bool:
    return dotted == prefix or dotted.startswith(f"{prefix}.")


def _has(there: Names, dotted: str) -> bool:
    module, _, name = dotted.rpartition(".")
    return dotted in there or name in there.get(module, ())


def _record(root: Path, package: str, version: str) -> Path:
    name = f"{distribution(package)}-{version}.json"
    return root / "tests" / "golden" / "released" / name


def released(root: Path, package: str) -> list[str]:
    """The versions of a package of which there is a record."""
    prefix = f"{distribution(package)}-"
    files = (root / "tests" / "golden" / "released").glob("*.json")
    stems = (path.stem for path in files)
    return sorted(
        stem.removeprefix(prefix)
        for stem in stems
        if re.fullmatch(rf"{prefix}\d+\.\d+\.\d+", stem)
    )


def golden_files(root: Path, package: str) -> dict[str, str]:
    """The files that tell what a package has to draw, compute and read, with sums."""
    return {
        path.relative_to(root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for folder in GOLDEN.get(package, ())
        for path in sorted((root / folder).glob("*.*"))
        if path.suffix in (".json", ".msgpack")
    }


def record(root: Path, package: str, version: str) -> Path:
    """Writes down what a version offers, and what it is held to."""
    path = _record(root, package, version)
    if path.exists():
        raise ReleaseError(f"there is a record of {path.stem} already: it is released.")
    path.parent.mkdir(parents=True, exist_ok=True)
    contents = {"names": names(root, package), "files": golden_files(root, package)}
    path.write_text(json.dumps(contents, indent=1) + "\n", "utf-8")
    return path


def recorded(root: Path, package: str, version: str) -> dict[str, dict]:
    """What `record` wrote."""
    return json.loads(_record(root, package, version).read_text("utf-8"))


def missing(root: Path, package: str, of: str, version: str) -> list[str]:
    """The names that a package uses of another, which a version of that lacks."""
    if version in released(root, of):
        there = recorded(root, of, version)["names"]
    elif version == declared(root, of):
        # It comes next: it has what is here.
        there = names(root, of)
    else:
        raise ReleaseError(
            f"{package} declares {distribution(of)}>={version}, which neither was "
            f"released nor comes next (that is {declared(root, of)})."
        )
    return sorted(name for name in used(root, package, of) if not _has(there, name))


def missing_at_lowest(root: Path, package: str, of: str) -> list[str]:
    """The names that the lowest version which a package declares of another lacks."""
    declared_bounds = bounds(root, package, of)
    assert declared_bounds is not None, f"{package} does not need {of}"
    return missing(root, package, of, declared_bounds[0])
