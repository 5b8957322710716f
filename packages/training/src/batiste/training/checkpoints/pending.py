"""The saves that go on in the background, by checkpoint.

Who reads a folder waits for the saves to it that this program has started, so that
`save_checkpoint` and, on the next line, `restore_checkpoint` give back what was saved.
What made a save fail is raised by the next save to the folder, or reported when the
program ends.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator

from .. import io
from . import at_exit

__all__ = [
    "BackgroundSave",
    "Task",
    "add",
    "raise_failed",
    "settle",
]


class BackgroundSave:
    """A save that was started and has not been followed up yet.

    Args:
      path: the checkpoint.
      finish: waits until the save is done, and does what is left to do; raises what
        made the save fail.
      checkpointer: what saves, if it is one that users hand to us.

    Attributes:
      path: the checkpoint, by a path that holds in whatever folder a thread is.
      checkpointer: as given.
      error: what made the save fail, or None.

    >>> save = BackgroundSave('a/checkpoint_1', lambda: 1 / 0)
    >>> save.settle()
    >>> save.error
    ZeroDivisionError('division by zero')
    """

    def __init__(
        self, path: str, finish: Callable[[], object], checkpointer: object = None
    ):
        self.path = _real(path)
        self.checkpointer = checkpointer
        self.error: Exception | None = None
        self._finish = finish
        self._done = False
        self._turn = threading.RLock()

    def settle(self) -> None:
        """Waits until the save is done, and notes what made it fail.

        >>> BackgroundSave('a/checkpoint_1', lambda: print('done')).settle()
        done
        """
        with self._turn:
            if self._done:
                return
            try:
                self._finish()
            except Exception as error:
                self.error = error
            self._done = True


class Task:
    """A function to be run by an `AsyncManager`, which readers wait for meanwhile.

    The manager raises what the function raises.

    Args:
      path: the checkpoint that it saves.
      run: the function.

    >>> task = Task('a/checkpoint_1', lambda: print('saved'))
    >>> task.announce()
    >>> task()
    saved
    """

    def __init__(self, path: str, run: Callable[[], object]):
        self._run = run
        self._over = threading.Event()
        self._thread: int | None = None
        self._pending = BackgroundSave(path, self._wait)

    def announce(self) -> None:
        """Has the function waited for, until it has run or is cancelled.

        >>> task = Task('a/checkpoint_1', print)
        >>> task.announce()
        >>> task.cancel()
        """
        add(self._pending)

    def __call__(self) -> None:
        """Runs the function.

        >>> Task('a/checkpoint_1', lambda: print('saved'))()
        saved
        """
        self._thread = threading.get_ident()
        try:
            self._run()
        finally:
            self.cancel()

    def cancel(self) -> None:
        """Lets nobody wait for the function any more.

        >>> Task('a/checkpoint_1', print).cancel()
        """
        self._thread = None
        self._over.set()
        _forget(self._pending)

    def _wait(self) -> None:
        if self._thread != threading.get_ident():
            self._over.wait()


_pending: list[BackgroundSave] = []
_guard = threading.Lock()


def add(save: BackgroundSave) -> None:
    """Has a save waited for, and followed up, by those who use its folder.

    >>> add(BackgroundSave('a/checkpoint_1', lambda: print('followed up')))
    >>> settle('a', 'checkpoint_')
    followed up
    """
    with _guard:
        if save not in _pending:
            _pending.append(save)


def settle(ckpt_dir: str, prefix: str = "") -> None:
    """Waits for the saves to a folder of checkpoints, or to a single checkpoint.

    Args:
      ckpt_dir: the folder, or the checkpoint.
      prefix: what the names of checkpoints begin with, which may name a folder.

    >>> settle('no such folder')
    """
    for save in _of(ckpt_dir, prefix):
        save.settle()
        if save.error is None:
            _forget(save)


def raise_failed(
    ckpt_dir: str | None, prefix: str = "", checkpointer: object = None
) -> None:
    """Waits for saves, and raises what made the first of them fail, once.

    Args:
      ckpt_dir: the folder that they save to, or None for all.
      prefix: what the names of checkpoints begin with, which may name a folder.
      checkpointer: only those that it does; None for all.

    Raises:
      Exception: what made it fail.

    >>> raise_failed('no such folder')
    """
    for save in _of(ckpt_dir, prefix):
        if checkpointer is not None and save.checkpointer is not checkpointer:
            continue
        save.settle()
        _forget(save)
        if save.error is not None:
            raise save.error


def _real(path: str) -> str:
    return path if io.is_remote(path) else os.path.realpath(path)


def _of(ckpt_dir: str | None, prefix: str) -> Iterator[BackgroundSave]:
    with _guard:
        current = list(_pending)
    if ckpt_dir is None or not current:
        yield from current
        return
    folder = _real(os.path.dirname(os.path.join(ckpt_dir, prefix)) or ".")
    single = _real(ckpt_dir)
    for save in current:
        if save.path == single or os.path.dirname(save.path) == folder:
            yield save


def _forget(save: BackgroundSave) -> None:
    with _guard:
        if save in _pending:
            _pending.remove(save)


@at_exit.watch
def _all_at_exit() -> Iterator[tuple[str, BaseException]]:
    for save in _of(None, ""):
        save.settle()
        _forget(save)
        if save.error is not None:
            yield f"The save of the checkpoint {save.path!r}", save.error


def _after_fork() -> None:
    """The threads that save are in the parent; nobody here may wait for them."""
    global _guard
    _guard = threading.Lock()
    _pending.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
