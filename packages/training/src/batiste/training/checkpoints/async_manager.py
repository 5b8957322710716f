"""One background thread for saving checkpoints."""

from __future__ import annotations

import concurrent.futures
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

from . import at_exit

__all__ = [
    "AsyncManager",
]

# Of all managers: what is under way, and what has failed without anyone knowing.
_unseen: set[Future[object]] = set()


class AsyncManager:
    """Runs one save at a time in the background.

    Give the same manager to every `save_checkpoint` of a program. A save waits for the
    one before it, so that `keep` and `overwrite` see finished checkpoints. An error in
    a background save is raised, once, by the next `save_async`, `save_checkpoint` or
    `wait_previous_save`, in whatever thread. A program that ends waits for the last
    save; if that has failed, the error is logged and the exit status is 120.

    Args:
      max_workers: number of threads; more than one has no use, since saves wait for
        each other.

    >>> import tempfile
    >>> from batiste.training import checkpoints
    >>> manager = checkpoints.AsyncManager()
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = checkpoints.save_checkpoint(
    ...         folder, {'w': 1}, step=0, async_manager=manager)
    ...     checkpoints.restore_checkpoint(folder, target=None)
    {'w': 1}
    """

    def __init__(self, max_workers: int = 1):
        self.executor = ThreadPoolExecutor(
            max_workers=max_workers, thread_name_prefix="batiste-checkpoint"
        )
        self.save_future: Future[object] | None = None
        self._turn = threading.RLock()
        self._working = threading.local()

    def wait_previous_save(self) -> None:
        """Waits until the last save is done.

        Raises:
          Exception: whatever the save raised.

        >>> AsyncManager().wait_previous_save()
        """
        if self._is_called_by_a_save():
            return
        with self._turn:
            future = self.save_future
            if future is None:
                return
            # An interrupt while waiting leaves the save to be waited for.
            concurrent.futures.wait([future])
            if self.save_future is future:
                self.save_future = None
            _unseen.discard(future)
            future.result()

    def save_async(self, task: Callable[[], object]) -> None:
        """Waits for the last save, then runs `task` in the background.

        Args:
          task: what to run.

        Raises:
          Exception: whatever the last save raised. `task` is then not run.

        >>> saved = []
        >>> manager = AsyncManager()
        >>> manager.save_async(lambda: saved.append(1))
        >>> manager.wait_previous_save()
        >>> saved
        [1]
        """
        if self._is_called_by_a_save():
            self._start(task)
            return
        # No other thread may start a save between the two, or that one's outcome
        # would be forgotten.
        with self._turn:
            self.wait_previous_save()
            self._start(task)

    def _is_called_by_a_save(self) -> bool:
        """A save that waited for itself, or for its turn, would wait for ever."""
        return getattr(self._working, "now", False)

    def _start(self, task: Callable[[], object]) -> None:
        future: Future[object] = self.executor.submit(self._work, task)
        _unseen.add(future)
        self.save_future = future
        future.add_done_callback(_forget_success)

    def _work(self, task: Callable[[], object]) -> object:
        self._working.now = True
        try:
            return task()
        finally:
            self._working.now = False


def _forget_success(future: Future[object]) -> None:
    if not future.cancelled() and future.exception() is None:
        _unseen.discard(future)


@at_exit.watch
def _all_at_exit() -> Iterator[tuple[str, BaseException]]:
    concurrent.futures.wait(list(_unseen))
    for future in list(_unseen):
        _unseen.discard(future)
        try:
            error = future.exception()
        except concurrent.futures.CancelledError as cancelled:
            error = cancelled
        if error is not None:
            yield "A save of an AsyncManager", error


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_unseen.clear)
