"""No text shows a command that would fetch one of our names from an index too early.

Until the root `pyproject.toml` says that Batiste is published, whoever runs
`pip install` with one of our names gets a stranger's code, or nothing.
"""

import ast
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))

TEXTS = {".md", ".py", ".rst", ".sh", ".toml", ".txt", ".yaml", ".yml"}
NOT_OURS = {".git", ".nox", ".venv", "__pycache__", "build", "dist", "node_modules"}

# The command, and what follows it up to the end of the line or of the command. In
# prose and in strings of a program it may stand within backticks or quotes.
COMMAND = re.compile(
    r"\b(?:pip3?\s+(?:install|download|wheel)|uv\s+(?:add|tool\s+install)|uvx"
    r"|(?:pipx|poetry|conda)\s+(?:install|add|run))\b(?P<rest>[^\n`;&|#(]*)"
)
# Not part of a path, and not followed by the address that it would be taken from.
NAME = re.compile(r"(?<![\w./-])batiste(?:-\w+)*(?:\[[\w,\s-]*\])?(?![\w/-]|\s*@|\.\w)")


def _names_of_ours(text: str) -> list[str]:
    """Finds our distributions in the installation commands of a text."""
    commands = COMMAND.finditer(text.replace("\\\n", " "))
    return [name[0] for command in commands for name in NAME.finditer(command["rest"])]


def _strings(program: str) -> Iterator[str]:
    """Yields the strings of a program, those joined out of several lines as one."""
    for node in ast.walk(ast.parse(program)):
        if isinstance(node, ast.JoinedStr):
            yield "".join(
                part.value if isinstance(part, ast.Constant) else "{}"
                for part in node.values
            )
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def _wrong(path: Path) -> list[str]:
    text = path.read_text("utf-8")
    found = _names_of_ours(text)
    if path.suffix == ".py":
        found += [name for part in _strings(text) for name in _names_of_ours(part)]
    return sorted(set(found))


def _files() -> list[Path]:
    found = [*ROOT.glob("*.*"), ROOT / ".ci" / "run"]
    for folder in ("benchmarks", "docs", "examples", "packages", "tests"):
        found += (path for path in (ROOT / folder).rglob("*.*"))
    return [
        path
        for path in found
        if (path.suffix in TEXTS or path.name == "run")
        and path.is_file()
        and not NOT_OURS.intersection(path.parts)
        and path != Path(__file__)
    ]


@pytest.mark.skipif(
    PYPROJECT["tool"]["batiste"]["published"], reason="the names are ours"
)
def test_no_command_fetches_our_names_from_an_index():
    wrong = {
        str(path.relative_to(ROOT)): names
        for path in _files()
        if (names := _wrong(path))
    }
    assert not wrong, f"not published yet, name the local path instead: {wrong}"


def test_the_texts_that_matter_are_read():
    files = {path.relative_to(ROOT).as_posix() for path in _files()}
    assert {"README.md", "CONTRIBUTING.md", "packages/linen/README.md"} <= files
    assert "packages/training/src/batiste/training/io.py" in files
    assert "examples/spmd_transformer/README.md" in files


@pytest.mark.parametrize(
    "text",
    [
        "pip install batiste",
        "pip install batiste-linen",
        "pip install batiste-linen.",
        'pip install "batiste-training[orbax, tensorboard]"',
        "pip install -U 'batiste-core>=0.1'",
        "python -m pip install jax batiste-spmd==0.1.0  # the newest",
        "uv pip install rich \\\n    batiste",
        "Then `pip3 install batiste-serialization` does it.",
        "pip download batiste-core",
        "uv add batiste",
        "pipx run batiste",
    ],
)
def test_a_name_of_ours_is_found(text):
    assert _names_of_ours(text)


@pytest.mark.parametrize(
    "text",
    [
        "pip install ./packages/batiste",
        'pip install "./packages/training[orbax]"',
        "uv pip install -e packages/core \\\n    -e packages/batiste",
        "pip install ./packages/*   # all of batiste",
        "pip install rich, which batiste_like packages need",
        "pip install tensorboard (the extra tensorboard; see batiste.training).",
        "pip install nox && nox -s tests  # batiste",
        "pip install batiste-core @ file:///tmp/batiste_core-0.1.0-py3-none-any.whl",
        "batiste-core needs jax.",
    ],
)
def test_a_local_path_or_another_name_is_not(text):
    assert not _names_of_ours(text)


def test_a_string_over_several_lines_is_read_as_one(tmp_path):
    path = tmp_path / "errors.py"
    path.write_text(
        "def fail(name):\n"
        "    raise ImportError(\n"
        "        f'{name} is not installed: pip install '\n"
        "        'batiste-training[orbax].'\n"
        "    )\n"
    )
    assert _wrong(path) == ["batiste-training[orbax]"]
