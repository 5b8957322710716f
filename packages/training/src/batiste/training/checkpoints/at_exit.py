"""What happens to background saves when the program ends.

Python stops the threads that Orbax and asyncio work with before the functions of
`atexit` run, so that a save which is under way by then fails. Saves are therefore
waited for before. One that failed, and whose error nobody has seen, is reported on the
log, and the program ends with the status 120, which Python has for what goes wrong
while it ends.
"""

from __future__ import annotations

import atexit
import logging
import sys
import threading
from collections.abc import Callable, Iterator

__all__ = [
    "fail",
    "report",
    "watch",
]

_log = logging.getLogger(__name__)
# Each waits for what it watches, and yields what failed unseen: what it was, and why.
Watcher = Callable[[], Iterator[tuple[str, BaseException]]]
_watchers: list[Watcher] = []


def watch(watcher: Watcher) -> Watcher:
    """Has something waited for and asked when the program ends.

    Args:
      watcher: waits, and yields of each failure that nobody has seen what failed, and
        the error. It is asked once or twice.

    >>> watch(lambda: iter(())) in _watchers
    True
    """
    _watchers.append(watcher)
    return watcher


def report() -> bool:
    """Waits for what is under way, and reports what failed unseen.

    Returns:
      Whether something did.

    >>> report()
    False
    """
    failed = False
    for watcher in _watchers:
        for what, error in watcher():
            failed = True
            _log.critical(
                "%s failed in the background, and nothing in the program has asked for "
                "the outcome: %r. What it was to save is lost. Call "
                "wait_previous_save() or wait_until_finished() at the end of a "
                "program.",
                what,
                error,
                exc_info=error,
            )
    return failed


class _FailingStream:
    """Standard error, which cannot be flushed once Python has shut down."""

    def __init__(self, stream: object):
        self._stream = stream

    def __getattr__(self, name: str) -> object:
        return getattr(self._stream, name)

    def flush(self) -> None:
        self._stream.flush()  # pyright: ignore[reportAttributeAccessIssue]
        if sys.is_finalizing():
            raise OSError("a save failed in the background")


def fail() -> None:
    """Gives the program, when it ends, the status 120.

    Python has this status for standard streams that cannot be flushed at the very end.
    All functions of `atexit` run as ever.

    >>> import subprocess
    >>> program = "from batiste.training.checkpoints import at_exit; at_exit.fail()"
    >>> subprocess.run([sys.executable, "-c", program]).returncode
    120
    """
    if sys.stderr is not None and not isinstance(sys.stderr, _FailingStream):
        sys.stderr = _FailingStream(sys.stderr)


@atexit.register
def _at_exit() -> None:
    if report():
        fail()


# Not documented, but there since Python 3.9, and what `concurrent.futures` itself uses.
# Without it, saves that Python stops are reported as failed by the function above.
_register = getattr(threading, "_register_atexit", None)
if _register is not None:
    _register(_at_exit)
