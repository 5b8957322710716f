"""Kills savers at random moments and checks what they leave; a program of the tests.

Usage: kill_driver.py FOLDER MODE RUNS SEED [READERS], with MODE one of msgpack,
msgpack-async, orbax, orbax-async. Each run forks a process that saves in a loop, step
after step or over what is there, kills it, and forks another one that looks at what is
left and saves once more. Readers, if any, restore the newest all the while. Importing
once and forking makes a run take milliseconds; this process itself never starts JAX or
Orbax, since threads do not survive a fork.
"""

import json
import os
import random
import shutil
import signal
import struct
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import orbax.checkpoint as ocp

from batiste.core.config import config
from batiste.training import checkpoints

MODES = ("msgpack", "msgpack-async", "orbax", "orbax-async")
SIZE = 100_000
KEEP = 2
# What others have in the same folder, and where their link leads to.
FOREIGN = {
    "notes.txt": b"mine",
    "checkpoint_best": b"mine",
    "checkpoint_7.backup": b"mine",
    ".checkpoint_8": b"mine",
    "checkpoint_99999999/photo.jpg": b"\xff\xd8",
    "checkpoint_x.orbax-checkpoint-tmp/data": b"mine",
}
LINK, TARGET = "link_1", "../elsewhere"


def tree_of(version: int) -> dict[str, Any]:
    """What the save of this number saves; the numbers rise, whatever the steps do."""
    return {
        "version": version,
        "w": np.full(SIZE, version, np.float32),
        "nested": {"b": np.arange(SIZE // 4, dtype=np.int64) * version},
    }


def check_tree(found: dict[str, Any]) -> int:
    """The number of the save, if all of it is what was saved."""
    version = int(found["version"])
    expected = tree_of(version)
    for got, want in (
        (found["w"], expected["w"]),
        (found["nested"]["b"], expected["nested"]["b"]),
    ):
        assert got.dtype == want.dtype
        assert got.tobytes() == want.tobytes(), version
    return version


def make_foreign(folder: str) -> None:
    """Puts into a folder what no save may touch."""
    for name, data in FOREIGN.items():
        path = os.path.join(folder, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.write(data)
    if not os.path.islink(os.path.join(folder, LINK)):
        os.symlink(TARGET, os.path.join(folder, LINK))


def ours(folder: str) -> set[str]:
    """The names in a folder that are not those of others."""
    foreign = {name.partition("/")[0] for name in (*FOREIGN, LINK)}
    return set(os.listdir(folder)) - foreign


def check_foreign(folder: str) -> None:
    """Raises if any of it was changed."""
    for name, data in FOREIGN.items():
        with open(os.path.join(folder, name), "rb") as file:
            assert file.read() == data, name
    assert os.readlink(os.path.join(folder, LINK)) == TARGET


def save_in_a_loop(
    folder: str, mode: str, version: int, overwrite: bool, keep: int, pipe: int
) -> None:
    """Saves again and again, and reports each save that is certainly complete."""
    keywords: dict[str, Any] = {"keep": keep, "overwrite": overwrite}
    if mode == "msgpack-async":
        keywords["async_manager"] = checkpoints.AsyncManager()
    elif mode == "orbax":
        keywords["orbax_checkpointer"] = ocp.PyTreeCheckpointer()
    elif mode == "orbax-async":
        keywords["orbax_checkpointer"] = ocp.AsyncCheckpointer(
            ocp.PyTreeCheckpointHandler()
        )
    rng = random.Random(version)
    step = max(checkpoints.available_steps(folder), default=-1)
    os.write(pipe, struct.pack("q", -1))
    for number in range(version, version + 1_000_000):
        step = max(0, step + (rng.choice((-1, 0, 0, 1)) if overwrite else 1))
        checkpoints.save_checkpoint(folder, tree_of(number), step, **keywords)
        # A background save waits for the one before it.
        complete = number - 1 if mode.endswith("async") else number
        if complete >= version:
            os.write(pipe, struct.pack("q", complete))


def check(folder: str, mode: str, acknowledged: int) -> int:
    """Checks all checkpoints, and that the next save leaves nothing else."""
    restored = checkpoints.restore_checkpoint(folder, target=None)
    if restored is None:
        assert acknowledged < 0, f"nothing restored, {acknowledged} was saved"
        newest = -1
    else:
        newest = check_tree(restored)
        assert newest >= acknowledged, (newest, acknowledged)
    steps = checkpoints.available_steps(folder)
    for step in steps:
        check_tree(checkpoints.restore_checkpoint(folder, None, step))
    config.update("use_orbax_checkpointing", mode.startswith("orbax"))
    step = max(steps, default=-1) + 1
    checkpoints.save_checkpoint(folder, tree_of(newest + 1), step, keep=KEEP)
    names = ours(folder)
    assert f"checkpoint_{step}" in names
    assert len(names) <= KEEP, names
    assert all(name.removeprefix("checkpoint_").isdigit() for name in names), names
    check_foreign(folder)
    return newest + 1


def read_in_a_loop(folder: str) -> int:
    """Restores the newest until it is told to end; returns how often it did.

    No read fails or finds an older checkpoint than the one before it.
    """
    told: list[int] = []
    signal.signal(signal.SIGTERM, lambda *args: told.append(1))
    newest, reads = -1, 0
    while not told:
        found = checkpoints.restore_checkpoint(folder, target=None)
        if found is None:
            assert newest < 0, f"nothing restored, where {newest} was before"
            continue
        version = check_tree(found)
        assert version >= newest, (version, newest)
        newest = version
        reads += 1
    return reads


def start(function: Callable[..., int], *args: Any) -> tuple[int, int]:
    """Runs a function in a forked process; its id, and the pipe with the result."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.close(read)
            os.write(write, struct.pack("q", function(*args)))
            os._exit(0)
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(1)
    os.close(write)
    return pid, read


def finish(process: tuple[int, int], what: str) -> int:
    """Waits for a forked process, and returns what its function returned."""
    pid, pipe = process
    answer = os.read(pipe, 8)
    os.close(pipe)
    _, status = os.waitpid(pid, 0)
    assert status == 0, f"{what} failed"
    return struct.unpack("q", answer)[0]


def kill_one(folder: str, mode: str, version: int, rng: random.Random) -> int:
    """Starts a saver, kills it; the last save of which it has said that it is done."""
    overwrite, keep = rng.random() < 0.5, rng.choice((1, 2, 3))
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(read)
        try:
            save_in_a_loop(folder, mode, version, overwrite, keep, write)
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


def attack(
    folder: str,
    mode: str,
    runs: int,
    seed: int,
    readers: int = 0,
    evidence: str | None = None,
) -> Iterator[dict[str, int]]:
    """Kills savers, and checks what they leave.

    Args:
      folder: where they save.
      mode: how.
      runs: the number of kills.
      seed: what chance follows from.
      readers: the number of processes that read meanwhile.
      evidence: where what the last kill has left is copied to, before it is looked at.

    Yields:
      What was done so far, after each kill, and once more at the end.

    Raises:
      AssertionError: a promise was not kept; the child process has printed why.
    """
    rng = random.Random(seed)
    if evidence is not None:
        shutil.rmtree(evidence, ignore_errors=True)
    os.makedirs(folder, exist_ok=True)
    make_foreign(folder)
    reading = [start(read_in_a_loop, folder) for _ in range(readers)]
    last, done = -1, {"kills": 0, "saves": 0, "leftovers": 0, "reads": 0}
    try:
        for _ in range(runs):
            acknowledged = kill_one(folder, mode, last + 1, rng)
            done["kills"] += 1
            done["saves"] += max(acknowledged - last, 0)
            names = {name.removeprefix("checkpoint_") for name in ours(folder)}
            done["leftovers"] += not all(map(str.isdigit, names))
            if evidence is not None:
                shutil.rmtree(evidence, ignore_errors=True)
                shutil.copytree(folder, evidence, symlinks=True)
            process = start(check, folder, mode, max(acknowledged, last))
            last = finish(process, "the check")
            for pid, _ in reading:
                assert os.waitpid(pid, os.WNOHANG) == (0, 0), "a reader failed"
            yield dict(done)
        for pid, _ in reading:
            os.kill(pid, signal.SIGTERM)
        while reading:
            done["reads"] += finish(reading.pop(), "a reader")
        yield dict(done)
    finally:
        for pid, pipe in reading:
            os.close(pipe)
            try:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
            except (ProcessLookupError, ChildProcessError):
                pass  # it is the one that has failed


def main() -> None:
    """Runs the attack of the command line, and prints what was done."""
    folder, mode, *counts = sys.argv[1:]
    runs, seed, readers = map(int, [*counts, 0][:3])
    *_, done = attack(folder, mode, runs, seed, readers)
    print(json.dumps(done))


if __name__ == "__main__":
    main()
