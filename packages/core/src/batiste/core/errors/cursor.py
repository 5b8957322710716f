"""Errors of walking over trees with conditions and update functions."""

from .base import FlaxError, short_repr

__all__ = [
    "CursorFindError",
    "TraverseTreeError",
]


class CursorFindError(FlaxError):
    """A search that must find exactly one object found none, or more than one.

    Args:
      cursor: the first object found; None if there was none.
      cursor2: the second object found; None if there was none.

    >>> print(CursorFindError())
    No object meets the condition. Loosen it, or search from another place.
    """

    def __init__(self, cursor: object = None, cursor2: object = None) -> None:
        if cursor is None or cursor2 is None:
            text = (
                "No object meets the condition. Loosen it, or search from another "
                "place."
            )
        else:
            text = (
                f"More than one object meets the condition: {short_repr(cursor)} and "
                f"{short_repr(cursor2)}. Narrow it, or search for all of them."
            )
        super().__init__(text)


class TraverseTreeError(FlaxError):
    """Neither or both of an update function and a condition were given.

    A name of Flax's, for programs that catch it: nothing in Batiste raises it.

    Args:
      update_fn: the update function, or None.
      cond_fn: the condition, or None.

    >>> print(TraverseTreeError(None, None))
    Give an update function or a condition, and not both; neither was given.
    """

    def __init__(self, update_fn: object, cond_fn: object) -> None:
        given = "neither was" if update_fn is None and cond_fn is None else "both were"
        super().__init__(
            f"Give an update function or a condition, and not both; {given} given."
        )
