"""PrefetchIterator: order, errors, closing, and its thread."""

import gc
import threading

import pytest

from batiste.training.prefetch_iterator import PrefetchIterator


@pytest.mark.parametrize("size", [1, 2, 100])
def test_items_come_in_order_and_then_it_stops(size):
    items = PrefetchIterator(iter(range(20)), size)
    assert iter(items) is items
    assert list(items) == list(range(20))
    with pytest.raises(StopIteration):
        next(items)
    with pytest.raises(StopIteration):
        next(items)


def test_a_list_works_too():
    assert list(PrefetchIterator([1, 2])) == [1, 2]


def test_an_error_comes_after_the_items_before_it_and_again():
    def source():
        yield 1
        yield 2
        raise KeyError("boom")

    items = PrefetchIterator(source(), 5)
    assert [next(items), next(items)] == [1, 2]
    for _ in range(2):
        with pytest.raises(KeyError, match="boom"):
            next(items)


@pytest.mark.parametrize("size", [0, -1])
def test_the_buffer_must_hold_something(size):
    with pytest.raises(ValueError, match=f"buffer_size is {size}"):
        PrefetchIterator(iter([]), size)


def test_it_draws_no_more_than_the_buffer_holds():
    drawn = []
    reached = threading.Event()

    def source():
        for i in range(10):
            drawn.append(i)
            if i == 2:
                reached.set()
            yield i

    items = PrefetchIterator(source(), 2)
    assert next(items) == 0
    assert reached.wait(20)
    assert len(drawn) <= 4
    items.close()


def test_close_ends_the_thread_and_leaves_the_buffer():
    items = PrefetchIterator(iter(range(10)), 3)
    assert next(items) == 0
    items.close()
    rest = list(items)
    assert rest == list(range(1, 1 + len(rest)))
    assert len(rest) <= 3
    assert not items._thread.is_alive()


def test_an_abandoned_iterator_ends_its_thread():
    items = PrefetchIterator(iter(range(10)))
    thread = items._thread
    del items
    gc.collect()
    thread.join(20)
    assert not thread.is_alive()
