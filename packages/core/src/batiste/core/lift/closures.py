"""What a function that is traced beforehand makes in scopes that it closes over."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.core

from ..scope.scope import Scope

__all__ = ["ClosedOver"]


class ClosedOver:
    """The variables of outer scopes, with those that a traced function makes there.

    Only without config `documented_checks` may a lifted function do that. What it makes
    while it is traced is a tracer; where that does not depend on the function's
    arguments, its value can take its place once it is known.

    Args:
      scopes: the outer scopes.

    >>> import jax.numpy as jnp
    >>> scope = Scope({"params": {}}, mutable=True)
    >>> closed_over = ClosedOver([scope])
    >>> def traced():
    ...     scope.put_variable("params", "w", jnp.ones(2))
    ...     return closed_over.made()
    >>> from batiste.core.config import config
    >>> with config.temp_flip_flag("documented_checks", False):
    ...     made = jax.make_jaxpr(traced, return_shape=True)()[1]
    >>> closed_over.put([jnp.ones(shape.shape) for shape in made])
    >>> scope.get_variable("params", "w").tolist()
    [1.0, 1.0]
    """

    def __init__(self, scopes: Sequence[Scope]):
        self._trees = {id(scope.tree): scope.tree for scope in scopes}.values()
        self._before = [value for _, _, value in self._all()]
        self._places: list[tuple[dict[str, Any], str]] = []

    def made(self) -> list[Any]:
        """Returns the values that have been made since, of which any part is traced."""
        before = {id(value) for value in self._before}
        found = [
            (part, name, value)
            for part, name, value in self._all()
            if id(value) not in before and _is_traced(value)
        ]
        self._places = [(part, name) for part, name, _ in found]
        return [value for _, _, value in found]

    def put(self, values: Sequence[Any]) -> None:
        """Puts values in the places of those that `made` returned.

        Args:
          values: the values; those with a `jax.ShapeDtypeStruct` are left out.
        """
        for (part, name), value in zip(self._places, values, strict=True):
            if not any(map(_is_shape, jax.tree.leaves(value))):
                part[name] = value

    def _all(self) -> Iterator[tuple[dict[str, Any], str, Any]]:
        """All variables with the dicts that they are in, and their names there."""
        for tree in self._trees:
            for part in tree.variables.values():
                yield from _below(part)


def _below(part: Any) -> Iterator[tuple[dict[str, Any], str, Any]]:
    # What is not a dict is immutable.
    for name, value in part.items() if type(part) is dict else ():
        if isinstance(value, Mapping):
            yield from _below(value)
        else:
            yield part, name, value


def _is_traced(value: Any) -> bool:
    return any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(value))


def _is_shape(leaf: Any) -> bool:
    return isinstance(leaf, jax.ShapeDtypeStruct)
