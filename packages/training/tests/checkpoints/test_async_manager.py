"""AsyncManager: one save at a time, and errors that surface once."""

import threading

import pytest

from batiste.training.checkpoints import AsyncManager


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
