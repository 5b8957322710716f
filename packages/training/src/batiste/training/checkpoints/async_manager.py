"""One background thread for saving checkpoints."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

__all__ = [
    "AsyncManager",
]


class AsyncManager:
    """Runs one save at a time in the background.

    Give the same manager to every `save_checkpoint` of a program. A save waits for the
    one before it, so that `keep` and `overwrite` see finished checkpoints. An error in
    a background save is raised, once, by the next `save_async`, `save_checkpoint` or
    `wait_previous_save`. A program that ends waits for the last save.

    Args:
      max_workers: number of threads; more than one has no use, since saves wait for
        each other.

    >>> import tempfile
    >>> from batiste.training import checkpoints
    >>> manager = checkpoints.AsyncManager()
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = checkpoints.save_checkpoint(
    ...         folder, {'w': 1}, step=0, async_manager=manager)
    ...     manager.wait_previous_save()
    ...     checkpoints.restore_checkpoint(folder, target=None)
    {'w': 1}
    """

    def __init__(self, max_workers: int = 1):
        self.executor = ThreadPoolExecutor(
            max_workers=max_workers, thread_name_prefix="batiste-checkpoint"
        )
        self.save_future: Future[object] | None = None
        self._lock = threading.Lock()

    def wait_previous_save(self) -> None:
        """Waits until the last save is done.

        Raises:
          Exception: whatever the save raised.

        >>> AsyncManager().wait_previous_save()
        """
        with self._lock:
            future, self.save_future = self.save_future, None
        if future is not None:
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
        self.wait_previous_save()
        with self._lock:
            self.save_future = self.executor.submit(task)
