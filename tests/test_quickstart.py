"""The quickstart, run as a user runs it."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

MAIN = Path(__file__).parents[1] / "examples" / "quickstart" / "main.py"


def run(*args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(MAIN), *args],
        capture_output=True,
        text=True,
        env={**os.environ, "JAX_PLATFORMS": "cpu"},
        timeout=600,
    )


def test_trains_saves_reloads_and_draws(tmp_path):
    result = run("--output", str(tmp_path))
    assert result.returncode == 0, result.stderr
    assert "87,178 (348.7 KB)" in result.stdout  # the table of layers
    epochs = re.findall(
        r"test epoch: (\d+), loss: ([\d.]+), accuracy: ([\d.]+)", (result.stdout)
    )
    assert [int(epoch) for epoch, _, _ in epochs] == list(range(1, 21))
    assert float(epochs[-1][1]) < float(epochs[0][1])
    assert float(epochs[-1][2]) >= 97
    assert "the same 359 predictions" in result.stdout
    for name in ("learning_curves.png", "predictions.png"):
        assert str(tmp_path / name) in result.stdout
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG\r\n")
    assert (tmp_path / "params.msgpack").stat().st_size > 348_712


def test_help_names_every_option():
    result = run("--help")
    assert result.returncode == 0
    for option in ("--dataset", "--epochs", "--batch-size", "--seed", "--output"):
        assert option in result.stdout


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("--epochs", "0"), "--epochs and --batch-size must be at least 1"),
        (("--dataset", "cats"), "invalid choice: 'cats'"),
        (("--batch-size", "5000"), "over the 1438 training examples"),
    ],
)
def test_bad_options_say_what_is_wrong(tmp_path, args, message):
    result = run(*args, "--output", str(tmp_path / "out"))
    assert result.returncode != 0
    assert message in result.stderr
    assert "Traceback" not in result.stderr
