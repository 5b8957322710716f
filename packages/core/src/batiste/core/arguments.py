"""Which argument of a layer is wrong, told once something has gone wrong.

Nothing here runs while all goes well: a layer does not look at its arguments, and JAX
says in its own words, from somewhere inside, that one of them does not fit. What is
here looks at the arguments then, and says which one it is, in the words of the layer.
So what works is never refused, whatever it is.
"""

from __future__ import annotations

import functools
import inspect
import math
import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ParamSpec, TypeVar

import jax

from .errors import InvalidArgumentError, short_repr
from .rules import (
    INITIALIZER,
    MOST_ELEMENTS,
    RULES,
    TRUTH,
    Rule,
    is_deleted,
    why_no_array,
)

__all__ = [
    "check_elements",
    "explained",
    "explains_arguments",
    "is_explainable",
    "not_a_mapping",
    "with_default",
    "wrong_argument",
    "wrong_variable",
]

P = ParamSpec("P")
R = TypeVar("R")

_INTERNALS = ("builtins", "jax", "jaxlib", "numpy")


def is_explainable(error: BaseException) -> bool:
    """Returns whether an error may be one that a wrong argument causes inside of JAX.

    Those of other libraries and of the user's code are theirs, and pass.

    >>> is_explainable(TypeError()), is_explainable(KeyboardInterrupt())
    (True, False)
    """
    if not isinstance(error, Exception) or isinstance(error, RecursionError):
        return False
    if isinstance(error, InvalidArgumentError):
        return True
    return type(error).__module__.partition(".")[0] in _INTERNALS


def with_default(value: Any, default: Any, annotation: Any) -> tuple[Any, Any]:
    """Returns a value with what is like it and can be used: its default, or None.

    >>> with_default(None, 32, "int | None"), with_default(None, 32, "int")
    ((None, None), (None, 32))
    """
    if value is None and "None" in str(annotation):
        return value, None
    return value, default


def wrong_argument(
    where: str,
    arguments: Mapping[str, tuple[Any, Any]],
    rules: Mapping[str, Rule] = {},
    error: BaseException | None = None,
) -> InvalidArgumentError | None:
    """Looks for the argument that cannot be used.

    Args:
      where: the layer and its path, or the function, to begin the message with.
      arguments: each argument's value, and its default, which can be used.
      rules: what some of them may be, where it is not what arguments of that name
        usually may be.
      error: what went wrong.

    Returns:
      An error that says which one it is, or None if all can be used.

    >>> print(wrong_argument("Dense", {"features": (-1, None)}))
    Dense: features=-1 (of type int) cannot be used; it must be a positive integer.
    """
    zero = None
    for name, (value, default) in arguments.items():
        if value is default:
            continue
        rule = rules.get(name) or RULES.get(name)
        if rule is None and name.endswith("_init"):
            rule = INITIALIZER
        if rule is None and isinstance(default, bool):
            rule = TRUTH
        if rule is None:
            continue
        if rule.accepts(value):
            reason = _why_not_called(value, error) if callable(value) else ""
            if reason:
                return _unusable(where, name, value, rule.wanted, reason)
            continue
        found = _unusable(where, name, value, rule.wanted, rule.reason(value))
        # Arrays of size 0 have their uses: it is not at fault if anything else is.
        if not (isinstance(value, int) and value == 0):
            return found
        zero = zero or found
    axis_name = arguments.get("axis_name", (None, None))[0]
    if zero is None and axis_name is not None and isinstance(error, NameError):
        return InvalidArgumentError(
            f"{where}: axis_name={short_repr(axis_name)} is not bound here; it must be "
            "the name of an axis of an enclosing vmap, pmap or shard_map (with "
            f"axis_name={short_repr(axis_name)} there), or None.",
            where=where,
            argument="axis_name",
        )
    return zero


def check_elements(shape: Sequence[int]) -> None:
    """Raises if an array of a shape would be larger than any that can be made.

    XLA ends the process, and with it Python, over an array whose number of elements is
    no 64-bit integer.

    Args:
      shape: integers.

    Raises:
      InvalidArgumentError: they are too large.
      TypeError: they are no integers.

    >>> check_elements((3, 4))
    """
    elements = math.prod(map(operator.index, shape))
    if elements > MOST_ELEMENTS:
        raise InvalidArgumentError(
            f"cannot make an array of shape {tuple(shape)}: that is {elements:.2g} "
            "elements, more than any machine holds; make it smaller"
        )


def not_a_mapping(argument: str, value: object) -> InvalidArgumentError:
    """The error of a list, or anything else, where a mapping is expected.

    >>> print(not_a_mapping("split_rngs", ["params"]))
    split_rngs=['params'] (of type list) of a lifted transform cannot be ...
    """
    what, example = _MAPPINGS[argument]
    return InvalidArgumentError(
        f"{argument}={short_repr(value)} (of type {type(value).__name__}) of a "
        f"lifted transform cannot be used; it must be a mapping from {what}, such as "
        f"{example}.",
        argument=argument,
    )


