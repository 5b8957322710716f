"""Start, followed as a new user does: what the pages show is pasted, and nothing else.

The code is taken from the built pages, as a browser shows it; it runs in an empty
folder, in an environment that is made by the page's own commands, and prints what the
page says that it prints. This needs the index that pip takes packages from.
"""

from __future__ import annotations

import doctest
import json
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NOT_TRACKED = shutil.ignore_patterns(
    *("__pycache__", "build", "dist", "*.egg-info", ".venv", ".pytest_cache")
)
# What would lead out of the environment that the pages make.
INHERITED = ("VIRTUAL_ENV", "PYTHONPATH", "PYTHONHOME", "PIP_TARGET", "PIP_USER")
COLOURS = re.compile(r"\x1b\[[0-9;]*m")  # the page has them as a style
CHECK = doctest.OutputChecker()
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE

# Each piece of code of a page: its kind, the heading above, the code, what it prints.
BLOCKS = """() => [...document.querySelectorAll(
    'article div.cell, article div[class*="highlight-"]')]
  .filter((e) => e.matches('.cell') || !e.closest('.cell'))
  .map((e) => ({
    kind: e.matches('.cell') ? 'cell' : e.className.match(/highlight-(\\w+)/)[1],
    heading: e.closest('section').querySelector('h1, h2').firstChild.textContent,
    code: e.querySelector('pre').textContent,
    prints: [...e.querySelectorAll(
        '.cell_output .stream pre, .cell_output .text_plain pre')]
      .filter((p) => !p.closest('.stderr'))
      .map((p) => p.textContent).join(''),
    tree: [...e.querySelectorAll('.cell_output .text_html')]
      .map((p) => p.innerHTML.replace(/<[^>]*>/g, ' ')).join(''),
  }))"""

# Runs the cells of a page as a notebook does: the last expression's value is shown.
NOTEBOOK = """
import ast, json, sys
cells, namespace = json.load(open(sys.argv[1])), {"__name__": "__main__"}
for cell in cells:
    print("\\n\\0", end="")
    *before, last = ast.parse(cell).body
    last_is_shown = isinstance(last, ast.Expr) and not cell.rstrip().endswith(";")
    for node in before if last_is_shown else [*before, last]:
        exec(compile(ast.Module([node], []), "page", "exec"), namespace)
    if last_is_shown:
        value = eval(compile(ast.Expression(last.value), "page", "eval"), namespace)
        if value is not None:
            print(repr(value))
"""


@dataclass
class Block:
    """A piece of code on a page."""

    kind: str
    heading: str
    code: str
    prints: str
    tree: str  # what is shown in place of a text


@pytest.fixture(scope="module")
def blocks(browser, address):
    """Returns a function from a page's name to what one can copy from it."""
    page = browser.new_page(base_url=address)
    yield lambda name: [
        Block(**found)
        for found in page.goto(f"start/{name}.html") and page.evaluate(BLOCKS)
    ]
    page.close()


def _checkout(folder: Path) -> Path:
    folder.mkdir()
    shutil.copytree(ROOT / "packages", folder / "packages", ignore=NOT_TRACKED)
    return folder


def _paste(folder: Path, *lines: str) -> str:
    """Returns what commands print, which are typed one after the other."""
    environment = {k: v for k, v in os.environ.items() if k not in INHERITED}
    done = subprocess.run(
        ["bash", "-e", "-u", "-c", "\n".join(lines)],
        cwd=folder,
        env={**environment, "MPLBACKEND": "agg", "PIP_REQUIRE_VIRTUALENV": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return done.stdout


def _assert_prints(printed: str, expected: str) -> None:
    assert CHECK.check_output(expected, printed, FLAGS), f"{printed}\nnot\n{expected}"


@pytest.fixture(scope="module")
def installed(blocks, tmp_path_factory) -> tuple[Path, str]:
    """Does what is said under Everything, and says what its last command printed."""
    folder = _checkout(tmp_path_factory.mktemp("everything") / "batiste")
    first = next(b for b in blocks("install") if b.kind == "sh")
    return folder, _paste(folder, first.code)


def test_everything_is_installed_by_one_command(blocks, installed):
    _, printed = installed
    expected = next(b for b in blocks("install") if b.kind == "text").code
    _assert_prints(printed[printed.index("Dense(") :], expected)


ACTIVATE = ". .venv/bin/activate"


def test_commands_within_sentences_and_tables_work(installed):
    folder, _ = installed
    text = (ROOT / "docs" / "start" / "install.md").read_text("utf-8")
    commands = re.findall(r"`((?:python|pip) [^`\n]+)`", text)
    assert "python -m batiste" in commands
    assert "pip install scikit-learn matplotlib" in commands
    for command in commands:
        _paste(folder, ACTIVATE, command)


@pytest.fixture(scope="module")
def with_extras(installed) -> Path:
    """Installs what the table of other packages has for the examples."""
    folder, _ = installed
    _paste(folder, ACTIVATE, "pip install scikit-learn matplotlib")
    return folder


@pytest.mark.parametrize("name", ["quickstart", "jax"])
def test_the_code_of_a_page_prints_what_the_page_shows(name, blocks, with_extras):
    cells = [block for block in blocks(name) if block.kind == "cell"]
    assert len(cells) > 5
    assert any(cell.prints for cell in cells)
    assert {block.kind for block in blocks(name)} == {"cell"}
    (with_extras / "notebook.py").write_text(NOTEBOOK)
    (with_extras / "cells.json").write_text(json.dumps([c.code for c in cells]))
    printed = _paste(with_extras, ACTIVATE, "python notebook.py cells.json")
    results = COLOURS.sub("", printed).split("\n\0")[1:]
    assert len(results) == len(cells)
    for cell, result in zip(cells, results):
        if not cell.prints and re.search(r"^(axis|figure|plt)\b", cell.code, re.M):
            continue  # pictures have no text
        if cell.tree:
            assert re.findall(r"\w+", result) == re.findall(r"\w+", cell.tree)
        else:
            _assert_prints(result, cell.prints)


PIECES = ["traverse", "serialization", "core", "spmd", "linen", "training"]


def test_there_is_a_tab_for_each_piece(blocks):
    pieces = [b for b in blocks("install") if b.heading == "One piece"]
    text = "\n".join(block.code for block in pieces)
    assert len(pieces) == len(PIECES)
    assert all(f"/{piece}" in text for piece in PIECES)


@pytest.mark.parametrize("piece", PIECES)
def test_one_piece_is_installed_alone(piece, blocks, tmp_path):
    pieces = [b for b in blocks("install") if b.heading == "One piece"]
    folder = _checkout(tmp_path / "batiste")
    code = pieces[PIECES.index(piece)].code
    check = f"import batiste.{piece} as piece; print(piece.__name__)"
    environment = ("python3 -m venv .venv", ACTIVATE)
    printed = _paste(folder, *environment, code, f'python -c "{check}"', "pip check")
    assert f"batiste.{piece}\n" in printed


def test_one_piece_can_be_copied(blocks, tmp_path):
    copy, use = (b for b in blocks("install") if b.heading == "Copy one piece")
    assert (copy.kind, use.kind) == ("sh", "python")
    folder = _checkout(tmp_path / "batiste")
    use_it = f"{use.code}\nprint(flatten_dict({{'a': {{'b': 1}}}}))"
    (folder / "use.py").write_text(use_it)
    # Nothing is installed for it, not even JAX.
    printed = _paste(folder, copy.code, "python3 -S use.py")
    assert printed == "{('a', 'b'): 1}\n"
