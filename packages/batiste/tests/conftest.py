"""Fixtures of the drop-in's tests."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import batiste.flax


@pytest.fixture
def flax():
    """Batiste under the name of flax, for one test."""
    batiste.flax.install()
    import flax  # pyright: ignore[reportMissingImports]

    yield flax
    batiste.flax.uninstall()


@pytest.fixture
def run(tmp_path):
    """Runs Python in a folder of its own, and returns what it printed."""

    def run(*arguments, code=0, env=None, python=sys.executable):
        environment = {
            **{k: v for k, v in os.environ.items() if not k.startswith("FLAX_")},
            "JAX_PLATFORMS": "cpu",
            # Plugins that happen to be installed may import flax, and take long.
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
            **(env or {}),
        }
        if env and "PYTHONPATH" in env and "PYTHONPATH" in os.environ:
            # Batiste itself may be found by it.
            both = (env["PYTHONPATH"], os.environ["PYTHONPATH"])
            environment["PYTHONPATH"] = os.pathsep.join(both)
        result = subprocess.run(
            [python, *map(str, arguments)],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert result.returncode == code, result.stdout + result.stderr
        return result.stdout if code == 0 else result.stderr

    return run


@pytest.fixture
def released_flax(tmp_path):
    """A folder with a package and a distribution named flax; its path, to import it.

    It stands for the released one, which is not to be needed by the tests.
    """
    folder = tmp_path / "site"
    package = folder / "flax"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("__version__ = '9.9.9'\nfrom . import core\n")
    (package / "core.py").write_text("released = True\n")
    metadata = folder / "flax-9.9.9.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: flax\nVersion: 9.9.9\n"
    )
    return folder


@pytest.fixture
def write(tmp_path):
    """Writes a file into the folder that `run` runs in."""

    def write(name, text):
        path = Path(tmp_path, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
        return path

    return write
