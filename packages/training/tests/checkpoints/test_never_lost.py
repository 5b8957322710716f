"""A checkpoint is whole or absent: kills, full disks, rivals and failures."""

import json
import os
import resource
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

from batiste.training import checkpoints
from batiste.training.checkpoints import paths as checkpoint_paths
from batiste.training.errors import InvalidCheckpointError

# At length: nox -s campaign -- kill --kills 2000.
RUNS = 5
DRIVER = Path(__file__).with_name("kill_driver.py")


def run_python(*args, **kwargs):
    return subprocess.run(
        [sys.executable, *map(str, args)],
        env={**os.environ, "JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
        **kwargs,
    )


@pytest.mark.parametrize("mode", ["msgpack", "msgpack-async", "orbax", "orbax-async"])
def test_killed_savers_leave_the_newest_complete_checkpoint(mode, tmp_path):
    if mode.startswith("orbax"):
        pytest.importorskip("orbax.checkpoint", reason="needs the extra 'orbax'")
    done = run_python(DRIVER, tmp_path / "ckpts", mode, RUNS, 0, 1)
    assert done.returncode == 0, done.stderr
    counts = json.loads(done.stdout)
    assert counts["kills"] == RUNS
    assert counts["reads"] > 0


def test_a_full_disk_is_an_error_and_leaves_the_last_checkpoint(tmp_path):
    small, large = {"w": np.zeros(10)}, {"w": np.zeros(100_000)}
    checkpoints.save_checkpoint(tmp_path, small, 1)
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, limit[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            checkpoints.save_checkpoint(tmp_path, large, 2)
        manager = checkpoints.AsyncManager()
        checkpoints.save_checkpoint(tmp_path, large, 2, async_manager=manager)
        with pytest.raises(OSError, match="File too large"):
            checkpoints.save_checkpoint(tmp_path, large, 3, async_manager=manager)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    assert os.listdir(tmp_path) == ["checkpoint_1"]
    assert checkpoints.restore_checkpoint(tmp_path, None)["w"].shape == (10,)
    checkpoints.save_checkpoint(tmp_path, large, 2)
    assert os.listdir(tmp_path) == ["checkpoint_2"]


def test_a_failing_write_leaves_an_overwritten_checkpoint(tmp_path, monkeypatch):
    checkpoints.save_checkpoint(tmp_path, {"w": 1}, 5)

    def full(fd):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        checkpoints.save_checkpoint(tmp_path, {"w": 2}, 5, overwrite=True)
    monkeypatch.undo()
    assert os.listdir(tmp_path) == ["checkpoint_5"]
    assert checkpoints.restore_checkpoint(tmp_path, None) == {"w": 1}


def test_file_and_folder_are_synced_around_the_rename(tmp_path, monkeypatch):
    events = []
    for name in ("fsync", "replace"):
        real = getattr(os, name)

        def spy(*args, name=name, real=real):
            events.append(name)
            return real(*args)

        monkeypatch.setattr(os, name, spy)
    checkpoints.save_checkpoint(tmp_path, {"w": 1}, 1)
    assert events == ["fsync", "replace", "fsync"]


def test_leftovers_are_deleted_by_the_next_save_and_nothing_else_is(tmp_path):
    others = [
        "checkpoint_best",
        "checkpoint_tmp_notes",
        "notes.txt",
        "other_3",
        ".hidden",
        "checkpoint_x.orbax-checkpoint-tmp",
    ]
    leftovers = [".checkpoint_9.0123abc.batiste-tmp", ".checkpoint_-1.5.f.batiste-tmp"]
    for name in others + leftovers:
        (tmp_path / name).write_text("x")
    for name in (
        "checkpoint_8.orbax-checkpoint-tmp",
        "checkpoint_9.orbax-checkpoint-tmp-1",
    ):
        (tmp_path / name).mkdir()
        (tmp_path / name / "data").write_text("x")
    assert checkpoints.latest_checkpoint(tmp_path) is None
    assert checkpoints.restore_checkpoint(tmp_path, "untouched") == "untouched"
    checkpoints.save_checkpoint(tmp_path, {"w": 1}, 3)
    assert sorted(os.listdir(tmp_path)) == sorted([*others, "checkpoint_3"])


def test_an_interrupted_replacement_counts_and_is_finished(tmp_path):
    checkpoints.save_checkpoint(tmp_path, {"w": "old"}, 4)
    checkpoints.save_checkpoint(tmp_path / "new", {"w": "new"}, 4)
    os.rename(tmp_path / "new" / "checkpoint_4", tmp_path / "checkpoint_4.batiste-new")
    os.rmdir(tmp_path / "new")
    # Killed between the completion of the new one and the end of the old one.
    assert checkpoints.restore_checkpoint(tmp_path, None) == {"w": "new"}
    assert checkpoints.restore_checkpoint(tmp_path, None, step=4) == {"w": "new"}
    path = tmp_path / "checkpoint_4"
    assert checkpoints.restore_checkpoint(path, None) == {"w": "new"}
    os.remove(path)
    assert checkpoints.available_steps(tmp_path) == [4]
    assert checkpoints.restore_checkpoint(path, None) == {"w": "new"}
    checkpoints.save_checkpoint(tmp_path, {"w": "newer"}, 5, keep=2)
    assert sorted(os.listdir(tmp_path)) == ["checkpoint_4", "checkpoint_5"]
    assert checkpoints.restore_checkpoint(tmp_path, None, step=4) == {"w": "new"}


RIVAL = textwrap.dedent(
    """
    import sys
    import numpy as np
    from batiste.training.errors import (InvalidCheckpointError)
    from batiste.training import checkpoints
    folder, rank = sys.argv[1], int(sys.argv[2])
    saved = 0
    for step in range(60):
        tree = {'step': step, 'rank': rank, 'w': np.full(20_000, step * 10 + rank)}
        try:
            checkpoints.save_checkpoint(folder, tree, step, keep=3)
            saved += 1
        except InvalidCheckpointError:
            pass
        found = checkpoints.restore_checkpoint(folder, None)
        assert (found['w'] == found['step'] * 10 + found['rank']).all()
    print(saved)
    """
)


def test_two_programs_that_save_to_one_folder_do_not_corrupt_it(tmp_path):
    rivals = [
        subprocess.Popen(
            [sys.executable, "-c", RIVAL, str(tmp_path), str(rank)],
            env={**os.environ, "JAX_PLATFORMS": "cpu"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    outputs = [rival.communicate(timeout=120) for rival in rivals]
    for rival, (_, err) in zip(rivals, outputs, strict=True):
        assert rival.returncode == 0, err
    assert checkpoints.available_steps(tmp_path) == [57, 58, 59]
    assert sorted(os.listdir(tmp_path)) == [f"checkpoint_{i}" for i in (57, 58, 59)]


def test_two_threads_that_save_the_same_step_get_one_winner(tmp_path):
    from concurrent.futures import ThreadPoolExecutor

    def save(value):
        try:
            checkpoints.save_checkpoint(tmp_path, {"w": value}, 1)
        except InvalidCheckpointError:
            return None
        return value

    with ThreadPoolExecutor(4) as pool:
        winners = [v for v in pool.map(save, range(4)) if v is not None]
    assert len(winners) == 1
    assert checkpoints.restore_checkpoint(tmp_path, None) == {"w": winners[0]}


def test_a_failed_background_save_is_raised_by_the_next_call(tmp_path):
    manager = checkpoints.AsyncManager()
    checkpoints.save_checkpoint(tmp_path, {"w": 1}, 1, async_manager=manager)
    manager.wait_previous_save()
    manager.save_async(lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        checkpoints.save_checkpoint(tmp_path, {"w": 3}, 3, async_manager=manager)
    manager.save_async(lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        manager.wait_previous_save()
    manager.wait_previous_save()


def test_a_background_save_sees_the_values_of_its_call(tmp_path):
    manager = checkpoints.AsyncManager()
    tree = {"w": np.zeros(1_000_000)}
    for step in range(3):
        checkpoints.save_checkpoint(tmp_path, tree, step, keep=3, async_manager=manager)
        tree["w"] += 1
    manager.wait_previous_save()
    for step in range(3):
        restored = checkpoints.restore_checkpoint(tmp_path, None, step=step)
        assert (restored["w"] == step).all()


def test_orbax_background_saves_to_one_step_exclude_each_other(tmp_path):
    path = str(tmp_path / "checkpoint_1")
    lock = checkpoint_paths.SaveLock(path)
    lock.mark()
    (tmp_path / "checkpoint_1.orbax-checkpoint-tmp").mkdir()
    checkpoints.save_checkpoint(tmp_path, {"w": 1}, 0)
    assert len(os.listdir(tmp_path)) == 2, "another saver's folder was deleted"
    ocp = pytest.importorskip("orbax.checkpoint", reason="needs the extra 'orbax'")
    saver = ocp.AsyncCheckpointer(ocp.PyTreeCheckpointHandler())
    with pytest.raises(InvalidCheckpointError):
        checkpoints.save_checkpoint(tmp_path, {"w": 1}, 1, orbax_checkpointer=saver)
    lock.release()
    checkpoints.save_checkpoint(tmp_path, {"w": 1}, 1, orbax_checkpointer=saver)
    saver.wait_until_finished()
    assert checkpoints.available_steps(tmp_path) == [1]
    saver.close()


def test_a_failed_orbax_background_save_is_raised_by_the_next_call(tmp_path):
    ocp = pytest.importorskip("orbax.checkpoint", reason="needs the extra 'orbax'")

    class Failing:
        """The writing of arrays, which fails at its end."""

        def __init__(self, writing):
            self.writing = writing

        def result(self, timeout=None):
            for future in self.writing:
                future.result(timeout)
            raise OSError("No space left on device")

    class Handler(ocp.PyTreeCheckpointHandler):
        fails = False

        async def async_save(self, *args, **kwargs):
            futures = await super().async_save(*args, **kwargs)
            return [Failing(futures)] if self.fails else futures

    handler = Handler()
    saver = ocp.AsyncCheckpointer(handler)
    checkpoints.save_checkpoint(tmp_path, {"w": 1}, 1, orbax_checkpointer=saver)
    saver.wait_until_finished()
    handler.fails = True
    checkpoints.save_checkpoint(tmp_path, {"w": 2}, 2, orbax_checkpointer=saver)
    handler.fails = False
    with pytest.raises(OSError, match="No space left"):
        checkpoints.save_checkpoint(tmp_path, {"w": 3}, 3, orbax_checkpointer=saver)
    assert checkpoints.restore_checkpoint(tmp_path, None) == {"w": 1}
    checkpoints.save_checkpoint(tmp_path, {"w": 3}, 3, orbax_checkpointer=saver)
    saver.wait_until_finished()
    assert checkpoints.restore_checkpoint(tmp_path, None) == {"w": 3}
    assert os.listdir(tmp_path) == ["checkpoint_3"]
    saver.close()


def test_keep_one_orbax_background_save_never_deletes_the_only_checkpoint(tmp_path):
    ocp = pytest.importorskip("orbax.checkpoint", reason="needs the extra 'orbax'")
    saver = ocp.AsyncCheckpointer(ocp.PyTreeCheckpointHandler())
    for step in range(4):
        checkpoints.save_checkpoint(
            tmp_path, {"w": step}, step, keep=1, orbax_checkpointer=saver
        )
        if step:
            complete = [n for n in os.listdir(tmp_path) if n[11:].isdigit()]
            assert complete, "no complete checkpoint while saving"
    saver.wait_until_finished()
    assert checkpoints.latest_checkpoint(tmp_path) == str(tmp_path / "checkpoint_3")
    assert os.listdir(tmp_path) == ["checkpoint_3"]
    saver.close()