_MAPPINGS = {
    "split_rngs": (
        "PRNG streams to whether they are split",
        "{'params': True, 'dropout': True}",
    ),
    "variable_axes": ("collections to axes", "{'params': 0, 'batch_stats': None}"),
    "variable_specs": ("collections to specifications", "{'params': PartitionSpec()}"),
}


def _unusable(
    where: str, name: str, value: Any, wanted: str, reason: str
) -> InvalidArgumentError:
    return InvalidArgumentError(
        f"{where}: {name}={short_repr(value)} (of type {type(value).__name__}) cannot "
        f"be used{': ' + reason if reason else ''}; it must be {wanted}.",
        where=where,
        argument=name,
    )


def _why_not_called(value: Callable[..., Any], error: BaseException | None) -> str:
    """Whether the error is Python's, that a function does not take its arguments."""
    name = getattr(value, "__qualname__", None)
    if not isinstance(error, TypeError) or not name:
        return ""
    text = str(error)
    return f"it was called, and {text}" if text.startswith(f"{name}()") else ""


def wrong_variable(
    where: str, collections: Mapping[str, Mapping[str, Any]]
) -> InvalidArgumentError | None:
    """Looks for a variable that holds no numbers.

    Args:
      where: whose variables they are, to begin the message with.
      collections: the variables of one scope; those of scopes below are not looked at.

    Returns:
      An error with the name of a variable that is a `jax.ShapeDtypeStruct`, an array
      that was deleted, or a string; or None if there is none.

    >>> import jax
    >>> kernel = jax.ShapeDtypeStruct((2,), "float32")
    >>> print(wrong_variable("Dense", {"params": {"kernel": kernel}}))
    Dense: the variable "kernel" of the collection "params" is float32[2] (of type ...
    """
    for col, part in collections.items():
        for name, value in part.items():
            if isinstance(value, Mapping):
                continue
            for leaf in jax.tree.leaves(value):
                if isinstance(leaf, jax.ShapeDtypeStruct) or is_deleted(leaf):
                    reason = why_no_array(leaf)
                elif isinstance(leaf, (str, bytes)):
                    reason = "it is no array"
                else:
                    continue
                return InvalidArgumentError(
                    f'{where}: the variable "{name}" of the collection "{col}" is '
                    f"{short_repr(leaf)} (of type {type(leaf).__name__}), which cannot "
                    f"be used: {reason}. Pass the variables that `init` or the last "
                    "update returned.",
                    where=where,
                    argument=name,
                )
    return None


def explained(
    error: Exception,
    where: str,
    function: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    rules: Mapping[str, Rule] = {},
) -> InvalidArgumentError | None:
    """Looks for the argument of a call that made it fail.

    Args:
      error: what the call raised.
      where: the function, to begin the message with.
      function: the function that was called.
      args: what with.
      kwargs: and by keyword.
      rules: as for `wrong_argument`.

    Returns:
      An error that says which one it is, or None if none is known to be wrong.

    >>> def dense(x, features): ...
    >>> print(explained(TypeError(), "dense", dense, (1.0, "a"), {}))
    dense: features='a' (of type str) cannot be used; it must be a positive integer.
    """
    if not is_explainable(error):
        return None
    own = isinstance(error, InvalidArgumentError) and error.where is None
    place = where.partition(" in ")[2]
    if own and place and place in str(error):
        return None  # what the layer says itself is exact
    found = _explained_by_arguments(error, where, function, args, kwargs, rules)
    if found is None and own:
        return InvalidArgumentError(f"{where}: {error}", where=where)
    return found


def _explained_by_arguments(
    error: Exception,
    where: str,
    function: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    rules: Mapping[str, Rule],
) -> InvalidArgumentError | None:
    try:
        bound = inspect.signature(function).bind(*args, **kwargs)
    except (TypeError, ValueError):
        return None
    parameters = bound.signature.parameters
    arguments = {
        name: with_default(value, parameters[name].default, parameters[name].annotation)
        for name, value in bound.arguments.items()
    }
    return wrong_argument(where, arguments, rules, error)


def explains_arguments(**rules: Rule) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Lets a functional layer say which of its arguments made it fail.

    Args:
      **rules: what some of its arguments may be, as for `wrong_argument`.

    Returns:
      A decorator of functions whose first argument is a scope.

    Raises:
      InvalidArgumentError: by the function, when an argument cannot be used.

    >>> from batiste.core import Scope
    >>> @explains_arguments()
    ... def layer(scope, features):
    ...     return range(features)
    >>> layer(Scope({}), 2.5)
    Traceback (most recent call last):
        ...
    batiste.core.errors.arguments.InvalidArgumentError: layer in "/": features=2.5 ...
    """

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        name = getattr(function, "__name__", "layer")

        @functools.wraps(function)
        def called(*args: P.args, **kwargs: P.kwargs) -> R:
            try:
                return function(*args, **kwargs)
            except Exception as error:
                scope: Any = args[0] if args else kwargs.get("scope")
                where = f'{name} in "{getattr(scope, "path_text", "")}"'
                found = explained(error, where, function, args, kwargs, rules)
                if found is None and is_explainable(error):
                    collections = getattr(scope, "collections", dict)()
                    found = wrong_variable(where, collections)
                if found is None:
                    raise
                raise found from error

        return called

    return decorate
