"""NNX on Batiste's Linen and core gives what it gives on its own."""

import json
import os
import subprocess
import sys
from pathlib import Path

PROGRAM = Path(__file__).with_name("nnx_program.py")


def _run(*options):
    result = subprocess.run(
        [sys.executable, *options, str(PROGRAM)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "JAX_PLATFORMS": "cpu"},
    )
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


def test_a_program_with_the_bridge():
    expected, found = _run(), _run("-m", "batiste.flax")
    assert len(expected) > 15
    assert found == expected
