"""The import contract of pyproject.toml fails on an arrow that points up."""

import os
import shutil
import subprocess
import sysconfig
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("traverse", "serialization", "core", "spmd", "linen", "training")


def _check(tree):
    """Runs the contract on a tree of stub packages."""
    shutil.copy(ROOT / "pyproject.toml", tree)
    sources = [str(tree / p / "src") for p in PACKAGES]
    tool = Path(sysconfig.get_path("scripts")) / "lint-imports"
    return subprocess.run(
        [str(tool), "--no-cache"],
        cwd=tree,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sources)},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def tree(tmp_path):
    for package in PACKAGES:
        folder = tmp_path / package / "src" / "batiste" / package
        folder.mkdir(parents=True)
        (folder / "__init__.py").touch()
    return tmp_path


def test_arrows_down_are_kept(tree):
    for importer, imported in (("linen", "spmd"), ("training", "serialization")):
        module = tree / importer / "src" / "batiste" / importer / "uses.py"
        module.write_text(f"import batiste.{imported}\n")
    result = _check(tree)
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize(
    ("importer", "imported"),
    [
        ("traverse", "serialization"),
        ("serialization", "core"),
        ("core", "linen"),
        ("core", "spmd"),
        ("spmd", "linen"),
        ("linen", "training"),
        ("linen", "serialization"),
        ("training", "linen"),
    ],
)
def test_an_arrow_that_points_elsewhere_is_an_error(tree, importer, imported):
    module = tree / importer / "src" / "batiste" / importer / "inner.py"
    # Hidden in a function, where an import is easily overlooked.
    module.write_text(f"def use():\n    from batiste import {imported}\n")
    result = _check(tree)
    assert result.returncode == 1
    assert f"batiste.{importer}.inner -> batiste.{imported}" in result.stdout
