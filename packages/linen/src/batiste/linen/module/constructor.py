"""The constructor that module classes are given."""

from __future__ import annotations

import dataclasses
import inspect
import sys
from collections import ChainMap
from collections.abc import Mapping, Sequence
from typing import Any, ForwardRef

from .positions import Orders, in_force, place

__all__ = ["direct_init", "num_arguments"]


def num_arguments(init: Any) -> int:
    """How many arguments a constructor takes, `self` included.

    >>> num_arguments(lambda self, a, *, b=1: None)
    3
    """
    return init.__code__.co_argcount + init.__code__.co_kwonlyargcount


def direct_init(
    init: Any,
    fields: Mapping[str, dataclasses.Field[Any]],
    cls: type | None = None,
    orders: Orders | None = None,
) -> Any:
    """A constructor like `init` that does not go through `__setattr__`.

    That one guards modules against assignment later; to pass each argument through
    it would be most of the cost of a construction. What is generated for `Dense` is

        def __init__(self, features, use_bias=..., ..., *, parent=..., name=None):
            self.__dict__.update({"features": features, ..., "name": name})
            self.__post_init__()

    With `orders` there is a `*rest` where the two orders part, and in front of that a
    line `if rest: bias_init, ... = place(rest, bias_init, ...)`.

    Args:
      init: the constructor that `dataclasses` has generated for a class, of which each
        argument is a field.
      fields: the fields of the class by name.
      cls: the class, in whose file the names of its annotations are looked up.
      orders: in which two orders positional arguments may come, if in two.

    >>> @dataclasses.dataclass
    ... class Point:
    ...     x: int
    ...     tags: list = dataclasses.field(default_factory=list)
    ...     def __post_init__(self):
    ...         pass
    >>> Point.__init__ = direct_init(Point.__init__, Point.__dataclass_fields__)
    >>> Point(3)
    Point(x=3, tags=[])
    """
    code = init.__code__
    this, *positional = code.co_varnames[: code.co_argcount]
    keywords = code.co_varnames[code.co_argcount : num_arguments(init)]
    names = [*positional, *keywords]
    defaults = {
        **dict(zip(reversed(positional), reversed(init.__defaults__ or ()))),
        **(init.__kwdefaults__ or {}),
    }
    # What the generated function refers to: factories of defaults, and the value that
    # `dataclasses` has for "no argument: call the factory".
    variables: dict[str, Any] = {"_made": None}
    entries = []
    for name in names:
        factory = fields[name].default_factory
        if factory is dataclasses.MISSING:
            entries.append(f"{name!r}: {name}")
        else:
            variables[f"_factory_{name}"] = factory
            variables["_made"] = defaults[name]
            entries.append(
                f"{name!r}: _factory_{name}() if {name} is _made else {name}"
            )
    first: Sequence[str] = positional
    rest, choice = "*", ""
    if orders is not None and orders.shared(positional) < len(positional):
        first, choice = _choice(orders, positional)
        rest = "*_rest"
    keywords = [*positional[len(first) :], *keywords]
    by_name = {name: defaults[name] for name in keywords if name in defaults}
    if orders is not None and choice:
        size = orders.shared(positional)
        variables["_starts_other"] = orders.starts_other
        variables["_place"] = place(
            orders,
            positional[size:],
            orders.other_of(positional)[size:],
            ChainMap(by_name, {n: defaults[n] for n in first if n in defaults}),
            size,
        )
    arguments = ", ".join([this, *first, *([rest, *keywords] if keywords else [])])
    text = (
        f"def make({', '.join(variables)}):\n"
        f" def __init__({arguments}):\n"
        f"{choice}"
        f"  {this}.__dict__.update({{{', '.join(entries)}}})\n"
        f"  {this}.__post_init__()\n"
        f" return __init__\n"
    )
    file = sys.modules.get(getattr(cls, "__module__", None) or "")
    namespace: dict[str, Any] = {}
    exec(text, {} if file is None else vars(file), namespace)
    direct = namespace["make"](**variables)
    direct.__defaults__ = tuple([defaults[n] for n in first if n in defaults]) or None
    direct.__kwdefaults__ = by_name
    direct.__annotations__ = init.__annotations__
    if orders is not None and choice:
        direct.__signature__ = in_force(inspect.signature(init), orders, positional)
    if cls is not None:
        direct.__annotations__ = _with_modules(direct.__annotations__, cls)
    direct.__qualname__, direct.__module__ = init.__qualname__, init.__module__
    return direct


def _choice(orders: Orders, positional: Sequence[str]) -> tuple[Sequence[str], str]:
    """The arguments that come before `*_rest`, and a line that gives it out."""
    size = orders.shared(positional)
    first, others = positional[:size], positional[size:]
    condition, values = "_rest", "_rest"
    if orders.starts_other is not None:
        # The first of the others is mostly given by position, and mostly as declared.
        first = positional[: size + 1]
        condition = f"_rest or _starts_other({others[0]})"
        values = f"({others[0]}, *_rest)"
    names = ", ".join(others)
    return first, f"  if {condition}: {names}, = _place({values}, {names})\n"


def _with_modules(annotations: Mapping[str, Any], cls: type) -> dict[str, Any]:
    """Annotations in which texts that come from other files say from which."""
    owners = [(b.__module__, inspect.get_annotations(b)) for b in cls.__mro__]
    found = dict(annotations)
    for name, annotation in annotations.items():
        if isinstance(annotation, str):
            module = next((m for m, names in owners if name in names), cls.__module__)
            if module != cls.__module__:
                found[name] = ForwardRef(annotation, is_argument=False, module=module)
    return found
