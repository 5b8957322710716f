"""Errors of arguments: a field of a layer, or what a function was called with."""

from .base import FlaxError

__all__ = ["InvalidArgumentError"]


class InvalidArgumentError(FlaxError, TypeError, ValueError):
    """An argument, or the field of a module, is none of those that are accepted.

    It is a `TypeError` and a `ValueError`, so that programs which catch either go on
    doing so: whether `features="8"` is of the wrong type or has the wrong value is
    nothing that a caller should have to know.

    Args:
      message: the whole text; it says where, which argument, its value, and what is
        accepted.
      where: the layer and its path, or the function.
      argument: the name of the argument.

    >>> print(InvalidArgumentError('Dense: features=-1 is not a positive integer.'))
    Dense: features=-1 is not a positive integer.
    """

    def __init__(
        self, message: str, *, where: str | None = None, argument: str | None = None
    ) -> None:
        self.where, self.argument = where, argument
        super().__init__(message)
