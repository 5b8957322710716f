"""Several processes that train together: starting them, joining them, losing one."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

import jax

__all__ = ["fail_together", "join", "start"]

MAIN = Path(__file__).resolve().with_name("main.py")


def join(coordinator: str, count: int, index: int, timeout: int) -> None:
    """Makes this process one of `count`, which see each other's devices.

    It waits until all are there. To be called before anything asks for devices.

    Args:
      coordinator: host and port at which process 0 can be reached.
      count: how many processes there are.
      index: which of them this one is.
      timeout: seconds without a sign of life after which a process counts as lost.
    """
    # On CPUs, this is what carries data from process to process.
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    jax.distributed.initialize(
        coordinator,
        num_processes=count,
        process_id=index,
        heartbeat_timeout_seconds=timeout,
    )


def fail_together(error: Exception, advice: str) -> NoReturn:
    """Ends this process at once, with a message on `error`.

    An ordinary exit would wait for the other processes, of which one may be gone.
    """
    who = f"Process {jax.process_index()} of {jax.process_count()}"
    if isinstance(error, jax.errors.JaxRuntimeError):
        message = (
            f"{who} cannot go on, as a rule because another process has ended or "
            f"cannot be reached. {advice}\n  JAX says: {str(error).splitlines()[0]}"
        )
    else:
        trace = "".join(traceback.format_exception(error))
        message = f"{trace}{who} ends after this error. {advice}"
    print(message, file=sys.stderr, flush=True)
    os._exit(1)


def start(count: int, args: Sequence[str], timeout: int) -> int:
    """Runs `main.py` as `count` processes of this machine, until all have ended.

    Where one fails, the others get `timeout` seconds to notice, and are then ended.

    Args:
      count: how many processes.
      args: the arguments of the program, to which those for `join` are added.
      timeout: seconds.

    Returns:
      The exit status: 0 if all processes ended well, else 1.
    """
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        coordinator = f"localhost:{probe.getsockname()[1]}"
    command = [sys.executable, str(MAIN), *args, f"--coordinator={coordinator}"]
    running = [
        subprocess.Popen([*command, f"--process_id={index}"]) for index in range(count)
    ]
    deadline = float("inf")
    try:
        while any(process.poll() is None for process in running):
            if any(process.poll() for process in running):
                deadline = min(deadline, time.monotonic() + timeout)
            if time.monotonic() > deadline:
                break
            time.sleep(0.05)
    finally:
        for process in running:
            process.kill()
            process.wait()
    return int(any(process.returncode for process in running))
