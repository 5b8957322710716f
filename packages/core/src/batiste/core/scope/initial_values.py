"""What is wrong with an initializer, or with the shape that it is asked for."""

from __future__ import annotations

import math
import operator
import types
from collections.abc import Callable
from typing import Any, Final

from ..arguments import check_elements, is_explainable
from ..errors import InvalidArgumentError, short_repr
from ..rules import INITIALIZER, MOST_ELEMENTS, is_size
from .place import Place

__all__ = ["check_made", "check_sizes", "why_not_initialized"]

_FUNCTIONS: Final = (
    types.FunctionType,
    types.BuiltinFunctionType,
    types.MethodType,
    type,
)


def check_sizes(place: Place, name: str, init_args: tuple[Any, ...]) -> None:
    """Raises if a parameter would be larger than any that can be made.

    Args:
      place: the scope that it is in.
      name: its name.
      init_args: what its initializer is called with after the key; by custom, the
        first of them is its shape.

    Raises:
      InvalidArgumentError: it has more elements than any machine can hold.

    >>> from batiste.core import Scope
    >>> check_sizes(Scope({}), "kernel", ((3, 4), "float32"))
    """
    if not init_args or type(init_args[0]) is not tuple:
        return
    try:
        if math.prod(map(operator.index, init_args[0])) > MOST_ELEMENTS:
            check_elements(init_args[0])
    except InvalidArgumentError as error:
        raise InvalidArgumentError(
            f'Parameter "{name}" in scope "{place.path_text}": {error}',
            where=place.path_text,
            argument=name,
        ) from None
    except TypeError:
        pass  # it is no shape


def check_made(
    place: Place, name: str, init_fn: Callable[..., Any], value: object
) -> None:
    """Raises if what an initializer made is a function.

    Args:
      place: the scope of the parameter.
      name: its name.
      init_fn: its initializer.
      value: what that made.

    Raises:
      InvalidArgumentError: `init_fn` makes initializers, and was to be called.

    >>> from batiste.core import Scope
    >>> check_made(Scope({}), "kernel", int, 3)
    """
    if isinstance(value, _FUNCTIONS):
        called = f"{getattr(init_fn, '__name__', 'it')}()"
        raise InvalidArgumentError(
            f'Parameter "{name}" in scope "{place.path_text}": its initializer '
            f"{short_repr(init_fn)} returns a function and no array. Call it to get "
            f"the initializer: {called}.",
            where=place.path_text,
            argument=name,
        )


def why_not_initialized(
    place: Place,
    name: str,
    init_fn: Any,
    init_args: tuple[Any, ...],
    error: BaseException,
) -> InvalidArgumentError | None:
    """Looks for why a parameter could not be made, or compared with its initializer.

    Args:
      place: the scope that it is in.
      name: its name.
      init_fn: its initializer.
      init_args: what that is called with after the key.
      error: what was raised.

    Returns:
      An error that says what is wrong with the initializer or with the shape that it
      is asked for, or None if nothing can be found.

    >>> from batiste.core import Scope
    >>> error = why_not_initialized(Scope({}), "w", "zeros", ((3,),), TypeError())
    >>> print(error)
    Parameter "w" in scope "/": its initializer 'zeros' (of type str) cannot ...
    """
    if isinstance(error, InvalidArgumentError) or not is_explainable(error):
        return None
    shape = init_args[0] if init_args else None
    if (
        isinstance(shape, (tuple, list))
        and callable(init_fn)
        and not all(is_size(size, 0) for size in shape)
    ):
        problem = (
            f"the shape {short_repr(shape)} that its initializer is asked for is none; "
            "the sizes of an array are integers that are not negative."
        )
    elif (not callable(init_fn) or len(init_args) in (1, 2)) and (
        reason := INITIALIZER.reason(init_fn)
    ):
        problem = (
            f"its initializer {short_repr(init_fn)} (of type {type(init_fn).__name__}) "
            f"cannot be used: {reason}. An initializer is called with a key and the "
            "arguments of `param`, mostly (key, shape, dtype)."
        )
    else:
        return None
    return InvalidArgumentError(
        f'Parameter "{name}" in scope "{place.path_text}": {problem}',
        where=place.path_text,
        argument=name,
    )
