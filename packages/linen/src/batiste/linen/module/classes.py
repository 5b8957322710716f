"""What is done once for each module class, when it is made."""

from __future__ import annotations

import dataclasses
import inspect
import types
from collections.abc import Callable
from typing import Any

from batiste.core.config import config

from .. import errors
from .constructor import direct_init, num_arguments
from .methods import construction_method, wrap_descriptor_once, wrap_method_once
from .state import ModuleBase

__all__ = ["make_dataclass", "make_module_class"]

# Written by the dataclass decorator, or too early in an object's life to be wrapped.
_NEVER_WRAPPED = frozenset(
    {
        "__init__",
        "__post_init__",
        "__repr__",
        "_repr_html_",
        "__eq__",
        "__hash__",
        "__new__",
        "__init_subclass__",
        "__class_getitem__",
        "__setattr__",
        "__getattr__",
        "__getattribute__",
        "__delattr__",
        "__reduce__",
        "__reduce_ex__",
        "__getstate__",
        "__setstate__",
        "__deepcopy__",
        "__copy__",
        "__replace__",
        "__annotate__",
        "__annotate_func__",
        "__dir__",
        "__set_name__",
        "__subclasshook__",
        "__del__",
        "__getnewargs__",
        "__getnewargs_ex__",
        "__sizeof__",
        "__format__",
        "__str__",
    }
)


def make_module_class(cls: Any, kw_only: bool, guarded: bool) -> None:
    """Turns a new subclass of Module into a dataclass with wrapped methods.

    Args:
      cls: the class.
      kw_only: whether its fields are keyword arguments of the constructor.
      guarded: as for `make_dataclass`.

    Raises:
      ReservedModuleAttributeError: the class annotates `parent` or `name`.
      MultipleMethodsCompactError: more than one of its methods is compact.
    """
    if "_is_transformed_class" in cls.__dict__:
        return  # all but its transformed methods is inherited
    annotations = inspect.get_annotations(cls)
    if "name" in annotations and not config.documented_checks:
        # It is the field that every module has, with the default that it has there.
        del annotations["name"], cls.__annotations__["name"]
        if "name" in cls.__dict__:
            del cls.name
    if "parent" in annotations or "name" in annotations:
        raise errors.ReservedModuleAttributeError(annotations)
    make_dataclass(cls, kw_only, guarded)
    _wrap_methods(cls)


def make_dataclass(cls: Any, kw_only: bool = False, guarded: bool = True) -> None:
    """Makes the class a dataclass, and notes what its constructor takes.

    Args:
      cls: a class of modules, Module itself included.
      kw_only: whether its fields are keyword arguments of the constructor.
      guarded: the class has the `__setattr__` of Module, which lets everything pass
        while an object is constructed.
    """
    own_init = "__init__" in cls.__dict__
    own_hash = cls.__dict__.get("__hash__")
    _keep_keyword_only(cls)
    dataclasses.dataclass(
        eq=True, repr=False, unsafe_hash=own_hash is None, kw_only=kw_only
    )(cls)
    if own_hash is None:
        cls.__hash__ = _module_hash(cls.__dict__["__hash__"])
    fields = cls.__dict__["__dataclass_fields__"]
    for name in ("parent", "name"):
        # The base class has them first, people expect them last.
        fields[name] = fields.pop(name)
    names = tuple(f.name for f in dataclasses.fields(cls) if f.init)
    cls._init_fields = names
    cls._init_field_set = frozenset(names)
    cls._own_fields = tuple(n for n in names if n not in ("parent", "name"))
    cls._own_init = own_init
    if own_init or not guarded or not _fills_dictionary(cls):
        return
    # An `InitVar` is an argument of the constructor that is no field.
    if len(names) == num_arguments(cls.__init__) - 1:
        cls.__init__ = direct_init(cls.__init__, fields, cls, cls._field_orders)


def _keep_keyword_only(cls: Any) -> None:
    """Lets fields that override keyword-only ones be that, unless they say no."""
    inherited = getattr(cls, "__dataclass_fields__", {})
    for name in inspect.get_annotations(cls):
        if name in inherited and inherited[name].kw_only:
            value: Any = getattr(cls, name, dataclasses.MISSING)
            if not isinstance(value, dataclasses.Field):
                value = dataclasses.field(default=value)
                setattr(cls, name, value)
            if value.kw_only is dataclasses.MISSING:
                value.kw_only = True


def _fills_dictionary(cls: type) -> bool:
    """Whether the fields' values are in an object's dictionary, and only there."""
    attributes: dict[str, Any] = {}
    for base in reversed(cls.__mro__):
        attributes.update(vars(base))
    return all(
        (field.init or field.default_factory is dataclasses.MISSING)
        and not hasattr(type(attributes.get(field.name)), "__set__")
        for field in dataclasses.fields(cls)  # type: ignore[arg-type]
    )


def _module_hash(hash_fields: Callable[[Any], int]) -> Callable[[Any], int]:
    def __hash__(self: Any) -> int:
        if self.scope is not None:
            raise TypeError(
                f"Can't hash a bound {type(self).__name__}: it holds variables, which "
                f"change. Use the unbound module, or id(module)."
            )
        try:
            return hash_fields(self)
        except TypeError as error:
            raise TypeError(
                f"A module is hashed by its attributes, and one of these has no hash "
                f"({error}). Give it a tuple for a list, or a FrozenDict for a dict: "
                f"{self}"
            ) from error

    return __hash__


def _wrap_methods(cls: Any) -> None:
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
            setattr(cls, name, wrap_descriptor_once(value, name))
    for name in ("__init__", "__post_init__"):
        value = cls.__dict__.get(name)
        own = name == "__post_init__" or cls._own_init
        if own and isinstance(value, types.FunctionType):
            setattr(cls, name, construction_method(value))
    names = dict.fromkeys((*cls._name_scopes, *cls.__dict__))
    cls._name_scopes = tuple(
        [n for n in names if getattr(getattr(cls, n), "compact_name_scope", False)]
    )
    if len(compact_methods) > 1 and config.documented_checks:
        raise errors.MultipleMethodsCompactError(
            module_cls=cls, methods=compact_methods
        )


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
