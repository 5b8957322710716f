"""Each source file has its test file: `src/.../x/y.py` has `tests/x/test_y.py`."""

from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import pytest

ROOT = Path(__file__).parents[1]

# Source files whose tests are elsewhere for good, and why. By package, then by source.
ELSEWHERE = {
    "batiste": {
        # One `from ... import *` each: what they offer is compared in one table.
        "config.py": "test_facade.py",
        "errors.py": "test_facade.py",
        "jax_utils.py": "test_facade.py",
        "struct.py": "test_facade.py",
        "traceback_util.py": "test_facade.py",
        "traverse_util.py": "test_facade.py",
        # Two names each, which only mean something under the name of flax.
        "flax/configurations.py": "flax/test_names.py",
        "flax/errors.py": "flax/test_names.py",
        "flax/linen_module.py": "flax/test_names.py",
        # Run by Python itself when a child process starts.
        "flax/startup/sitecustomize.py": "flax/test_children.py",
    },
    # Names for annotations; the type checker is their test.
    "core": {"types.py": None},
    "serialization": {"types.py": None},
    "linen": {"types.py": None},
}

PACKAGES = sorted(p.parent.name for p in ROOT.glob("packages/*/pyproject.toml"))


def _mirror(source: str) -> str:
    path = PurePosixPath(source)
    return str(path.with_name(f"test_{path.name}"))


def _sources(package: str) -> Iterator[str]:
    root = ROOT / "packages" / package / "src" / "batiste"
    root = root if package == "batiste" else root / package
    for path in sorted(root.rglob("*.py")):
        if path.name not in ("__init__.py", "__main__.py"):
            yield path.relative_to(root).as_posix()


def _untested(sources: list[str], tests: Path) -> set[str]:
    """Returns the sources that have no test file where their mirror image belongs."""
    return {source for source in sources if not (tests / _mirror(source)).is_file()}


@pytest.mark.parametrize("package", PACKAGES)
def test_each_source_file_has_its_test_file(package):
    sources = list(_sources(package))
    assert sources
    untested = _untested(sources, ROOT / "packages" / package / "tests")
    excepted = ELSEWHERE.get(package, {}).keys()
    assert not untested - excepted, "write the test file of these"
    assert not excepted - untested, "these have one, or are gone: strike them out"


@pytest.mark.parametrize("package", ELSEWHERE)
def test_what_is_tested_elsewhere_is_tested_there(package):
    tests = ROOT / "packages" / package / "tests"
    files = {file for file in ELSEWHERE[package].values() if file is not None}
    assert not {file for file in files if not (tests / file).is_file()}


def test_a_missing_mirror_image_is_found(tmp_path):
    (tmp_path / "scope").mkdir()
    (tmp_path / "scope" / "test_keys.py").touch()
    # A test of the right name in another folder is no mirror image.
    (tmp_path / "test_filters.py").touch()
    sources = ["scope/keys.py", "scope/filters.py"]
    assert _untested(sources, tmp_path) == {"scope/filters.py"}
