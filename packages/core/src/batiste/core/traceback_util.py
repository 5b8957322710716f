"""Tracebacks without the library's own frames, which are rarely what a user seeks."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from types import CodeType, TracebackType
from typing import ParamSpec, TypeVar

from .config import config

__all__ = [
    "api_boundary",
    "hide_batiste_in_tracebacks",
    "hide_flax_in_tracebacks",
    "hide_frames",
    "register_exclusion",
    "show_batiste_in_tracebacks",
    "show_flax_in_tracebacks",
]

P = ParamSpec("P")
R = TypeVar("R")

_excluded: tuple[str, ...] = ()


def register_exclusion(path: str) -> None:
    """Counts the code of a file or folder as internal: tracebacks leave it out.

    A library built on Batiste may register itself, as Batiste's packages do.

    Args:
      path: the file or folder, as in a module's `__file__`.

    >>> import os
    >>> register_exclusion(os.path.join(os.sep, 'no', 'such', 'library'))
    """
    global _excluded
    if not path.endswith(".py"):
        # A folder must not take along its neighbours whose names begin alike.
        path = os.path.join(path, "")
    if path not in _excluded:
        _excluded = (*_excluded, path)


register_exclusion(os.path.dirname(__file__))


def hide_flax_in_tracebacks() -> None:
    """Leaves the library's frames out of tracebacks, which is the default.

    The environment variable `BATISTE_FILTER_FRAMES` sets it from outside.

    >>> hide_flax_in_tracebacks()
    """
    config.update("filter_frames", True)


def show_flax_in_tracebacks() -> None:
    """Keeps the library's frames in tracebacks.

    >>> show_flax_in_tracebacks()
    >>> hide_flax_in_tracebacks()
    """
    config.update("filter_frames", False)


hide_batiste_in_tracebacks = hide_flax_in_tracebacks
show_batiste_in_tracebacks = show_flax_in_tracebacks


def api_boundary(fun: Callable[P, R]) -> Callable[P, R]:
    """Lets exceptions that leave a function carry no frames of the library.

    The exception stays the same object, with its type, arguments, notes, cause and
    context; and every frame of the user's code stays. A call that raises nothing
    costs one more function call.

    Args:
      fun: a function that users call.

    Returns:
      A function of the same signature.

    >>> @api_boundary
    ... def double(x):
    ...     return 2 * x
    >>> double(4)
    8
    """

    @functools.wraps(fun)
    def inner(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return fun(*args, **kwargs)
        except Exception as error:
            hide_frames(error)
            raise

    return inner


def hide_frames(error: BaseException) -> None:
    """Takes the library's frames out of an exception's traceback, unless they show.

    For the handler that ends with a bare `raise`: that adds no frame of its own, so
    what is set here is what is left.

    Args:
      error: the exception that is being handled.

    >>> try:
    ...     raise ValueError('no')
    ... except ValueError as error:
    ...     hide_frames(error)
    """
    if config.filter_frames:
        error.__traceback__ = _without_excluded(error.__traceback__)


def _without_excluded(traceback: TracebackType | None) -> TracebackType | None:
    entries = []
    while traceback is not None:
        entries.append(traceback)
        traceback = traceback.tb_next
    kept = None
    for entry in reversed(entries):
        if _is_internal(entry.tb_frame.f_code):
            continue
        if entry.tb_next is not kept:
            entry = TracebackType(kept, entry.tb_frame, entry.tb_lasti, entry.tb_lineno)
        kept = entry
    return kept


def _is_internal(code: CodeType) -> bool:
    if code.co_filename.startswith(_excluded):
        return True
    # The constructor that `dataclasses` generates between a user's line and a
    # module's `__post_init__`; it has no source to show.
    return (
        code.co_filename == "<string>"
        and code.co_name == "__init__"
        and "__post_init__" in code.co_names
    )
