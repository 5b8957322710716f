"""An iterator that draws the next items in a background thread."""

from __future__ import annotations

import threading
import weakref
from collections import deque
from collections.abc import Iterable, Iterator
from typing import Any

__all__ = [
    "PrefetchIterator",
]


class _Buffer:
    """Items between the thread and the iterator, and how the source ended."""

    def __init__(self, size: int):
        self.size = size
        self.items: deque[Any] = deque()
        self.changed = threading.Condition()
        self.active = True
        self.error: BaseException | None = None

    def stop(self) -> None:
        with self.changed:
            self.active = False
            self.changed.notify_all()


def _fill(source: Iterator[Any], buffer: _Buffer) -> None:
    # This function holds no reference to the PrefetchIterator, so an abandoned
    # iterator can be collected, and its finalizer ends this thread.
    while True:
        try:
            item = next(source)
        except StopIteration:
            break
        except BaseException as error:
            buffer.error = error
            break
        with buffer.changed:
            buffer.items.append(item)
            buffer.changed.notify_all()
            while buffer.active and len(buffer.items) >= buffer.size:
                buffer.changed.wait()
            if not buffer.active:
                return
    buffer.stop()


class PrefetchIterator:
    """Iterates over `data_iter`, drawing up to `buffer_size` items ahead.

    The items are drawn in one background thread, in order, while the caller works on
    earlier ones. An error in `data_iter` is raised by `next` after the items before it.

    `tf.data` and most loaders have a prefetch of their own, which is faster; this class
    is for plain Python iterators.

    Args:
      data_iter: the iterator, or any iterable.
      buffer_size: number of items to hold, at least 1.

    Raises:
      ValueError: `buffer_size` is less than 1.

    >>> from batiste.training.prefetch_iterator import PrefetchIterator
    >>> list(PrefetchIterator(iter(range(4)), buffer_size=2))
    [0, 1, 2, 3]
    """

    def __init__(self, data_iter: Iterable[Any], buffer_size: int = 1):
        if buffer_size < 1:
            raise ValueError(
                f"PrefetchIterator: buffer_size is {buffer_size}; it must be 1 or more."
            )
        self._buffer = _Buffer(buffer_size)
        self._thread = threading.Thread(
            target=_fill,
            args=(iter(data_iter), self._buffer),
            name="batiste-prefetch",
            daemon=True,
        )
        self._finalizer = weakref.finalize(self, self._buffer.stop)
        self._thread.start()

    def __iter__(self) -> PrefetchIterator:
        return self

    def __next__(self) -> Any:
        buffer = self._buffer
        with buffer.changed:
            while buffer.active and not buffer.items:
                buffer.changed.wait()
            if buffer.items:
                item = buffer.items.popleft()
                buffer.changed.notify_all()
                return item
        if buffer.error is not None:
            raise buffer.error
        raise StopIteration

    def close(self) -> None:
        """Stops drawing items and ends the thread.

        Items that are already in the buffer can still be taken; then the iteration
        ends. Waits until the source has returned the item that it is working on.

        >>> items = PrefetchIterator(iter(range(10)))
        >>> next(items)
        0
        >>> items.close()
        """
        self._buffer.stop()
        self._thread.join()
