"""Handles on single variables."""

from __future__ import annotations

from typing import Any, Generic, Protocol, TypeVar

from .. import errors, meta
from ..types import Path

__all__ = ["Variable", "VariableStore", "unboxed"]

T = TypeVar("T")

_MISSING = object()


class VariableStore(Protocol):
    """What a handle on a variable needs of the scope that the variable is in.

    >>> from batiste.core import Scope
    >>> store: VariableStore = Scope({"state": {"n": 3}})
    >>> store.get_variable("state", "n")
    3
    """

    @property
    def path(self) -> Path:
        """The names from the root to the scope."""
        ...

    @property
    def path_text(self) -> str:
        """The path for people to read."""
        ...

    def get_variable(self, col: str, name: str, default: Any = None) -> Any:
        """Returns the variable's value, or `default`."""
        ...

    def put_variable(self, col: str, name: str, value: Any) -> None:
        """Sets the variable."""
        ...

    def is_mutable_collection(self, col: str) -> bool:
        """Returns whether variables of the collection may be changed."""
        ...


def unboxed(scope: VariableStore, collection: str, name: str, value: Any) -> Any:
    """Returns a variable's value without its box; errors get the variable's path.

    Args:
      scope: the scope that the variable is in.
      collection: its collection.
      name: its name.
      value: its value, boxed or not.

    Raises:
      AxisMetadataError: what the box says does not fit the value.

    >>> from batiste.core import Scope
    >>> unboxed(Scope({}), "params", "kernel", 3)
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

    Attributes:
      scope: the scope that the variable is in.
      collection: the name of its collection.
      name: its name.
      unbox: whether the box is hidden.

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

    scope: Any  # a `Scope`, which is made of variables, and so is not named here

    def __init__(self, scope: VariableStore, collection: str, name: str, unbox: bool):
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
        """Returns whether the variable's collection may be changed."""
        return self.scope.is_mutable_collection(self.collection)

    def __repr__(self) -> str:
        where = f"{self.collection}:{self.scope.path_text}/{self.name}"
        return f"Variable({where.replace('//', '/')})"
