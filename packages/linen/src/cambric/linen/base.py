"""What every module object carries, apart from the Module API itself."""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from cambric.core import Scope

__all__ = ["ModuleBase", "ModuleState", "SetupState"]


class ModuleBase:
    """The root of the class hierarchy; `isinstance(x, ModuleBase)` finds modules.

    What is annotated here is no constructor argument.

    Attributes:
      scope: where the module's variables live, None while it is unbound.
    """

    scope: Scope | None
    _state: ModuleState
    _init_fields: ClassVar[tuple[str, ...]]
    _init_field_set: ClassVar[frozenset[str]]
    _own_fields: ClassVar[tuple[str, ...]]
    _has_setup: ClassVar[bool]


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
      cursors: for each class name, the number of the next unnamed submodule.
      children: the submodules by name.
    """

    __slots__ = ("attached", "children", "cursors", "in_compact", "in_setup", "setup")

    def __init__(self, setup: SetupState):
        self.in_compact = False
        self.in_setup = False
        self.setup = setup
        self.attached = False
        self.cursors: dict[str, int] = {}
        self.children: dict[str, ModuleBase] = {}
