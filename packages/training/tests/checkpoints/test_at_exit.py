"""A program that ends: it waits for its saves, and says which were lost."""

import os
import subprocess
import sys

import pytest

from batiste.training import checkpoints
from batiste.training.checkpoints import at_exit


def run(program, *arguments):
    return subprocess.run(
        [sys.executable, "-c", program, *map(str, arguments)],
        env={**os.environ, "JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
        check=False,
    )


FAILING = """
import atexit, sys
atexit.register(lambda: print("others run", flush=True))
from batiste.training import checkpoints
manager = checkpoints.AsyncManager()
atexit.register(lambda: print("and these", file=sys.stderr, flush=True))
def fail():
    raise OSError("No space left on device")
manager.save_async(fail)
"""


def test_a_failure_that_nobody_asked_for_is_reported_and_gives_a_status():
    done = run(FAILING)
    assert done.returncode == 120
    assert "No space left on device" in done.stderr
    assert "What it was to save is lost" in done.stderr
    assert done.stdout == "others run\n"
    assert "and these" in done.stderr
    assert done.stderr.count("What it was to save is lost") == 1


@pytest.mark.parametrize("last", ["del manager", "sys.exit(0)", "sys.stdout.close()"])
def test_however_the_program_ends(last):
    done = run(FAILING.replace('print("others run", flush=True)', "None") + last)
    assert done.returncode == 120
    assert "No space left on device" in done.stderr


def test_a_failure_that_was_seen_is_not_reported():
    seen = """
try:
    manager.wait_previous_save()
except OSError:
    print("seen")
"""
    done = run(FAILING + seen)
    assert done.returncode == 0
    assert "lost" not in done.stderr


def test_a_save_of_a_checkpoint_that_fails_last_is_reported(tmp_path):
    program = """
import sys
from batiste.training import checkpoints
from batiste.training.checkpoints import msgpack
def fail(*args): raise OSError("No space left on device")
msgpack.os.fsync = fail
checkpoints.save_checkpoint(
    sys.argv[1], {'w': 1}, 1, async_manager=checkpoints.AsyncManager())
"""
    done = run(program, tmp_path)
    assert done.returncode == 120
    assert "No space left on device" in done.stderr
    assert os.listdir(tmp_path) == []


@pytest.fixture(scope="module")
def threads_to_the_end():
    """Whether a thread can start another after the main one, as Orbax's have to.

    In Python 3.12.1 none can.
    """
    program = """
import threading
def late():
    threading.main_thread().join()
    threading.Thread(target=print, args=["started"]).start()
threading.Thread(target=late).start()
"""
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True)
    return done.stdout == "started\n"


@pytest.mark.parametrize("kind", ["async", "manager"])
def test_orbax_is_waited_for_while_it_can_still_work(
    tmp_path, kind, threads_to_the_end
):
    pytest.importorskip("orbax.checkpoint", reason="needs the extra 'orbax'")
    program = """
import sys
import numpy as np
import orbax.checkpoint as ocp
from batiste.training import checkpoints
keywords = {
    'async': lambda: dict(
        orbax_checkpointer=ocp.AsyncCheckpointer(ocp.PyTreeCheckpointHandler())),
    'manager': lambda: dict(
        orbax_checkpointer=ocp.PyTreeCheckpointer(),
        async_manager=checkpoints.AsyncManager()),
}[sys.argv[2]]()
for step in range(2):
    checkpoints.save_checkpoint(
        sys.argv[1], {'s': np.full(1_000_000, step)}, step, **keywords)
"""
    done = run(program, tmp_path, kind)
    if done.returncode and not threads_to_the_end:
        # Then the loss is reported, and the save before it is there.
        assert done.returncode == 120
        assert "is lost. Call wait_previous_save()" in done.stderr
        assert checkpoints.restore_checkpoint(tmp_path, None)["s"][0] == 0
        return
    assert done.returncode == 0, done.stderr
    assert os.listdir(tmp_path) == ["checkpoint_1"]
    assert checkpoints.restore_checkpoint(tmp_path, None)["s"][0] == 1


def test_an_orbax_save_that_fails_last_is_reported_and_leaves_nothing(
    tmp_path, threads_to_the_end
):
    pytest.importorskip("orbax.checkpoint", reason="needs the extra 'orbax'")
    program = """
import sys
import orbax.checkpoint as ocp
from batiste.training import checkpoints
class Failing:
    def result(self, timeout=None):
        raise OSError("No space left on device")
class Handler(ocp.PyTreeCheckpointHandler):
    async def async_save(self, *args, **kwargs):
        return [*(await super().async_save(*args, **kwargs)), Failing()]
saver = ocp.AsyncCheckpointer(Handler())
checkpoints.save_checkpoint(sys.argv[1], {'w': 1}, 1, orbax_checkpointer=saver)
"""
    done = run(program, tmp_path)
    assert done.returncode == 120, done.stderr
    assert "checkpoint_1" in done.stderr
    assert checkpoints.latest_checkpoint(tmp_path) is None
    if threads_to_the_end:
        assert "No space left on device" in done.stderr
        assert os.listdir(tmp_path) == []


def test_a_child_process_has_none_of_its_parents_saves(tmp_path):
    if not hasattr(os, "fork"):
        pytest.skip("needs fork")
    program = """
import os, sys, threading, time
from batiste.training import checkpoints
manager = checkpoints.AsyncManager()
go = threading.Event()
manager.save_async(go.wait)
pid = os.fork()
if pid == 0:
    checkpoints.restore_checkpoint(sys.argv[1], None)
    sys.exit(0)
status = os.waitpid(pid, 0)[1]
go.set()
assert status == 0, status
"""
    done = run(program, tmp_path)
    assert done.returncode == 0, done.stderr


def test_what_is_watched_is_asked():
    asked = []

    def watcher():
        asked.append(1)
        return iter(())

    at_exit.watch(watcher)
    try:
        assert not at_exit.report()
    finally:
        at_exit._watchers.remove(watcher)
    assert asked == [1]
