"""Runs every example that batiste-training's docstrings and README show."""

import doctest
import importlib
import pkgutil
import re
from pathlib import Path

import pytest

import batiste.training as package

README = Path(__file__).parents[1] / "README.md"


def _modules() -> list[str]:
    found = pkgutil.walk_packages(package.__path__, f"{package.__name__}.")
    return [package.__name__, *(m.name for m in found)]


@pytest.mark.parametrize("name", _modules())
def test_docstring_examples(name):
    module = importlib.import_module(name)
    flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    assert doctest.testmod(module, optionflags=flags).failed == 0


def test_readme_examples(tmp_path, monkeypatch):
    text = README.read_text("utf-8")
    blocks = list(re.finditer(r"^```python\n(.*?)^```", text, re.M | re.S))
    assert blocks, "the README shows no example"
    monkeypatch.chdir(tmp_path)
    namespace = {"__name__": "readme"}
    for block in blocks:
        # The empty lines make the traceback's line numbers those of the file.
        before = "\n" * text.count("\n", 0, block.start(1))
        exec(compile(before + block[1], str(README), "exec"), namespace)
