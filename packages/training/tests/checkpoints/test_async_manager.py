"""AsyncManager: one save at a time, and errors that surface once."""

import threading

import pytest

from batiste.core.config import config
from batiste.training import checkpoints
from batiste.training.checkpoints import AsyncManager
from batiste.training.checkpoints.save import checkpoint_msgpack, checkpoint_orbax


def test_a_save_waits_for_the_one_before():
    manager = AsyncManager(max_workers=2)
    release, order = threading.Event(), []

    def first():
        assert release.wait(20)
        order.append("first")

    manager.save_async(first)
    assert not order
    threading.Timer(0.05, release.set).start()
    manager.save_async(lambda: order.append("second"))
    manager.wait_previous_save()
    assert order == ["first", "second"]


def test_an_error_surfaces_once_in_wait_or_the_next_save():
    manager = AsyncManager()
    manager.save_async(lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        manager.wait_previous_save()
    manager.wait_previous_save()
    ran = []
    manager.save_async(lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        manager.save_async(lambda: ran.append(1))
    manager.wait_previous_save()
    assert not ran


def last_errors(manager):
    """What is left to be raised once all saves have been asked for."""
    found = []
    while True:
        try:
            manager.wait_previous_save()
        except OSError as error:
            found.append(error)
        else:
            return found


def test_each_failure_of_six_threads_surfaces():
    manager, threads, saves = AsyncManager(), 6, 10
    failed, surfaced, together = [], [], threading.Barrier(threads)

    def fail(number):
        failed.append(number)
        raise OSError(f"No space left for {number}")

    def save(thread):
        together.wait()
        for number in range(thread * saves, (thread + 1) * saves):
            try:
                manager.save_async(lambda number=number: fail(number))
            except OSError as error:
                surfaced.append(str(error))

    running = [threading.Thread(target=save, args=(i,)) for i in range(threads)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    surfaced += map(str, last_errors(manager))
    assert len(failed) >= threads * saves // 2
    assert sorted(surfaced) == sorted(f"No space left for {n}" for n in failed)


@pytest.mark.parametrize("by_orbax", [False, True])
def test_each_failure_of_six_threads_that_save_checkpoints_surfaces(
    tmp_path, monkeypatch, by_orbax
):
    if by_orbax:
        pytest.importorskip("orbax.checkpoint", reason="needs the extra 'orbax'")
    manager, threads, saves = AsyncManager(), 6, 5
    failed, surfaced, together = [], [], threading.Barrier(threads)

    def fail(*args):
        failed.append(args)
        raise OSError("No space left on device")

    monkeypatch.setattr(checkpoint_msgpack, "write_file", fail)
    monkeypatch.setattr(checkpoint_orbax, "save", fail)

    def save(thread):
        together.wait()
        for step in range(saves):
            try:
                checkpoints.save_checkpoint(
                    tmp_path / str(thread), {"w": step}, step, async_manager=manager
                )
            except OSError as error:
                surfaced.append(error)

    before = config.use_orbax_checkpointing
    config.update("use_orbax_checkpointing", by_orbax)
    try:
        running = [threading.Thread(target=save, args=(i,)) for i in range(threads)]
        for thread in running:
            thread.start()
        for thread in running:
            thread.join()
    finally:
        config.update("use_orbax_checkpointing", before)
    surfaced += last_errors(manager)
    assert len(failed) >= threads * saves // 2
    assert len(surfaced) == len(failed)
    assert len(set(map(id, surfaced))) == len(surfaced)


def test_a_save_that_is_made_by_a_save_waits_for_nobody():
    manager, made = AsyncManager(), []

    def outer():
        manager.wait_previous_save()  # itself, that would be for ever
        manager.save_async(lambda: made.append("inner"))
        made.append("outer")

    manager.save_async(outer)
    while made != ["outer", "inner"]:
        manager.wait_previous_save()
