"""Ctrl-C before any line of a save: no lock is left, and the next save works."""

import dis
import inspect
import os
import signal
import sys

import numpy as np
import pytest

from batiste.training import checkpoints
from batiste.training.checkpoints import paths, pending

OURS = os.path.join("batiste", "training", "checkpoints", "")
TREE = {"w": np.arange(10.0), "n": 1}


def is_out_of_reach(frame, event):
    """Python interrupts no generator that hands on a value, and no edge of a `with`."""
    code, at = frame.f_code, frame.f_lasti
    if event == "return":
        return code.co_flags & inspect.CO_GENERATOR
    # What stands for `try` right after `with` has begun belongs to neither.
    if dis.opname[code.co_code[at]] == "NOP" and at >= 4:
        return dis.opname[code.co_code[at - 4]] == "BEFORE_WITH"
    # Three times None are the arguments of `__exit__`.
    next_three = code.co_code[at : at + 6]
    return dis.opname[next_three[0]] == "LOAD_CONST" and (
        next_three[:2] == next_three[2:4] == next_three[4:6]
    )


def interrupted(function, step):
    """Calls a function with an interrupt before every so many lines, one at a time."""
    at = 1
    while True:
        left = at

        def trace(frame, event, arg):
            nonlocal left
            if OURS not in frame.f_code.co_filename:
                return None
            if event != "exception" and not is_out_of_reach(frame, event):
                left -= 1
                if not left:
                    raise KeyboardInterrupt
            return trace

        before = sys.gettrace()  # what measures coverage
        try:
            sys.settrace(trace)
            function()
        except KeyboardInterrupt:
            pass
        finally:
            sys.settrace(before)
        if left > 0:
            return
        yield at
        at += step


@pytest.fixture
def patience():
    """Whoever waits for a lock that nobody gives up is told."""

    def tell(*args):
        raise TimeoutError("a lock was left")

    before = signal.signal(signal.SIGALRM, tell)
    yield lambda: signal.alarm(60)
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def is_free(folder):
    fcntl = pytest.importorskip("fcntl")
    lock = paths._folder_locks.get(os.path.realpath(folder))
    if lock is not None and lock.locked():
        return False
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(descriptor)
    return True


def test_a_folder_is_unlocked(tmp_path):
    def lock():
        with paths.locked_folder(str(tmp_path)):
            assert not is_free(tmp_path)

    count = 0
    for _ in interrupted(lock, 1):
        count += 1
        assert is_free(tmp_path)
    assert count > 15


def test_folders_of_orbax_are_unlocked(tmp_path):
    path = str(tmp_path / "checkpoint_1")
    folder = tmp_path / "checkpoint_1.orbax-checkpoint-tmp"
    folder.mkdir()

    def ask():
        assert not paths.is_being_saved(path)

    def hold():
        lock = paths.SaveLock(path)
        try:
            lock.mark()
            lock.hold()
            lock.release()
        except BaseException:
            lock.release()
            raise

    for call in (ask, hold):
        for _ in interrupted(call, 1):
            assert is_free(folder)
            assert paths._saving == []


@pytest.mark.parametrize(
    ("kind", "step"),
    [("file", 7), ("manager", 7), ("orbax", 31), ("orbax async", 31)],
)
def test_the_next_save_works(tmp_path, patience, kind, step):
    keywords = {}
    if "orbax" in kind:
        ocp = pytest.importorskip("orbax.checkpoint", reason="needs the extra 'orbax'")
    if kind == "manager":
        keywords["async_manager"] = checkpoints.AsyncManager()
    elif kind == "orbax":
        keywords["orbax_checkpointer"] = ocp.PyTreeCheckpointer()
    elif kind == "orbax async":
        keywords["orbax_checkpointer"] = ocp.AsyncCheckpointer(
            ocp.PyTreeCheckpointHandler()
        )

    def save(n=0):
        checkpoints.save_checkpoint(
            tmp_path, {**TREE, "n": n}, 1, overwrite=True, **keywords
        )
        checkpoints.available_steps(tmp_path)

    save()
    count = 0
    patience()
    for at in interrupted(save, step):
        count += 1
        patience()
        found = checkpoints.restore_checkpoint(tmp_path, None)
        np.testing.assert_array_equal(found["w"], TREE["w"])
        save(at)
        assert checkpoints.restore_checkpoint(tmp_path, None)["n"] == at
        assert os.listdir(tmp_path) == ["checkpoint_1"]
        assert is_free(tmp_path)
        assert paths._saving == []
        pending.raise_failed(None)
    assert count > 10
    if kind == "orbax async":
        keywords["orbax_checkpointer"].close()
