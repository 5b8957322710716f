"""The mapping from modules to scopes and back, around a lifted call.

Lifting knows scopes only. Before a lifted call every module and variable among its
arguments is replaced by a slot, a pytree without leaves, and its scope is put on a
list; within the transform equal modules are made on the lifted scopes, and put where
the slots are.
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import jax
import numpy as np

from batiste.core import Scope, Variable
from batiste.core.types import Tree

from .. import errors
from ..module.state import ModuleBase, state_of
from ..module.submodules import PLAIN_TYPES, contains_module, map_modules
from .inner_names import Names, reserve_names, taken_names

__all__ = [
    "ModuleMap",
    "ModuleSlot",
    "ModuleSpec",
    "Rebuilt",
    "check_output",
    "is_within",
    "mark_within",
]

# In the dictionary of a module object: the transformed classes within whose transform
# it is. Most modules never are.
_WITHIN = "_within_transforms"

# Who has the name of a submodule: no collection.

# What has a scope, and so is replaced by a slot.
_SCOPED = (ModuleBase, Variable)


@jax.tree_util.register_static
@dataclasses.dataclass(frozen=True)
class ModuleSlot:
    """Stands for the module that the spec of this index describes.

    Attributes:
      index: which of the specs.
    """

    index: int


@jax.tree_util.register_static
@dataclasses.dataclass(frozen=True)
class VariableSlot:
    """Stands for a handle on a variable.

    Attributes:
      place: index of its scope.
      collection: its collection.
      name: its name.
      unbox: whether the handle hides the variable's box.
    """

    place: int
    collection: str
    name: str
    unbox: bool


@dataclasses.dataclass(frozen=True, slots=True)
class ModuleSpec:
    """All that is needed to make a module again, on another scope.

    Attributes:
      cls: its class.
      place: index of its scope.
      arguments: constructor arguments, submodules and variables among them as slots.
      slotted: names of the arguments that hold slots.
      in_compact: whether one of its compact methods is running.
      in_setup: whether its `setup` is running.
      cursors: numbers of its next unnamed submodules.
      within: the transformed classes within whose transform it is already.
    """

    cls: Callable[..., ModuleBase]
    place: int
    arguments: dict[str, Any]
    slotted: tuple[str, ...]
    in_compact: bool
    in_setup: bool
    cursors: dict[str, int]
    within: tuple[type, ...]


class ModuleMap:
    """The modules of one lifted call, described from outside.

    Args:
      target: the module that is transformed, or a tree of them.
      cls: the class to make the target of inside, by default its own.

    Attributes:
      specs: the modules, each after those that are among its arguments.
      scopes: the scopes to lift, in the order of the modules.
      has_slots: whether there is any slot among the arguments that were added.
    """

    def __init__(self, target: Tree, cls: type[ModuleBase] | None = None):
        self._target = target
        self._target_cls = cls
        self.scopes: list[Scope] = []
        self.specs: list[ModuleSpec] = []
        self.has_slots = False
        self._places: dict[Scope, int] = {}
        self._module_slots: dict[int, ModuleSlot] = {}
        # The slots go by the identity of modules, which must live until the end.
        self._modules: list[ModuleBase] = []

    def add_args(self, args: tuple[Tree, ...]) -> tuple[Tree, ...]:
        """Returns arguments with slots in place of their modules and variables."""
        return args if _is_bare(args) else tuple([self._add(arg) for arg in args])

    def add_kwargs(self, kwargs: Mapping[str, Tree]) -> Mapping[str, Tree]:
        """Returns keyword arguments with slots, as `add_args`."""
        if _is_bare(kwargs):
            return kwargs
        return {name: self._add(value) for name, value in kwargs.items()}

    def add_target(self) -> Tree:
        """Returns the slot of the target, or the tree of slots. To be called last.

        Raises:
          CallCompactUnboundModuleError: the target is not bound.
          TransformTargetError: the target is no module.
        """
        target = self._target
        if isinstance(target, ModuleBase):
            return self._add_module(target)
        slots = jax.tree.map(self._replace_target, target, is_leaf=_has_scope)
        if not any(map(_is_slot, jax.tree.leaves(slots, is_leaf=_is_slot))):
            raise errors.TransformTargetError(target)
        return slots

    def taken_names(self, shares: bool = False) -> Names:
        """Returns the names that are taken inside; see `inner_names.taken_names`."""
        return taken_names(self._modules, True, shares)

    def _add(self, tree: Tree) -> Tree:
        if _is_bare(tree):
            return tree
        return jax.tree.map(self._replace, tree, is_leaf=_has_scope)

    def _replace_target(self, leaf: Any) -> Any:
        return self._add_module(leaf) if isinstance(leaf, ModuleBase) else leaf

    def _replace(self, leaf: Any) -> Any:
        if isinstance(leaf, ModuleBase):
            if leaf.scope is None:
                return leaf  # a detached module is no state: it is used as it is
            self.has_slots = True
            return self._add_module(leaf)
        if isinstance(leaf, Variable):
            self.has_slots = True
            return self._add_variable(leaf)
        return leaf

    def _place(self, scope: Scope) -> int:
        scopes = self.scopes
        if not scopes:
            scopes.append(scope)  # most calls have no other
            return 0
        places = self._places
        if not places:
            places[scopes[0]] = 0
        place = places.get(scope)
        if place is None:
            place = places[scope] = len(scopes)
            scopes.append(scope)
        return place

    def _add_module(self, module: ModuleBase) -> ModuleSlot:
        slot = self._module_slots.get(id(module))
        if slot is not None:
            return slot
        scope = module.scope
        if scope is None:
            raise errors.CallCompactUnboundModuleError()
        cls = type(module)
        if module is self._target and self._target_cls is not None:
            cls = self._target_cls
        attributes = vars(module)
        arguments = {}
        slotted = []
        for name in cls._own_fields:
            value = attributes[name]
            if type(value) in PLAIN_TYPES or _is_bare(value):
                pass
            elif contains_module(value, _SCOPED):
                value = map_modules(self._add_field, value, name, kinds=_SCOPED)
                slotted.append(name)
            arguments[name] = value
        arguments["name"] = attributes["name"]
        state = state_of(module)
        slot = ModuleSlot(len(self.specs))
        self.specs.append(
            ModuleSpec(
                cls,
                self._place(scope),
                arguments,
                tuple(slotted),
                state.in_compact,
                state.in_setup,
                dict(state.cursors),
                attributes.get(_WITHIN, ()),
            )
        )
        self._module_slots[id(module)] = slot
        self._modules.append(module)
        return slot

    def _add_field(self, name: str, held: ModuleBase | Variable[Any]) -> Any:
        if isinstance(held, Variable):
            return self._add_variable(held)
        return held if held.scope is None else self._add_module(held)

    def _add_variable(self, handle: Variable[Any]) -> VariableSlot:
        return VariableSlot(
            self._place(handle.scope), handle.collection, handle.name, handle.unbox
        )


class Rebuilt:
    """The modules of a call, made again on the lifted scopes.

    Args:
      specs: the modules, each after those that are among its arguments.
      scopes: the lifted scopes.
      names: the names that are taken below the modules.

    Attributes:
      modules: the modules, in the order of the specs.
    """

    def __init__(
        self,
        specs: Sequence[ModuleSpec],
        scopes: list[Scope],
        names: Names = MappingProxyType({}),
    ):
        self._scopes = scopes
        self.modules: list[ModuleBase] = []
        for spec in specs:
            arguments = spec.arguments
            if spec.slotted:
                filled = {name: self.fill(arguments[name]) for name in spec.slotted}
                arguments = {**arguments, **filled}
            module = spec.cls(**arguments, parent=scopes[spec.place])
            state = state_of(module)
            state.in_compact = spec.in_compact
            state.in_setup = spec.in_setup
            state.cursors = dict(spec.cursors)
            if spec.within:
                vars(module)[_WITHIN] = spec.within
            self.modules.append(module)
        for number, taken in names.items():
            reserve_names(scopes[specs[number].place], taken)

    def fill(self, tree: Tree) -> Tree:
        """Returns the tree with modules and variables in place of the slots."""
        if type(tree) is ModuleSlot:
            return self.modules[tree.index]
        return jax.tree.map(self._fill_leaf, tree, is_leaf=_is_slot)

    def _fill_leaf(self, leaf: Any) -> Any:
        if type(leaf) is ModuleSlot:
            return self.modules[leaf.index]
        if type(leaf) is VariableSlot:
            scope = self._scopes[leaf.place]
            return Variable(scope, leaf.collection, leaf.name, leaf.unbox)
        return leaf

    def release(self) -> None:
        """Breaks the cycles of parents and children, which would keep tracers alive."""
        pending = self.modules
        self.modules = []
        while pending:
            state = state_of(pending.pop())
            pending.extend(state.children.values())
            state.children = {}


def _is_slot(value: Any) -> bool:
    return type(value) is ModuleSlot or type(value) is VariableSlot


def _has_scope(value: Any) -> bool:
    return isinstance(value, _SCOPED)


def _is_bare(tree: Tree) -> bool:
    """Whether it is seen at a glance that a tree holds neither module nor variable."""
    pending = [tree]
    while pending:
        node = pending.pop()
        kind = type(node)
        if kind is tuple or kind is list:
            pending.extend(node)
        elif kind is dict:
            pending.extend(node.values())
        elif kind not in PLAIN_TYPES and not isinstance(
            node, (jax.Array, np.generic, enum.Enum, type, str)
        ):
            return False
    return True


def check_output(y: Tree, name: str) -> None:
    """Raises if a module or variable is among what a transformed function returns.

    Args:
      y: what it returns.
      name: the function's name.

    Raises:
      TransformedMethodReturnValueError: there is one.
    """
    if _is_bare(y):
        return
    if any(map(_has_scope, jax.tree.leaves(y, is_leaf=_has_scope))):
        raise errors.TransformedMethodReturnValueError(name)


def is_within(module: ModuleBase, cls: type) -> bool:
    """Whether a module is within the transform of a transformed class."""
    return cls in vars(module).get(_WITHIN, ())


def mark_within(module: ModuleBase, cls: type) -> None:
    """Says that a module is within the transform of a transformed class."""
    attributes = vars(module)
    attributes[_WITHIN] = (*attributes.get(_WITHIN, ()), cls)
