"""What each package imports is what it declares, and comes from public places."""

import ast
import re
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = sorted(p.name for p in (ROOT / "packages").iterdir() if p.is_dir())

# Modules whose distribution is named otherwise.
DISTRIBUTIONS = {
    "msgpack": "msgpack",
    "orbax": "orbax-checkpoint",
    "typing_extensions": "typing-extensions",
}

# Imported inside functions, where present or on request; so not declared.
WHERE_PRESENT = {
    "traverse": {"jax"},
    "serialization": {"jax", "ml_dtypes"},
    "training": {"etils", "torch"},
    "batiste": {"absl", "pytest", "tensorboard"},
}


def _files(package):
    return sorted((ROOT / "packages" / package / "src").rglob("*.py"))


def _late(node):
    """Whether what stands in this node is not run when the module is imported."""
    if isinstance(node, ast.If):
        return "TYPE_CHECKING" in ast.unparse(node.test)
    return isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)


def _imports(path):
    """Yields (module, names, level, line, runs on import) of every import."""
    tree = ast.parse(path.read_text("utf-8"))
    late = {id(n) for top in ast.walk(tree) if _late(top) for n in ast.walk(top)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, [], 0, node.lineno, id(node) not in late
        elif isinstance(node, ast.ImportFrom):
            names = [alias.name for alias in node.names]
            module = node.module or ""
            yield module, names, node.level, node.lineno, id(node) not in late


def _declared(package):
    text = (ROOT / "packages" / package / "pyproject.toml").read_text("utf-8")
    project = tomllib.loads(text)["project"]
    extras = project["optional-dependencies"]
    optional = [r for name, rs in extras.items() if name != "test" for r in rs]

    def names(requirements):
        return {re.split(r"[^A-Za-z0-9._-]", r)[0] for r in requirements}

    return names(project["dependencies"]), names(optional)


@pytest.mark.parametrize("package", PACKAGES)
def test_dependencies_are_exactly_what_is_imported(package):
    declared, optional = _declared(package)
    found = set()
    for path in _files(package):
        for module, names, level, _, _ in _imports(path):
            if level:
                continue
            top = module.partition(".")[0]
            if top == "batiste":
                parts = module.split(".")[1:2] or names
                found |= {f"batiste-{part}" for part in parts}
            elif top not in sys.stdlib_module_names | WHERE_PRESENT.get(package, set()):
                found.add(DISTRIBUTIONS.get(top, top))
    if package == "batiste":
        # The whole: it brings packages that its own few lines need not import.
        others = {f"batiste-{p}" for p in PACKAGES if p != "batiste"}
        assert declared == others | (found - optional)
    else:
        assert found - optional == declared


@pytest.mark.parametrize("package", PACKAGES)
def test_imports_are_relative_inside_and_public_across(package):
    wrong = []
    for path in _files(package):
        for module, names, level, line, _ in _imports(path):
            parts = module.split(".")
            if level or parts[0] not in ("batiste", "jax", "jaxlib"):
                continue
            inside = parts[:2] == ["batiste", package]
            private = any(p.startswith("_") for p in (*parts, *names))
            if inside or private:
                wrong.append(f"{path.relative_to(ROOT)}:{line}: {module} {names}")
    assert not wrong


@pytest.mark.parametrize("package", [p for p in PACKAGES if p != "batiste"])
def test_optional_and_heavy_modules_are_imported_where_used(package):
    late = {
        *("flatbuffers", "jax2onnx", "matplotlib", "optax", "orbax", "rich"),
        *("tensorflow", *WHERE_PRESENT.get(package, ())),
    }
    wrong = [
        f"{path.relative_to(ROOT)}:{line}: {module}"
        for path in _files(package)
        for module, _, level, line, at_top in _imports(path)
        if at_top and not level and module.partition(".")[0] in late
    ]
    assert not wrong


def test_every_package_carries_the_licence():
    for package in PACKAGES:
        text = (ROOT / "packages" / package / "LICENSE").read_text("utf-8")
        assert text == (ROOT / "LICENSE").read_text("utf-8")
