"""What packages offer and use of each other, in this repository and in a small one."""

import importlib
import json

import pytest
from public_names import (
    golden_files,
    missing,
    missing_at_lowest,
    names,
    record,
    recorded,
    released,
    used,
)
from versions import ReleaseError, bounds, declared, same_series
from workspace import PACKAGES, ROOT

PAIRS = [(p, of) for p in PACKAGES for of in PACKAGES if bounds(ROOT, p, of)]


@pytest.mark.parametrize(("package", "of"), PAIRS)
def test_a_package_uses_only_what_its_lowest_bounds_have(package, of):
    assert used(ROOT, package, of)
    assert not missing_at_lowest(ROOT, package, of), f"raise {package}'s bound of {of}"


RELEASED = [(p, version) for p in PACKAGES for version in released(ROOT, p)]


@pytest.mark.parametrize(("package", "version"), RELEASED)
def test_what_was_released_is_there_within_its_series(package, version):
    if not same_series(version, declared(ROOT, package)):
        pytest.skip("a later series may do without what was deprecated")
    now = names(ROOT, package)
    for module, offered in recorded(ROOT, package, version)["names"].items():
        assert not set(offered) - set(now.get(module, ())), module


@pytest.mark.parametrize(("package", "version"), RELEASED)
def test_golden_files_hold_for_ever(package, version):
    files = recorded(ROOT, package, version)["files"]
    now = golden_files(ROOT, package)
    changed = {name for name, total in files.items() if now.get(name) != total}
    assert not changed, f"{package} {version} is held to these: add files instead"


@pytest.mark.parametrize("package", ["core", "linen", "serialization"])
def test_there_are_golden_files(package):
    assert golden_files(ROOT, package)


@pytest.mark.parametrize("package", [p for p in PACKAGES if p != "batiste"])
def test_public_names_are_those_that_modules_have(package):
    offered = names(ROOT, package)
    for module in (m for m in offered if "__main__" not in m):
        found = importlib.import_module(module)
        assert {n for n in offered[module] if f"{module}.{n}" not in offered} <= {
            *dir(found),
            *getattr(found, "__all__", ()),
        }, module


@pytest.fixture
def root(tmp_path):
    files = {
        "core/src/batiste/core/__init__.py": "from .scope import Scope\n"
        '__all__ = ["Scope", "freeze"]\ndef freeze(): pass\n',
        "core/src/batiste/core/scope.py": '__all__ = ["Scope"]\nclass Scope: pass\n',
        "core/src/batiste/core/flags.py": "import os\n__all__ = [*vars(os)]\n"
        "depth = 1\n_hidden = 2\ndef read(): pass\n",
        "core/src/batiste/core/_private.py": "x = 1\n",
        "linen/src/batiste/linen/__init__.py": "from batiste.core import Scope, scope\n"
        "import batiste.core.flags as f\n"
        "def use():\n    from batiste.core import freeze\n"
        "    return scope.Scope, f.read, freeze\n",
        "linen/src/batiste/linen/late.py": "import importlib\n"
        'core = importlib.import_module("batiste.core.flags")\n',
    }
    for name, text in files.items():
        path = tmp_path / "packages" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (tmp_path / "packages/core/pyproject.toml").write_text('version = "0.1.0"\n')
    (tmp_path / "packages/linen/pyproject.toml").write_text(
        'version = "0.1.0"\nneeds = ["batiste-core>=0.1.0,<0.2"]\n'
    )
    return tmp_path


def test_names_are_those_in_all_and_the_submodules(root):
    assert names(root, "core") == {
        "batiste.core": ["Scope", "flags", "freeze", "scope"],
        "batiste.core.scope": ["Scope"],
        # What it has is computed, so all that it binds counts.
        "batiste.core.flags": ["depth", "os", "read"],
    }


def test_names_that_are_used_are_found_wherever_they_are(root):
    assert used(root, "linen", "core") == {
        "batiste.core.Scope",
        "batiste.core.scope",
        "batiste.core.scope.Scope",
        "batiste.core.flags",
        "batiste.core.flags.read",
        "batiste.core.freeze",
    }
    assert used(root, "core", "linen") == set()


def test_before_the_first_release_the_next_version_has_what_is_here(root):
    assert missing_at_lowest(root, "linen", "core") == []


@pytest.mark.parametrize(
    ("file", "line", "lacks"),
    [
        ("core/src/batiste/core/scope.py", "Scope", "batiste.core.scope.Scope"),
        ("core/src/batiste/core/__init__.py", "freeze", "batiste.core.freeze"),
        ("core/src/batiste/core/flags.py", "read", "batiste.core.flags.read"),
    ],
)
def test_a_name_that_came_after_the_lowest_version_is_found(root, file, line, lacks):
    path = root / "packages" / file
    text = path.read_text()
    path.write_text(text.replace(line, "other"))
    record(root, "core", "0.1.0")
    path.write_text(text)
    assert missing_at_lowest(root, "linen", "core") == [lacks]


def test_a_version_that_there_is_not_is_an_error(root):
    with pytest.raises(ReleaseError, match=r"linen declares batiste-core>=0\.0\.9"):
        missing(root, "linen", "core", "0.0.9")


def test_a_version_is_recorded_once(root):
    data = root / "tests/golden"
    data.mkdir(parents=True)
    (data / "keys.msgpack").write_bytes(b"1")
    (data / "record.py").write_text("")
    path = record(root, "core", "0.1.0")
    assert path.name == "batiste-core-0.1.0.json"
    assert released(root, "core") == ["0.1.0"]
    assert released(root, "linen") == []
    contents = json.loads(path.read_text())
    assert contents["names"] == names(root, "core")
    assert list(contents["files"]) == ["tests/golden/keys.msgpack"]
    (data / "keys.msgpack").write_bytes(b"2")
    assert golden_files(root, "core") != contents["files"]
    with pytest.raises(ReleaseError, match=r"batiste-core-0\.1\.0 already"):
        record(root, "core", "0.1.0")
