"""What every module object carries, apart from the Module API itself."""

from __future__ import annotations

import dataclasses
import enum
import operator
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar, Self, dataclass_transform

if TYPE_CHECKING:
    from batiste.core import Scope

__all__ = ["ModuleBase", "ModuleState", "SetupState", "state_of"]


# Here rather than on Module, so that type checkers see the fields of Module itself.
@dataclass_transform(kw_only_default=False, field_specifiers=(dataclasses.field,))
class ModuleBase:
    """The root of the class hierarchy; `isinstance(x, ModuleBase)` finds modules.

    What is annotated here is no constructor argument.

    Attributes:
      scope: where the module's variables live, None while it is unbound.
      preserve_adopted_names: whether modules that come from outside keep the names
        that they have, rather than take those of the attributes they are given to.
    """

    preserve_adopted_names: ClassVar[bool] = False

    scope: Scope | None
    _state: ModuleState
    _init_fields: ClassVar[tuple[str, ...]]
    _init_field_set: ClassVar[frozenset[str]]
    _own_fields: ClassVar[tuple[str, ...]]
    _has_setup: ClassVar[bool]

    if TYPE_CHECKING:
        # Module has it; the classes that it is put together from use it.
        def clone(self, **updates: Any) -> Self: ...


class SetupState(enum.IntEnum):
    """Whether `setup` has run."""

    NEW = 0
    TRANSFORMED = 1
    DONE = 2


class ModuleState:
    """The part of a module object that changes while its methods run.

    Attributes:
      in_compact: a compact method of this object is running.
      in_setup: its `setup` is running.
      setup: whether `setup` has run.
      attached: construction has ended, so that attributes are frozen.
      shares_scope: another module has the same scope.
      cursors: for each class name, the number of the next unnamed submodule.
      children: the submodules by name.
    """

    __slots__ = (
        "attached",
        "children",
        "cursors",
        "in_compact",
        "in_setup",
        "setup",
        "shares_scope",
    )

    def __init__(self, setup: SetupState):
        self.in_compact = False
        self.in_setup = False
        self.setup = setup
        self.attached = False
        self.shares_scope = False
        self.cursors: dict[str, int] = {}
        self.children: dict[str, ModuleBase] = {}


state_of: Callable[[ModuleBase], ModuleState] = operator.attrgetter("_state")
"""The state of a module object, for the rooms around this one.

Its attribute has a private name, as all public ones are the user's to define.
"""
