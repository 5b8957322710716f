"""Positional arguments of layers whose fields came in another order in the past.

Newer versions of Flax have put fields between those that the documentation lists. Both
orders are taken: mostly the values tell which one is meant, and config
`documented_orders` does where they do not.
"""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ..flags import config

__all__ = ["Orders", "in_force", "place"]


@dataclasses.dataclass(frozen=True)
class Orders:
    """In which two orders the fields of a class may be given by position.

    One is that in which they are declared.

    Attributes:
      other: the fields in the other order.
      absent: the fields that this order does not have, and which then come last.
      is_other: whether values are in the other order, given those from the first place
        on in which the two differ. None if they do not tell: then they are, if that is
        the documented order and config `documented_orders` is on.
      starts_other: the same, given only the value in that place, for a field that is
        mostly given by position; None to ask only where there are further values.
      is_documented: whether the other order is the documented one.

    >>> orders = Orders(("gate_fn", "dtype"), ("features",), lambda v: callable(v[0]))
    >>> orders.other_of(["features", "gate_fn", "dtype", "extra"])
    ['gate_fn', 'dtype', 'extra', 'features']
    """

    other: tuple[str, ...]
    absent: tuple[str, ...]
    is_other: Callable[[Sequence[Any]], bool | None]
    starts_other: Callable[[Any], bool] | None = None
    is_documented: bool = True

    def other_of(self, declared: Sequence[str]) -> list[str]:
        """All fields of a class, or of a subclass, in the other order.

        Args:
          declared: its positional fields in the order in which they are declared.
        """
        known = {*self.other, *self.absent}
        listed = [name for name in self.other if name in declared]
        added = [name for name in declared if name not in known]
        absent = [name for name in declared if name in self.absent]
        return [*listed, *added, *absent]

    def shared(self, declared: Sequence[str]) -> int:
        """How many fields of a class are in the same place in both orders."""
        pairs = list(zip(declared, self.other_of(declared), strict=True))
        return next((i for i, (a, b) in enumerate(pairs) if a != b), len(pairs))

    def prefers_other(self) -> bool:
        """Whether values that do not tell are in the other order."""
        return self.is_documented and config.documented_orders


def in_force(
    signature: inspect.Signature, orders: Orders, declared: Sequence[str]
) -> inspect.Signature:
    """The signature of a constructor, in the order that config has it.

    Args:
      signature: the signature, in either order.
      orders: the two orders.
      declared: its positional arguments in the order in which they are declared.

    >>> orders = Orders(("a", "b"), ("new",), lambda values: None)
    >>> with config.temp_flip_flag("documented_orders", True):
    ...     in_force(inspect.signature(lambda new, a, b: 0), orders, ["new", "a", "b"])
    <Signature (a, b, new)>
    """
    order = orders.other_of(declared) if orders.prefers_other() else declared
    parameters = signature.parameters
    names = iter(order)
    ordered = [parameters[next(names) if n in order else n] for n in parameters]
    return signature.replace(parameters=ordered)


def place(
    orders: Orders,
    declared: Sequence[str],
    other: Sequence[str],
    defaults: Mapping[str, Any],
    n_before: int,
) -> Callable[..., list[Any]]:
    """Returns a function that gives values by position to the fields that they mean.

    Args:
      orders: the two orders.
      declared: the fields from where they part on, as they are declared.
      other: the same in the other order.
      defaults: the default of each, as it is when the function is called.
      n_before: how many fields come before, for the error.

    Returns:
      A function of the positional values, and of the values of all those fields as
      keywords have set them. It returns these values with the others put in. It raises
      TypeError where there are too many, or a field is given twice.

    >>> orders = Orders(("a", "b"), ("new",), lambda values: values[0] == 1)
    >>> defaults = {"new": 0, "a": 0, "b": 0}
    >>> put = place(orders, ["new", "a", "b"], ["a", "b", "new"], defaults, 1)
    >>> put((1, 2), 0, 0, 0), put((3, 4), 0, 0, 0)
    ([0, 1, 2], [3, 4, 0])
    """
    # With a value that tells, that is `values[0]`, and was passed under this name.
    named = declared[0] if orders.starts_other is not None else None

    def put(values: Sequence[Any], *given: Any) -> list[Any]:
        is_other = orders.is_other(values)
        if is_other is None:
            is_other = orders.prefers_other()
        order = other if is_other else declared
        if len(values) > len(order):
            raise TypeError(
                f"__init__() takes {n_before + len(order) + 1} positional arguments "
                f"but {n_before + len(values) + 1} were given; the last that it takes "
                f"is {order[-1]!r}"
            )
        fields = dict(zip(declared, given, strict=True))
        if named is not None:
            fields[named] = defaults[named]
        for name, value in zip(order, values):
            if fields[name] is not defaults[name]:
                raise TypeError(f"__init__() got multiple values for argument {name!r}")
            fields[name] = value
        return [fields[name] for name in declared]

    return put
