"""Two processes, joined by jax.distributed, save to one folder and restore from it."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from batiste.training.checkpoints.processes import meet

DRIVER = Path(__file__).with_name("process_driver.py")


def test_a_single_process_waits_for_nobody():
    assert meet("a place where nobody else comes") is None


def test_two_processes_save_and_restore_together(tmp_path):
    pytest.importorskip("orbax.checkpoint", reason="needs the extra 'orbax'")
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        port = probe.getsockname()[1]
    processes = [
        subprocess.Popen(
            [sys.executable, str(DRIVER), str(rank), str(port), str(tmp_path)],
            env={**os.environ, "JAX_PLATFORMS": "cpu"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    try:
        outputs = [process.communicate(timeout=150) for process in processes]
    finally:
        for process in processes:
            process.kill()
    for out, err in outputs:
        assert "all as expected" in out, err[-3000:]
