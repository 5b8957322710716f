"""Kills savers at random moments and checks what they leave; a program of the tests.

Usage: kill_driver.py FOLDER MODE RUNS SEED, with MODE one of msgpack, msgpack-async,
orbax, orbax-async. Each run forks a process that saves in a loop, kills it, and forks
another one that restores. Importing once and forking makes a run take milliseconds;
this process itself never starts JAX or Orbax, since threads do not survive a fork.
"""

import os
import random
import signal
import struct
import sys
import time
import traceback

import numpy as np
import orbax.checkpoint as ocp

from batiste.core.config import config
from batiste.training import checkpoints

SIZE = 100_000
KEEP = 2


def tree_of(step):
    return {
        "step": step,
        "w": np.full(SIZE, step, np.float32),
        "nested": {"b": np.arange(SIZE // 4, dtype=np.int64) * step},
    }


def save_in_a_loop(folder, mode, start, pipe):
    """Save step after step, and report each one that is certainly complete."""
    keywords = {}
    if mode == "msgpack-async":
        keywords["async_manager"] = checkpoints.AsyncManager()
    elif mode == "orbax":
        keywords["orbax_checkpointer"] = ocp.PyTreeCheckpointer()
    elif mode == "orbax-async":
        keywords["orbax_checkpointer"] = ocp.AsyncCheckpointer(
            ocp.PyTreeCheckpointHandler()
        )
    os.write(pipe, struct.pack("q", -1))
    for step in range(start, start + 1_000_000):
        checkpoints.save_checkpoint(folder, tree_of(step), step, keep=KEEP, **keywords)
        # A background save waits for the one before it.
        complete = step - 1 if mode.endswith("async") else step
        if complete >= start:
            os.write(pipe, struct.pack("q", complete))


def check(folder, mode, acknowledged):
    """Check the newest checkpoint, and that the next save leaves nothing else."""
    restored = checkpoints.restore_checkpoint(folder, target=None)
    if restored is None:
        assert acknowledged < 0, f"nothing restored, {acknowledged} was saved"
        newest = -1
    else:
        newest = int(restored["step"])
        expected = tree_of(newest)
        assert newest >= acknowledged, (newest, acknowledged)
        for got, want in (
            (restored["w"], expected["w"]),
            (restored["nested"]["b"], expected["nested"]["b"]),
        ):
            assert got.dtype == want.dtype
            assert got.tobytes() == want.tobytes(), newest
    config.update("use_orbax_checkpointing", mode.startswith("orbax"))
    checkpoints.save_checkpoint(folder, tree_of(newest + 1), newest + 1, keep=KEEP)
    names = set(os.listdir(folder))
    assert f"checkpoint_{newest + 1}" in names
    assert len(names) <= KEEP, names
    assert all(name.removeprefix("checkpoint_").isdigit() for name in names), names
    return newest + 1


def in_child(function, *args):
    """Run a function in a forked process and return its integer result."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.write(write, struct.pack("q", function(*args)))
            os._exit(0)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
    os.close(write)
    answer = os.read(read, 8)
    os.close(read)
    _, status = os.waitpid(pid, 0)
    assert status == 0, "the check failed"
    return struct.unpack("q", answer)[0]


def one_run(folder, mode, start, rng):
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(read)
        try:
            save_in_a_loop(folder, mode, start, write)
        except BaseException:
            traceback.print_exc()
        os._exit(1)
    os.close(write)
    assert os.read(read, 8) == struct.pack("q", -1), "the saver did not start"
    # Orbax takes a while to start.
    time.sleep(rng.uniform(0, 0.8 if mode.startswith("orbax") else 0.25))
    os.kill(pid, signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    assert os.WIFSIGNALED(status), "the saver ended by itself"
    acknowledged = -1
    while report := os.read(read, 8):
        acknowledged = struct.unpack("q", report)[0]
    os.close(read)
    return acknowledged


def main():
    folder, mode, runs, seed = sys.argv[1], sys.argv[2], *map(int, sys.argv[3:])
    rng = random.Random(seed)
    last, leftovers, complete = -1, 0, 0
    for _ in range(runs):
        acknowledged = one_run(folder, mode, last + 1, rng)
        complete += max(acknowledged - last, 0)
        names = os.listdir(folder) if os.path.isdir(folder) else []
        leftovers += any(not n.rpartition("_")[2].isdigit() for n in names)
        last = in_child(check, folder, mode, max(acknowledged, last))
    print(f"{runs} kills, {complete} saves, {leftovers} kills left something")


if __name__ == "__main__":
    main()
