"""The runner in the root `conftest.py` runs and reports each example in the texts."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

SOURCE = '''
"""Doubles.

>>> double(2)
4
"""

def double(x):
    """Doubles.

    >>> double(3)
    7
    """
    return 2 * x

class Doubler:
    """Has no example."""

    def __call__(self, x):
        """Doubles.

        >>> Doubler()(1)
        2
        """
        return double(x)
'''
README = """
```python
import dataclasses
from batiste.made_up import inner
twice = inner.double(2)
```
```python notest
raise SystemExit
```
```python
from pathlib import Path
Path("file").write_text("written")
assert twice == %d
```
"""


@pytest.fixture
def run(tmp_path):
    """Runs pytest on a made-up package that is laid out as ours are."""
    shutil.copy(ROOT / "conftest.py", tmp_path)
    (tmp_path / "pytest.ini").write_text("[pytest]\naddopts=--import-mode=importlib\n")
    source = tmp_path / "packages" / "made_up" / "src" / "batiste" / "made_up"
    (source / "data").mkdir(parents=True)
    (source / "__init__.py").touch()
    (source / "inner.py").write_text(SOURCE)
    # Scripts beside the modules are no part of the package.
    (source / "data" / "script.py").write_text("raise SystemExit\n")
    (source.parents[2] / "README.md").write_text(README % 4)
    elsewhere = tmp_path / "installed"
    shutil.copytree(source.parent, elsewhere / "batiste")

    def run(*paths):
        (elsewhere / "batiste" / "made_up" / "inner.py").write_text(
            (source / "inner.py").read_text()
        )
        result = subprocess.run(
            [sys.executable, "-m", "pytest", "-v", *paths],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(elsewhere)},
            capture_output=True,
            text=True,
            check=False,
        )
        return result.stdout + result.stderr

    return run


def test_each_docstring_is_a_test_and_a_wrong_one_fails(run, tmp_path):
    printed = run("packages/made_up")
    assert "inner.py::batiste::made_up::inner PASSED" in printed
    assert "inner.py::Doubler::__call__ PASSED" in printed
    assert "inner.py::double FAILED" in printed
    assert "README.md::examples PASSED" in printed
    assert "1 failed, 3 passed" in printed
    assert "Expected:\n    7\nGot:\n    6" in printed
    # README's blocks ran in a folder that is gone.
    assert not list(tmp_path.rglob("file"))


def test_a_source_file_can_be_run_alone(run, tmp_path):
    source = tmp_path / "packages/made_up/src/batiste/made_up/inner.py"
    # Not as a second copy, which would be called `made_up.inner`.
    only = "if __name__ != 'batiste.made_up.inner': raise SystemExit(__name__)\n"
    source.write_text(SOURCE.replace("7", "6") + only)
    assert "3 passed" in run(str(source))


def test_a_readme_without_examples_or_with_a_wrong_one_fails(run, tmp_path):
    readme = tmp_path / "packages" / "made_up" / "README.md"
    readme.write_text("Made up.\n")
    assert "shows no example" in run("packages/made_up/README.md")
    readme.write_text(README % 5)
    printed = run("packages/made_up/README.md")
    assert "1 failed" in printed
    assert "README.md:13: AssertionError" in printed
