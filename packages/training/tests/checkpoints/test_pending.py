"""Who reads a folder waits for the saves to it that this program has started."""

import os
import threading
import time

import jax
import numpy as np
import pytest

from batiste.training import checkpoints
from batiste.training.checkpoints import pending
from batiste.training.checkpoints.save import checkpoint_msgpack

SIZE = 2_000_000


def orbax():
    return pytest.importorskip("orbax.checkpoint", reason="needs the extra 'orbax'")


@pytest.fixture(params=["manager", "orbax async", "orbax in a manager"])
def background(request):
    """The keywords of a background save, and the checkpointer to restore with."""
    if request.param == "manager":
        yield {"async_manager": checkpoints.AsyncManager()}
        return
    ocp = orbax()
    if request.param == "orbax async":
        saver = ocp.AsyncCheckpointer(ocp.PyTreeCheckpointHandler())
        yield {"orbax_checkpointer": saver}
        saver.close()
        return
    yield {
        "orbax_checkpointer": ocp.PyTreeCheckpointer(),
        "async_manager": checkpoints.AsyncManager(),
    }


SAVES = {
    "one process": checkpoints.save_checkpoint,
    "several": checkpoints.save_checkpoint_multiprocess,
}


@pytest.mark.parametrize("save", SAVES.values(), ids=SAVES)
def test_restoring_on_the_next_line_gives_what_was_saved(tmp_path, background, save):
    target = {"w": np.zeros(SIZE)}
    given = {k: v for k, v in background.items() if k == "orbax_checkpointer"}
    for step in range(1, 5):
        tree = {"w": np.full(SIZE, float(step))}
        path = save(tmp_path, tree, step, **background)
        read = [
            lambda: checkpoints.restore_checkpoint(tmp_path, target, **given),
            lambda: checkpoints.restore_checkpoint(tmp_path, target),
            lambda path=path: checkpoints.restore_checkpoint(path, target),
            lambda step=step: checkpoints.restore_checkpoint(tmp_path, target, step),
        ][step - 1]
        assert (read()["w"] == step).all()


@pytest.mark.parametrize("ask", ["latest_checkpoint", "available_steps"])
def test_lists_of_checkpoints_wait_too(tmp_path, background, ask):
    path = checkpoints.save_checkpoint(
        tmp_path, {"w": np.zeros(SIZE)}, 1, prefix="run/c_", **background
    )
    found = getattr(checkpoints, ask)(tmp_path, "run/c_")
    assert found == (path if ask == "latest_checkpoint" else [1])


def test_the_next_save_waits_for_those_of_others_to_the_folder(tmp_path, monkeypatch):
    real = checkpoint_msgpack.write_file

    def slow(*args):
        time.sleep(0.2)
        real(*args)

    monkeypatch.setattr(checkpoint_msgpack, "write_file", slow)
    manager = checkpoints.AsyncManager()
    checkpoints.save_checkpoint(tmp_path, {"w": 1}, 1, keep=9, async_manager=manager)
    checkpoints.save_checkpoint(tmp_path, {"w": 2}, 2, keep=9)
    assert checkpoints.available_steps(tmp_path) == [1, 2]


def test_a_folder_is_the_same_by_any_name(tmp_path, monkeypatch, background):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "link").symlink_to(tmp_path / "ckpts")
    checkpoints.save_checkpoint("ckpts", {"w": np.ones(SIZE)}, 1, **background)
    for name in ("link", tmp_path / "ckpts", "./ckpts/"):
        assert checkpoints.restore_checkpoint(name, None)["w"][0] == 1


def test_a_background_save_may_read_its_own_folder(tmp_path):
    checkpoints.save_checkpoint(tmp_path, {"w": 1}, 1)
    manager = checkpoints.AsyncManager()
    read = []
    task = pending.Task(
        str(tmp_path / "checkpoint_2"),
        lambda: read.append(checkpoints.restore_checkpoint(tmp_path, None)),
    )
    task.announce()
    manager.save_async(task)
    manager.wait_previous_save()
    assert read == [{"w": 1}]


def test_readers_do_not_take_the_error_of_a_save_away(tmp_path, monkeypatch):
    def fail(*args):
        raise OSError("No space left on device")

    manager = checkpoints.AsyncManager()
    with monkeypatch.context() as patched:
        patched.setattr(checkpoint_msgpack, "write_file", fail)
        checkpoints.save_checkpoint(tmp_path, {"w": 1}, 1, async_manager=manager)
        assert checkpoints.latest_checkpoint(tmp_path) is None
    with pytest.raises(OSError, match="No space left"):
        checkpoints.save_checkpoint(tmp_path, {"w": 2}, 2, async_manager=manager)


def failing_saver():
    ocp = orbax()

    class Failing:
        def result(self, timeout=None):
            raise OSError("No space left on device")

    class Handler(ocp.PyTreeCheckpointHandler):
        async def async_save(self, *args, **kwargs):
            return [*(await super().async_save(*args, **kwargs)), Failing()]

    return ocp.AsyncCheckpointer(Handler())


def test_a_checkpointer_that_failed_says_so_to_who_restores_with_it(tmp_path):
    saver = failing_saver()
    checkpoints.save_checkpoint(tmp_path, {"w": 1}, 1, orbax_checkpointer=saver)
    assert checkpoints.available_steps(tmp_path) == []
    with pytest.raises(OSError, match="No space left"):
        checkpoints.restore_checkpoint(tmp_path, {"w": 0}, orbax_checkpointer=saver)
    saver.close()


def test_a_failed_save_of_orbax_leaves_no_folder(tmp_path):
    saver = failing_saver()
    checkpoints.save_checkpoint(tmp_path, {"w": 1}, 1, orbax_checkpointer=saver)
    checkpoints.latest_checkpoint(tmp_path)
    assert os.listdir(tmp_path) == []
    with pytest.raises(OSError, match="No space left"):
        checkpoints.save_checkpoint(tmp_path, {"w": 1}, 2)
    saver.close()


def test_each_failure_surfaces_once():
    errors = [ValueError(str(n)) for n in range(3)]

    def fail(error):
        raise error

    for error in errors:
        pending.add(pending.BackgroundSave("some/c_1", lambda error=error: fail(error)))
    pending.settle("some", "c_")
    for error in errors:
        with pytest.raises(ValueError, match=str(error)):
            pending.raise_failed("some", "c_")
    pending.raise_failed("some", "c_")


def test_a_task_that_is_never_run_is_not_waited_for():
    task = pending.Task("some/c_1", lambda: None)
    task.announce()
    threading.Timer(0.05, task.cancel).start()
    pending.settle("some", "c_")


def test_saving_while_jax_traces_is_an_error(tmp_path):
    from batiste.training.errors import TracedCheckpointError

    def save(x, step=1):
        checkpoints.save_checkpoint(tmp_path / "new", {"params": {"w": x}}, step)
        return x

    with pytest.raises(TracedCheckpointError, match="params/w"):
        jax.jit(save)(1.0)
    with pytest.raises(TracedCheckpointError, match="step"):
        jax.jit(lambda step: save(0.0, step))(1)
    for transform in (jax.grad, jax.vmap):
        x = 1.0 if transform is jax.grad else np.ones(2)
        with pytest.raises(TypeError, match="io_callback"):
            transform(save)(x)
    assert not (tmp_path / "new").exists()
