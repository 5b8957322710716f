"""Handles on single variables."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, TypeVar

from .. import errors, meta

if TYPE_CHECKING:
    from .scope import Scope

__all__ = ["Variable", "unboxed"]

T = TypeVar("T")

_MISSING = object()


def unboxed(scope: Scope, collection: str, name: str, value: Any) -> Any:
    """A variable's value without its box, whose errors get the variable's path.

    Raises:
      AxisMetadataError: what the box says does not fit the value.

    >>> unboxed(None, "params", "kernel", 3)
    3
    """
    try:
        return meta.unbox(value)
    except errors.AxisMetadataError as error:
        raise error.at("/".join((collection, *scope.path, name))) from None


class Variable(Generic[T]):
    """A handle on one variable: read and assign `value`.

    It is named by its collection (for example `"batch_stats"`) and its name (for
    example `"mean"`) within a scope. With `unbox`, values boxed in `AxisMetadata`
    are read without their box, and assigned into the box that is there.

    >>> def counter(scope):
    ...     count = scope.variable("state", "count", lambda: 0)
    ...     count.value += 1
    ...     return count.value
    >>> import jax
    >>> from batiste.core import init
    >>> init(counter)(jax.random.key(0))[0]
    1
    """

    __slots__ = ("collection", "name", "scope", "unbox")

    def __init__(self, scope: Scope, collection: str, name: str, unbox: bool):
        self.scope = scope
        self.collection = collection
        self.name = name
        self.unbox = unbox

    @property
    def value(self) -> T:
        """The variable's present value.

        Raises:
          ScopeVariableNotFoundError: the variable has no value.
          AxisMetadataError: what its box says does not fit the value.
        """
        value = self.scope.get_variable(self.collection, self.name, _MISSING)
        if value is _MISSING:
            raise errors.ScopeVariableNotFoundError(
                self.name, self.collection, self.scope.path_text
            )
        if self.unbox:
            return unboxed(self.scope, self.collection, self.name, value)
        return value

    @value.setter
    def value(self, value: T) -> None:
        if self.unbox:
            boxed = self.scope.get_variable(self.collection, self.name, _MISSING)
            if boxed is not _MISSING:
                value = meta.replace_boxed(boxed, value)
        self.scope.put_variable(self.collection, self.name, value)

    def is_mutable(self) -> bool:
        """Whether the variable's collection may be changed."""
        return self.scope.is_mutable_collection(self.collection)

    def __repr__(self) -> str:
        where = f"{self.collection}:{self.scope.path_text}/{self.name}"
        return f"Variable({where.replace('//', '/')})"
