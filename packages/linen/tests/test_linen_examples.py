"""Runs every example that cambric-linen's docstrings and README show."""

import doctest
import importlib
import pkgutil
import re
from pathlib import Path

import pytest

import cambric.linen as package

README = Path(__file__).parents[1] / "README.md"


def _modules() -> list[str]:
    found = pkgutil.walk_packages(package.__path__, f"{package.__name__}.")
    return [package.__name__, *(m.name for m in found)]


@pytest.mark.parametrize("name", _modules())
def test_docstring_examples(name):
    module = importlib.import_module(name)
    # An empty namespace, since that is what a reader who copies the example has.
    result = doctest.testmod(
        module,
        globs={},
        optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE,
    )
    assert result.failed == 0


def test_readme_examples(tmp_path, monkeypatch):
    blocks = re.findall(
        r"^```python\n(.*?)^```", README.read_text("utf-8"), re.M | re.S
    )
    assert blocks, "the README shows no example"
    monkeypatch.chdir(tmp_path)
    namespace = {"__name__": "readme"}
    for block in blocks:
        exec(compile(block, str(README), "exec"), namespace)
