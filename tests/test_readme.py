"""The root README's first model runs, and its table of packages is the declared one."""

import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"


def test_python_examples(tmp_path, monkeypatch, capsys):
    text = README.read_text("utf-8")
    blocks = list(re.finditer(r"^```python\n(.*?)^```", text, re.M | re.S))
    assert blocks
    monkeypatch.chdir(tmp_path)
    namespace = {"__name__": "readme"}
    for block in blocks:
        before = "\n" * text.count("\n", 0, block.start(1))
        exec(compile(before + block[1], str(README), "exec"), namespace)
    assert namespace["logits"].shape == (32, 10)
    assert "(64, 128)" in capsys.readouterr().out


def test_commands_of_the_drop_in(tmp_path):
    text = README.read_text("utf-8").split("## Run your flax code")[1]
    block = re.search(r"^```sh\n(.*?)^```", text, re.M | re.S)
    assert block is not None
    program = (
        "import flax.linen, sys\nprint(flax.linen.Dense.__module__, sys.argv[1:])\n"
    )
    package = tmp_path / "yourpackage"
    package.mkdir()
    for path in (tmp_path / "train.py", package / "train.py"):
        path.write_text(program)
    (tmp_path / "test_it.py").write_text(f"{program}def test_it(): pass\n")
    printed = []
    for line in block[1].splitlines():
        command = [sys.executable, *shlex.split(line, comments=True)[1:]]
        result = subprocess.run(
            command, cwd=tmp_path, capture_output=True, text=True, check=False
        )
        assert result.returncode == 0, result.stdout + result.stderr
        printed.append(result.stdout)
    assert printed[:2] == [
        "batiste.linen.linear.dense ['--epochs', '3']\n",
        "batiste.linen.linear.dense []\n",
    ]
    assert "1 passed" in printed[2]


@pytest.mark.parametrize(
    "package", ["traverse", "serialization", "core", "spmd", "linen", "training"]
)
def test_table_lists_what_each_package_needs(package):
    text = (ROOT / "packages" / package / "pyproject.toml").read_text("utf-8")
    declared = tomllib.loads(text)["project"]["dependencies"]
    row = re.search(rf"^\| \[batiste-{package}\].*\|", README.read_text("utf-8"), re.M)
    assert row is not None
    needs = row[0].split("|")[-2].split(";")[0].replace(" -", " batiste-")
    listed = {n.strip() for n in needs.split(",")} - {"nothing"}
    assert listed == {re.split(r"[^A-Za-z0-9._-]", r)[0] for r in declared}
