"""The base class of every error, and the text helpers that messages share."""

import difflib
from collections.abc import Iterable, Mapping
from typing import Any

__all__ = [
    "BatisteError",
    "FlaxError",
    "collection_names",
    "name_hint",
    "nearest_names",
    "path_text",
    "quoted",
    "short_repr",
]


class FlaxError(Exception):
    """The base class of all errors that Batiste raises on its own account.

    Catch it to handle any of them. An instance can be pickled and copied, whatever
    the signature of its class: the copy has the type, the `args`, the message and
    the attributes of the original. Subclasses keep the values that they were made
    from (names, paths, shapes) as attributes, so that a program need not parse text.

    Args:
      message: the whole text, as `str(error)` gives it.

    >>> import pickle
    >>> error = FlaxError('nothing works')
    >>> str(pickle.loads(pickle.dumps(error)))
    'nothing works'
    """

    def __init__(self, message: str) -> None:
        super().__init__(message)

    # Exceptions are pickled as `cls(*args)`, which fails for every class whose
    # parameters are not its message.
    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), self.args), dict(self.__dict__) or None


BatisteError = FlaxError


def _rebuild(cls: type[BaseException], args: tuple[Any, ...]) -> BaseException:
    return cls.__new__(cls, *args)


def path_text(path: str | Iterable[object]) -> str:
    """Writes a scope path the way messages show it.

    Args:
      path: the text itself, or the names from the root down.

    Returns:
      The names joined by slashes, after a leading slash.

    >>> path_text(('encoder', 'Dense_0'))
    '/encoder/Dense_0'
    >>> path_text('/encoder')
    '/encoder'
    """
    if isinstance(path, str):
        return path
    return "/" + "/".join(str(name) for name in path)


def short_repr(value: object, limit: int = 120) -> str:
    """Describes a value in one line: arrays by dtype and shape, others by `repr`.

    Args:
      value: anything, also something whose own `repr` fails.
      limit: the greatest length in characters; longer text is cut in the middle.

    Returns:
      One line.

    >>> import numpy as np
    >>> short_repr(np.zeros((3, 2), 'float32'))
    'float32[3,2]'
    >>> short_repr('x' * 50, limit=20)
    "'xxxxxxx...xxxxxxxx'"
    """
    shape, dtype = getattr(value, "shape", None), getattr(value, "dtype", None)
    if isinstance(shape, tuple) and dtype is not None and not isinstance(value, type):
        return f"{dtype}[{','.join(map(str, shape))}]"
    try:
        text = repr(value)
    except Exception:
        text = object.__repr__(value)
    text = " ".join(text.split())
    if len(text) <= limit:
        return text
    kept = max(limit - 3, 2)
    return f"{text[: kept // 2]}...{text[-(kept - kept // 2) :]}"


def quoted(names: Iterable[object], limit: int = 8) -> str:
    """Lists names in quotes.

    Args:
      names: the names.
      limit: how many of them are written out; the rest is counted.

    Returns:
      The names with commas between them.

    >>> quoted(['bias', 'kernel', 'scale'], limit=2)
    '"bias", "kernel" and 1 more'
    """
    every = [f'"{name}"' for name in names]
    text = ", ".join(every[:limit])
    more = len(every) - limit
    return f"{text} and {more} more" if more > 0 else text


def nearest_names(name: object, available: Iterable[object]) -> list[str]:
    """Finds the names that a misspelled name was probably meant to be, best first.

    Args:
      name: the name that was asked for.
      available: the names that exist.

    Returns:
      At most three names.

    >>> nearest_names('kernal', ['bias', 'kernel'])
    ['kernel']
    """
    return difflib.get_close_matches(str(name), [str(other) for other in available])


def name_hint(name: object, available: Iterable[object], owner: str = "It") -> str:
    """Says what exists, and which of it was probably meant.

    Args:
      name: the name that was asked for.
      available: the names that exist; with none of them the hint is empty.
      owner: the first word of the sentence.

    Returns:
      A sentence with a space before it, to append to a message, or `''`.

    >>> name_hint('kernal', {'bias': 0, 'kernel': 1})
    ' It has "bias", "kernel"; did you mean "kernel"?'
    >>> name_hint('kernal', ())
    ''
    """
    known = [str(other) for other in available]
    if not known:
        return ""
    near = nearest_names(name, known)
    guess = f'; did you mean "{near[0]}"?' if near else "."
    return f" {owner} has {quoted(known)}{guess}"


def collection_names(variables: object) -> list[str]:
    """Gives the keys of a mapping as text, and nothing for any other value.

    >>> collection_names({'params': {}}), collection_names(3)
    (['params'], [])
    """
    return [str(key) for key in variables] if isinstance(variables, Mapping) else []
