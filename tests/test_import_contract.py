"""The import contract of pyproject.toml fails on an arrow that points up."""

import os
import shutil
import subprocess
import sysconfig
import tomllib
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


def _modules():
    """Yields the names of all modules that the contracts name."""
    text = (ROOT / "pyproject.toml").read_text("utf-8")
    for contract in tomllib.loads(text)["tool"]["importlinter"]["contracts"]:
        for container in contract.get("containers", []):
            for layer in contract["layers"]:
                for name in layer.replace("|", ":").split(":"):
                    yield f"{container}.{name.strip()}"
        yield from contract.get("source_modules", [])
        yield from contract.get("forbidden_modules", [])


def _file(tree, module):
    """Returns the file of a module in the tree, where all are packages."""
    namespace, package, *_ = module.split(".")
    assert namespace == "batiste"
    return tree.joinpath(package, "src", *module.split("."), "__init__.py")


@pytest.fixture
def tree(tmp_path):
    for module in _modules():
        file = _file(tmp_path, module)
        for folder in (file.parent, *file.parent.parents):
            if folder.name == "batiste":
                break
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "__init__.py").touch()
    return tmp_path


def test_arrows_down_are_kept(tree):
    for importer, imported in (
        ("linen.linear.dense", "spmd"),
        ("training.checkpoints", "serialization"),
        ("linen.recurrent", "linen.linear"),
        ("linen.module.module", "linen.module.state"),
    ):
        module = _file(tree, f"batiste.{importer}")
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
    # Hidden in a function, where an import is easily overlooked.
    text = f"def use():\n    from batiste import {imported}\n"
    _file(tree, f"batiste.{importer}.errors").write_text(text)
    result = _check(tree)
    assert result.returncode == 1
    assert f"batiste.{importer}.errors -> batiste.{imported}" in result.stdout


@pytest.mark.parametrize(
    ("importer", "imported"),
    [
        ("traverse.containers", "traverse.traversal"),
        ("serialization.dtypes", "serialization.decode"),
        ("core.scope", "core.lift"),
        ("core.nn", "core.lift"),
        ("spmd.plan_table", "spmd.planning"),
        ("linen.linear", "linen.attention"),
        ("linen.recurrent", "linen.attention"),
        ("linen.module.methods", "linen.module.module"),
        ("linen.linear.dense", "linen.linear.conv"),
        ("training.io", "training.checkpoints"),
    ],
)
def test_an_arrow_up_or_sideways_inside_a_package_is_an_error(tree, importer, imported):
    text = f"def use():\n    import batiste.{imported}\n"
    _file(tree, f"batiste.{importer}").write_text(text)
    result = _check(tree)
    assert result.returncode == 1
    assert f"batiste.{importer} -> batiste.{imported}" in result.stdout


def test_a_room_without_a_floor_is_an_error(tree):
    _file(tree, "batiste.linen").with_name("attic.py").touch()
    result = _check(tree)
    assert result.returncode == 1
    assert "attic" in result.stdout
