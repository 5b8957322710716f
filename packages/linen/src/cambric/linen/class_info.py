"""What is done once for each module class, when it is made."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import types
from collections.abc import Callable
from typing import Any

from cambric.core import errors

from .base import ModuleBase
from .method_call import wrap_descriptor_once, wrap_method_once

__all__ = ["make_dataclass", "make_module_class"]

# Written by the dataclass decorator, or too early in an object's life to be wrapped.
_NEVER_WRAPPED = frozenset(
    "__init__ __post_init__ __repr__ __eq__ __hash__ __new__ __init_subclass__ "
    "__class_getitem__ __setattr__ __getattr__ __getattribute__ __delattr__ "
    "__reduce__ __reduce_ex__ __getstate__ __setstate__ __deepcopy__ __copy__ "
    "__dir__ __set_name__ __subclasshook__ __del__ __getnewargs__ "
    "__getnewargs_ex__ __sizeof__ __format__ __str__".split()
)


def make_module_class(cls: type, kw_only: bool) -> None:
    """Turns a new subclass of Module into a dataclass with wrapped methods.

    Raises:
      ReservedModuleAttributeError: the class annotates `parent` or `name`.
      MultipleMethodsCompactError: more than one of its methods is compact.
    """
    annotations = inspect.get_annotations(cls)
    if "parent" in annotations or "name" in annotations:
        raise errors.ReservedModuleAttributeError(annotations)
    make_dataclass(cls, kw_only)
    _wrap_methods(cls)
    own_setup = cls.setup
    cls._has_setup = not getattr(own_setup, "is_default_setup", False)


def make_dataclass(cls: type, kw_only: bool = False) -> None:
    """Makes the class a dataclass, and notes what its constructor takes."""
    own_hash = cls.__dict__.get("__hash__")
    dataclasses.dataclass(
        eq=True, repr=False, unsafe_hash=own_hash is None, kw_only=kw_only
    )(cls)
    if own_hash is None:
        cls.__hash__ = _explaining_hash(cls.__dict__["__hash__"])
    fields = cls.__dict__["__dataclass_fields__"]
    for name in ("parent", "name"):
        # The base class has them first, people expect them last.
        fields[name] = fields.pop(name)
    names = tuple(f.name for f in dataclasses.fields(cls) if f.init)
    cls._init_fields = names
    cls._init_field_set = frozenset(names)
    cls._own_fields = tuple(n for n in names if n not in ("parent", "name"))


def _explaining_hash(hash_fields: Callable[[Any], int]) -> Callable[[Any], int]:
    @functools.wraps(hash_fields)
    def wrapper(self: Any) -> int:
        try:
            return hash_fields(self)
        except TypeError as error:
            raise TypeError(
                "Failed to hash Module. The module probably contains unhashable "
                f"attributes. Module={self}"
            ) from error

    return wrapper


def _wrap_methods(cls: type) -> None:
    fields = cls.__dict__["__dataclass_fields__"]
    compact_methods = []
    for name, value in tuple(cls.__dict__.items()):
        if name in _NEVER_WRAPPED or name in fields or getattr(value, "nowrap", False):
            continue
        if isinstance(value, types.FunctionType):
            if getattr(value, "compact", False):
                compact_methods.append(name)
            setattr(cls, name, wrap_method_once(value))
        elif _is_value_descriptor(name, value):
            setattr(cls, name, wrap_descriptor_once(value))
    if len(compact_methods) > 1:
        raise errors.MultipleMethodsCompactError()


def _is_value_descriptor(name: str, value: Any) -> bool:
    """Whether reading the attribute runs code of the user's, as a property does."""
    return (
        not name.startswith("__")
        and hasattr(type(value), "__get__")
        and not callable(value)
        and not isinstance(
            value,
            (
                staticmethod,
                classmethod,
                types.MemberDescriptorType,
                types.GetSetDescriptorType,
                ModuleBase,
            ),
        )
    )
