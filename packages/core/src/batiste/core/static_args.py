"""Static arguments by position and by name: one argument, whichever way it comes."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Sequence
from typing import Any

from . import errors
from .types import Function

__all__ = ["as_tuple", "in_either_order", "static_args"]


def as_tuple(value: Any) -> tuple[Any, ...]:
    """Returns one position or name, or several, as a tuple.

    >>> as_tuple(1), as_tuple("x"), as_tuple([1, 2])
    ((1,), ('x',), (1, 2))
    """
    return (value,) if isinstance(value, (int, str)) else tuple(value)


def in_either_order(
    static_argnames: Any, donate_argnums: Any, device: Any, backend: Any, *others: Any
) -> tuple[Any, ...]:
    """Returns the last arguments of a `jit`, given by position in one of two orders.

    As documented, `donate_argnums, device, backend` come one place earlier, and
    `static_argnames` not at all: numbers that are to be names, or a device in the place
    of numbers.

    Args:
      static_argnames: what was given in its place.
      donate_argnums: likewise, as the others.
      device: what was given in its place.
      backend: what was given in its place.
      *others: what follows, and may stand in the place before, too.

    Returns:
      The arguments, each in its place.

    >>> in_either_order((1,), (), None, None), in_either_order("x", 1, None, None)
    (((), (1,), None, None), (('x',), 1, None, None))
    """
    names = as_tuple(static_argnames)
    last = device, backend, *others
    no_numbers = not isinstance(donate_argnums, int | Iterable)
    if not no_numbers and donate_argnums != ():
        return names, donate_argnums, *last
    if any(isinstance(name, str) for name in names) or not (names or no_numbers):
        return names, donate_argnums or (), *last
    if no_numbers and (device is not None or not isinstance(backend, str | None)):
        last = donate_argnums, *last[:-1]
    elif no_numbers:
        last = donate_argnums, *last[1:]
    return (), names, *last


def static_args(
    transform: str,
    fn: Function,
    argnums: Sequence[int],
    argnames: Sequence[str],
    skipped: int,
) -> tuple[tuple[int, ...], tuple[str, ...]]:
    """Returns the positions and the names of all static arguments.

    An argument that was listed by its position is static also where it is passed by
    keyword, and the other way round.

    Args:
      transform: the name of the transform, for errors.
      fn: the function, in whose signature they are looked up.
      argnums: the positions that were listed.
      argnames: the names that were.
      skipped: how many parameters come before the one that is number 0.

    Raises:
      InvalidArgumentError: the function has no such argument.

    >>> static_args("jit", lambda scope, x, train: x, (1,), (), skipped=1)
    ((1,), ('train',))
    """
    if not argnums and not argnames:
        return (), ()
    try:
        parameters = list(inspect.signature(fn).parameters.values())
    except (TypeError, ValueError):
        return tuple(argnums), tuple(argnames)
    kinds = {parameter.kind for parameter in parameters}
    positional = [p for p in parameters if p.kind in _POSITIONAL][skipped:]
    by_name = {p.name: p for p in parameters if p.kind in _BY_NAME}
    numbers, names = list(argnums), list(argnames)
    for number in argnums:
        if -len(positional) <= number < len(positional):
            # Counted from the end, it is one of those that are passed.
            if number >= 0 and positional[number].name in by_name:
                names.append(positional[number].name)
        elif inspect.Parameter.VAR_POSITIONAL not in kinds:
            raise _no_such(transform, "static_argnums", number, fn, positional, skipped)
    for name in argnames:
        places = [i for i, p in enumerate(positional) if p.name == name]
        known = places or name in by_name
        if not known and inspect.Parameter.VAR_KEYWORD not in kinds:
            raise _no_such(transform, "static_argnames", name, fn, positional, skipped)
        numbers += places
    return tuple(dict.fromkeys(numbers)), tuple(dict.fromkeys(names))


_POSITIONAL = (
    inspect.Parameter.POSITIONAL_ONLY,
    inspect.Parameter.POSITIONAL_OR_KEYWORD,
)
_BY_NAME = (
    inspect.Parameter.POSITIONAL_OR_KEYWORD,
    inspect.Parameter.KEYWORD_ONLY,
)


def _no_such(
    transform: str,
    argument: str,
    value: Any,
    fn: Function,
    positional: Iterable[inspect.Parameter],
    skipped: int,
) -> errors.InvalidArgumentError:
    name = getattr(fn, "__qualname__", type(fn).__name__)
    listed = ", ".join([f"{i}: {p.name}" for i, p in enumerate(positional)])
    first = ", counted without the scope" if skipped else ""
    return errors.InvalidArgumentError(
        f"{argument} of {transform} has {value!r}, but {name} has no such argument. "
        f"Its arguments{first} are {{{listed}}}.",
        where=name,
        argument=argument,
    )
