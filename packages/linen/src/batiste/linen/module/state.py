"""What every module object carries, apart from the Module API itself."""

from __future__ import annotations

import dataclasses
import enum
import operator
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar, Self, dataclass_transform

from batiste.core import Scope
from batiste.core.static_key import ExactKey
from batiste.core.types import Path

__all__ = [
    "ModuleBase",
    "ModuleState",
    "SetupState",
    "has_own_init",
    "orders_of",
    "own_fields",
    "state_of",
    "try_setup",
]


# Here rather than on Module, so that type checkers see the fields of Module itself.
@dataclass_transform(kw_only_default=False, field_specifiers=(dataclasses.field,))
class ModuleBase(ExactKey):
    """The root of the class hierarchy; `isinstance(x, ModuleBase)` finds modules.

    What is annotated here is no constructor argument.

    Attributes:
      scope: where the module's variables live, None while it is unbound.
      preserve_adopted_names: whether modules that come from outside keep the names
        that they have, rather than take those of the attributes they are given to. A
        class may set it; where none does, config `preserve_adopted_names` counts.

    >>> import batiste.linen as nn
    >>> isinstance(nn.Dense(3), ModuleBase)
    True
    """

    preserve_adopted_names: ClassVar[bool]

    scope: Scope | None = None
    _state: ModuleState
    _init_fields: ClassVar[tuple[str, ...]]
    _init_field_set: ClassVar[frozenset[str]]
    _own_fields: ClassVar[tuple[str, ...]]
    _has_setup: ClassVar[bool] = False
    _own_init: ClassVar[bool] = False
    _name_scopes: ClassVar[tuple[str, ...]] = ()
    _field_orders: ClassVar[Any] = None

    def __key_parts__(self) -> tuple[Any, ...]:
        """What two unbound modules share if they are the same: fields, and the name.

        Raises:
          TypeError: the module is bound to variables.
        """
        attributes = vars(self)
        if attributes.get("scope") is not None:
            raise TypeError("A bound module may hold arrays.")
        return tuple([attributes.get(name) for name in (*self._own_fields, "name")])

    if TYPE_CHECKING:
        # What files that Module is made of use of it.
        name: str | None
        parent: Any

        @property
        def path(self) -> Path:
            """See `Module.path`."""
            ...

        def clone(self, **updates: Any) -> Self:
            """See `Module.clone`."""
            ...


class SetupState(enum.IntEnum):
    """Whether `setup` has run.

    >>> SetupState.NEW < SetupState.DONE
    True
    """

    NEW = 0
    TRANSFORMED = 1
    DONE = 2


@dataclasses.dataclass(eq=False, slots=True, weakref_slot=True)
class ModuleState:
    """The part of a module object that changes while its methods run.

    Attributes:
      setup: whether `setup` has run.
      in_compact: a compact method of this object is running.
      in_setup: its `setup` is running.
      attached: construction has ended, so that attributes are frozen.
      shares_scope: another module has the same scope.
      cursors: for each class name, the number of the next unnamed submodule.
      children: the submodules by name.
      setup_names: the names that `setup` gave to submodules and variables.

    >>> ModuleState(SetupState.NEW).attached
    False
    """

    setup: SetupState
    in_compact: bool = False
    in_setup: bool = False
    attached: bool = False
    shares_scope: bool = False
    cursors: dict[str, int] = dataclasses.field(default_factory=dict)
    children: dict[str, ModuleBase] = dataclasses.field(default_factory=dict)
    setup_names: frozenset[str] = frozenset()

    # By these names programs that were written for Flax ask for the above.

    @property
    def setup_called(self) -> SetupState:
        """Whether `setup` has run to its end."""
        return SetupState.NEW if self.in_setup else self.setup

    @property
    def in_compact_method(self) -> bool:
        """Whether a compact method of this object is running."""
        return self.in_compact

    @property
    def is_initialized(self) -> bool:
        """Whether construction has ended, so that attributes are frozen."""
        return self.attached

    @property
    def autoname_cursor(self) -> dict[str, int]:
        """For each class name, the number of the next unnamed submodule."""
        return self.cursors

    def export(self) -> ModuleState:
        """Returns a state for a copy of the module elsewhere, which has no submodules.

        If `setup` has run, it is `TRANSFORMED`: it has, but not on the copy.
        """
        done = self.setup_called is not SetupState.NEW
        return ModuleState(
            SetupState.TRANSFORMED if done else SetupState.NEW,
            in_compact=self.in_compact,
            in_setup=self.in_setup,
            attached=self.attached,
            cursors=dict(self.cursors),
        )

    def reimport(self, other: ModuleState) -> None:
        """Takes over what a copy's methods have changed: not `setup`, nor submodules.

        Args:
          other: the copy's state.
        """
        self.in_compact, self.in_setup = other.in_compact, other.in_setup
        self.attached = other.attached
        self.cursors = dict(other.cursors)

    def reset(self) -> None:
        """Forgets that a method is running, and the numbers of submodules."""
        self.in_compact = self.in_setup = False
        self.cursors = {}


state_of: Callable[[ModuleBase], ModuleState] = operator.attrgetter("_state")
"""The state of a module object, for the files around `module.py`.

Its attribute has a private name, as all public ones are the user's to define.
"""

orders_of: Callable[[type[ModuleBase]], Any] = operator.attrgetter("_field_orders")
"""In which two orders the fields of a class come by position, or None if in one."""

has_own_init: Callable[[type[ModuleBase]], bool] = operator.attrgetter("_own_init")
"""Whether a class has a constructor that its author wrote."""

own_fields: Callable[[ModuleBase], tuple[str, ...]] = operator.attrgetter("_own_fields")
"""The names of a module's constructor arguments, without `parent` and `name`."""

try_setup: Callable[[ModuleBase], None] = operator.methodcaller("_try_setup")
"""Runs the module's `setup`, if that can be done and has not been."""
