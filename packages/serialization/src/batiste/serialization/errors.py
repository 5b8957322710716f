"""The one error of this package."""

from __future__ import annotations

import difflib
import itertools
from collections.abc import Iterable

__all__ = [
    "LISTED",
    "NEAREST",
    "SerializationError",
    "UnserializableTypeError",
    "join_path",
    "listed",
    "nearest",
    "printable",
    "shortened",
]


NEAREST: int = 3  # names offered for one that is not found
LISTED: int = 20  # names of one kind in a message; a hostile map may hold millions
_NAME: int = 200  # characters of one name
_PATH: int = 400  # characters of a path
_REASON: int = 8000  # characters of what happened: twice as many names as are listed


class SerializationError(ValueError):
    r"""Bytes, a state dict or a value that cannot be saved or restored.

    Everything in this package that refuses its input raises this, whether the bytes
    are damaged, the keys of a state dict do not fit their target, or a value has no
    place in the format. Nothing has been changed when it is raised: restoring builds
    new objects and returns them only once all of them are there.

    Attributes:
      reason: what happened and what to do, without the place.
      path: the branch names from the root, joined with `/`, such as
        `params/Dense_0/kernel`; empty for the root, None where there is no tree.
      offset: the position in the input, in bytes, at which the item begins that could
        not be read; None for errors that are not about bytes.

    >>> from batiste.serialization import SerializationError, msgpack_restore
    >>> try:
    ...     msgpack_restore(b"\x81\xa4bias\xcb\x00")
    ... except SerializationError as error:
    ...     print(error.path, error.offset)
    ...     print(error)
    bias 6
    The data ends inside this item (bytes missing: at least 7): it was cut short, or is
    still being written. (at bias, byte 6)
    """

    def __init__(
        self, reason: str, path: str | None = None, offset: int | None = None
    ) -> None:
        super().__init__(reason, path, offset)
        self.reason = reason
        self.path = path
        self.offset = offset

    def __str__(self) -> str:
        place = []
        if self.path is not None:
            path = shortened(printable(self.path), _PATH)
            place.append(f"at {path}" if path else "at the root")
        if self.offset is not None:
            place.append(f"byte {self.offset}")
        reason = shortened(printable(self.reason), _REASON)
        return f"{reason} ({', '.join(place)})" if place else reason

    def __reduce__(
        self,
    ) -> tuple[type[SerializationError], tuple[str, str | None, int | None]]:
        return type(self), (self.reason, self.path, self.offset)


class UnserializableTypeError(SerializationError, TypeError):
    """A value of a type that has no place in the format.

    A `SerializationError` that is also a `TypeError`, which is what serializers
    commonly raise here.

    >>> from batiste.serialization import to_bytes
    >>> to_bytes({"params": {"seen": {1, 2}}})
    Traceback (most recent call last):
    ...
    batiste.serialization.errors.UnserializableTypeError: A value of type 'set' cannot
    be serialized. Convert it first, register the type with
    register_serialization_state, or give it the methods __to_state_dict__ and
    __from_state_dict__. (at params/seen)
    """


def join_path(keys: Iterable[object]) -> str:
    r"""Writes branch names as one path, for a message.

    What does not print as itself is escaped, and what is long is cut: the names may be
    those of a hostile file.

    >>> join_path(("params", "Dense_0", 1))
    'params/Dense_0/1'
    >>> join_path(("\x1b[2J",)) == r"\x1b[2J"
    True
    """
    names = (k if isinstance(k, str) else repr(k) for k in keys)
    return shortened("/".join(printable(shortened(n)) for n in names), _PATH)


def printable(text: str) -> str:
    r"""Escapes what does not print as itself, as the sequences that steer a terminal.

    >>> printable("a\x1b[31m") == r"a\x1b[31m"
    True
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def shortened(text: str, length: int = _NAME) -> str:
    """Cuts the middle out of what is longer than a message should be.

    >>> shortened("kernel"), shortened("abcdefghij", 5)
    ('kernel', 'abc…ij')
    """
    if len(text) <= length:
        return text
    return f"{text[: length - length // 2]}…{text[-(length // 2) :]}"


def listed(names: Iterable[object]) -> str:
    """Lists names for a message, quoted and in order, at most `LISTED` of them.

    >>> listed(["kernel", "bias", 1])
    "'kernel', 'bias', 1"
    """
    found = list(names)
    shown = ", ".join(_quoted(name) for name in found[:LISTED])
    rest = len(found) - LISTED
    return shown + (f" and {rest} more" if rest > 0 else "")


def nearest(name: str, names: Iterable[object]) -> str:
    """Makes a hint out of the names that resemble one.

    Args:
      name: the name that was not found.
      names: those that are there.

    Returns:
      The end of a sentence; an empty string if none of them do.

    >>> nearest("kernal", ["kernel", "bias"])
    "; the nearest to 'kernal': 'kernel'"
    """
    others = (n for n in names if isinstance(n, str) and n != name and len(n) <= _NAME)
    candidates = list(itertools.islice(others, 1000))
    close = difflib.get_close_matches(name[:200], candidates, NEAREST, cutoff=0.6)
    return f"; the nearest to {_quoted(name)}: {listed(close)}" if close else ""


def _quoted(name: object) -> str:
    # The text is cut first: what is quoted may be four times as long.
    name = shortened(name) if isinstance(name, str) else name
    return printable(shortened(repr(name)))
