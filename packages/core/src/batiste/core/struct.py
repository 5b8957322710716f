"""Immutable dataclasses that are pytrees."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, Self, TypeVar, overload

import jax
from typing_extensions import dataclass_transform

from .errors import name_hint

__all__ = ["PyTreeNode", "dataclass", "field"]

T = TypeVar("T")

# The names of a class's children. It also marks a class that is done; as it is looked
# for in the class alone, a subclass is not taken for one.
_CHILDREN = "__batiste_children__"


def field(
    pytree_node: bool = True,
    *,
    metadata: Mapping[Any, Any] | None = None,
    **kwargs: Any,
) -> Any:
    """Declares a field of a pytree dataclass.

    Args:
      pytree_node: whether the field is a child, which transforms map over. If not,
        its value is static: it must have `==` and a hash, and a jitted function
        compiles again for another value.
      metadata: further metadata of the field.
      **kwargs: as for `dataclasses.field`.

    Returns:
      What the class body assigns to the field, as `dataclasses.field` gives it.

    >>> @dataclass
    ... class Model:
    ...     params: dict
    ...     apply_fn: object = field(pytree_node=False, default=None)
    >>> import jax
    >>> jax.tree.leaves(Model({'w': 1}, print))
    [1]
    """
    merged = {**(metadata or {}), "pytree_node": pytree_node}
    return dataclasses.field(metadata=merged, **kwargs)


@overload
def dataclass(clz: type[T], **kwargs: Any) -> type[T]: ...


@overload
def dataclass(clz: None = None, **kwargs: Any) -> Callable[[type[T]], type[T]]: ...


# Python's own, before 3.12, cannot say that instances are frozen.
@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def dataclass(clz: type[Any] | None = None, **kwargs: Any) -> Any:
    """Makes a class an immutable dataclass that JAX transforms can take and return.

    Instances are pytrees: fields are children, those made by
    `field(pytree_node=False)` are static. The class gets a method
    `replace(**changes)`, which gives a changed copy. The constructor must take the
    fields and nothing else, as JAX calls it when it rebuilds an instance (with
    values that are not always arrays); for another constructor write a class method.
    A class that was made by this decorator is returned as it is.

    Args:
      clz: the class.
      **kwargs: as for `dataclasses.dataclass`, such as `kw_only=True`.

    Returns:
      The class, or a decorator if no class is given.

    >>> @dataclass
    ... class Point:
    ...     x: float
    ...     y: float = 0.
    >>> import jax
    >>> jax.tree.map(lambda v: v + 1, Point(1.))
    Point(x=2.0, y=1.0)
    >>> Point(1.).replace(y=5.)
    Point(x=1.0, y=5.0)
    >>> Point(1.).x = 2.
    Traceback (most recent call last):
        ...
    dataclasses.FrozenInstanceError: cannot assign to field 'x'
    """
    if clz is None:
        return lambda cls: dataclass(cls, **kwargs)
    if _CHILDREN in clz.__dict__:
        return clz
    kwargs.setdefault("frozen", True)
    cls: Any = dataclasses.dataclass(**kwargs)(clz)
    children, static, derived = [], [], []
    for each in dataclasses.fields(cls):
        if not each.init:
            # The constructor computes it, so a rebuilt instance has it anyway.
            derived.append(each.name)
        elif each.metadata.get("pytree_node", True):
            children.append(each.name)
        else:
            static.append(each.name)
    jax.tree_util.register_dataclass(cls, children, static, derived)

    # The serialization protocol: a mapping of children, and its inverse. What the
    # class or a base class defines itself is left alone. What the base got here is set
    # again: between the two may be a class that is registered for serialization.
    for name, method in (
        ("replace", _replace),
        ("__to_state_dict__", _to_state_dict),
        ("__from_state_dict__", _from_state_dict),
    ):
        if getattr(cls, name, method) is method:
            setattr(cls, name, method)
    setattr(cls, _CHILDREN, tuple(children))
    cls._flax_dataclass = True  # by which programs know such a class
    return cls


def _replace(self: Any, /, **updates: Any) -> Any:
    """Returns a copy with the given fields changed.

    Raises:
      TypeError: there is no such field.
    """
    try:
        return dataclasses.replace(self, **updates)
    except TypeError:
        names = [each.name for each in dataclasses.fields(self)]
        for name in updates:
            if name not in names:
                raise TypeError(
                    f'{type(self).__name__} has no field "{name}" to replace.'
                    + name_hint(name, names)
                ) from None
        raise


def _to_state_dict(self: Any) -> dict[str, Any]:
    return {name: getattr(self, name) for name in self.__batiste_children__}


def _from_state_dict(self: Any, state: Mapping[str, Any]) -> Any:
    return self.replace(**state)


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
class PyTreeNode:
    """The base class whose subclasses are pytree dataclasses; see `dataclass`.

    Keyword arguments in the class statement go to `dataclasses.dataclass`.

    Raises:
      TypeError: it is instantiated itself.

    >>> class Point(PyTreeNode, kw_only=True):
    ...     x: float
    ...     label: str = field(pytree_node=False, default='')
    >>> Point(x=1.).replace(label='start')
    Point(x=1.0, label='start')
    """

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__()
        if kwargs.get("slots"):
            raise TypeError(
                f"{cls.__name__}: slots=True makes a second class, which a base class "
                "cannot do. Use the decorator: @struct.dataclass(slots=True)."
            )
        dataclass(cls, **kwargs)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        # Only for type checkers, and for who instantiates the base class.
        raise TypeError("PyTreeNode has no fields; make a subclass with some.")

    def replace(self, /, **overrides: Any) -> Self:
        """Returns a copy with the given fields changed.

        Raises:
          TypeError: there is no such field.

        >>> class Point(PyTreeNode):
        ...     x: float
        >>> Point(x=1.).replace(x=2.).x
        2.0
        """
        return _replace(self, **overrides)
