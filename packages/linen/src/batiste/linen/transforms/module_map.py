"""The mapping from modules to scopes and back, around a lifted call.

Lifting knows scopes only. Before a lifted call every module and variable among its
arguments is replaced by a slot, a pytree without leaves, and its scope is put on a
list; within the transform equal modules are made on the lifted scopes, and put where
the slots are.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax

from batiste.core import Scope, Variable

from .. import errors
from ..module.state import ModuleBase, state_of
from ..module.submodules import contains_module, is_plain, map_modules

__all__ = ["ModuleMap", "check_output"]


@jax.tree_util.register_static
@dataclasses.dataclass(frozen=True)
class ModuleSlot:
    """Stands for the module that the spec of this index describes."""

    index: int


@jax.tree_util.register_static
@dataclasses.dataclass(frozen=True)
class VariableSlot:
    """Stands for a handle on a variable."""

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
      arguments: constructor arguments, submodules among them as slots.
      in_compact: whether one of its compact methods is running.
      in_setup: whether its `setup` is running.
      cursors: numbers of its next unnamed submodules.
      lifted_by: the transformed classes whose transform it is within already.
    """

    cls: type
    place: int
    arguments: dict[str, Any]
    in_compact: bool
    in_setup: bool
    cursors: dict[str, int]
    lifted_by: tuple[type, ...]


class ModuleMap:
    """The modules of one lifted call: described outside, made again inside.

    Args:
      target: the module that is transformed, or a tree of them.
      cls: the class to make the target of inside, by default its own.

    Attributes:
      specs: the modules, each after those that are among its arguments.
      scopes: the scopes to lift, in the order of the modules. Forgotten by `detach`.
    """

    def __init__(self, target: Any = None, cls: type | None = None) -> None:
        self._target = target
        self._target_cls = cls
        self.scopes: list[Scope] = []
        self.specs: list[ModuleSpec] = []
        self._places: dict[Scope, int] = {}
        self._module_slots: dict[int, ModuleSlot] = {}
        # The slots go by the identity of modules, which must live until the end.
        self._modules: list[Any] = []

    # Outside.

    def add_target(self) -> Any:
        """The slot of the target, or the tree of slots. To be called last.

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

    def add(self, tree: Any) -> Any:
        """The tree with slots in place of its modules and variables."""
        if is_plain(tree):
            return tree
        return jax.tree.map(self._replace, tree, is_leaf=_has_scope)

    def detach(self) -> ModuleMap:
        """A copy that keeps no scope, nor any array, alive."""
        new = ModuleMap()
        new.specs = self.specs
        return new

    def _replace_target(self, leaf: Any) -> Any:
        return self._add_module(leaf) if isinstance(leaf, ModuleBase) else leaf

    def _replace(self, leaf: Any) -> Any:
        if isinstance(leaf, ModuleBase):
            # A detached module is no state: it is used as it is.
            return leaf if leaf.scope is None else self._add_module(leaf)
        if isinstance(leaf, Variable):
            return VariableSlot(
                self._place(leaf.scope), leaf.collection, leaf.name, leaf.unbox
            )
        return leaf

    def _place(self, scope: Scope) -> int:
        place = self._places.get(scope)
        if place is None:
            place = self._places[scope] = len(self.scopes)
            self.scopes.append(scope)
        return place

    def _add_module(self, module: Any) -> ModuleSlot:
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
        own_fields = cls._own_fields
        arguments = {}
        for name in own_fields:
            value = attributes[name]
            if not is_plain(value) and contains_module(value):
                value = map_modules(self._add_field_module, value, name)
            arguments[name] = value
        arguments["name"] = attributes["name"]
        state = state_of(module)
        slot = ModuleSlot(len(self.specs))
        self.specs.append(
            ModuleSpec(
                cls,
                self._place(scope),
                arguments,
                state.in_compact,
                state.in_setup,
                dict(state.cursors),
                attributes.get("_lifted_by", ()),
            )
        )
        self._module_slots[id(module)] = slot
        self._modules.append(module)
        return slot

    def _add_field_module(self, name: str, module: Any) -> Any:
        return module if module.scope is None else self._add_module(module)

    # Inside.

    def rebuild(self, scopes: list[Scope]) -> Rebuilt:
        """Makes the modules on the lifted scopes."""
        return Rebuilt(self, scopes)


class Rebuilt:
    """The modules of a call, within the transform."""

    def __init__(self, module_map: ModuleMap, scopes: list[Scope]):
        self._scopes = scopes
        self.modules: list[Any] = []
        for spec in module_map.specs:
            self.modules.append(self._make(spec))

    def _make(self, spec: ModuleSpec) -> Any:
        arguments = spec.arguments
        if self.modules:
            arguments = {
                name: value if is_plain(value) else _map_slots(self.module, value)
                for name, value in arguments.items()
            }
        module: Any = spec.cls(**arguments, parent=self._scopes[spec.place])
        state = state_of(module)
        state.in_compact = spec.in_compact
        state.in_setup = spec.in_setup
        state.cursors = dict(spec.cursors)
        if spec.lifted_by:
            vars(module)["_lifted_by"] = spec.lifted_by
        return module

    def module(self, slot: ModuleSlot) -> Any:
        return self.modules[slot.index]

    def fill(self, tree: Any) -> Any:
        """The tree with modules and variables in place of the slots."""
        if type(tree) is ModuleSlot:
            return self.modules[tree.index]
        if is_plain(tree):
            return tree
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


def _map_slots(fn: Callable[[ModuleSlot], Any], value: Any) -> Any:
    if type(value) is ModuleSlot:
        return fn(value)
    if callable(value) and not isinstance(value, ModuleBase):
        return value
    leaves, treedef = jax.tree.flatten(value, is_leaf=_is_slot)
    if not any(type(leaf) is ModuleSlot for leaf in leaves):
        return value
    leaves = [fn(leaf) if type(leaf) is ModuleSlot else leaf for leaf in leaves]
    return jax.tree.unflatten(treedef, leaves)


def _is_slot(value: Any) -> bool:
    return type(value) is ModuleSlot or type(value) is VariableSlot


def _has_scope(value: Any) -> bool:
    return isinstance(value, (ModuleBase, Variable))


def check_output(y: Any, name: str) -> None:
    """Raises if a module or variable is among what a transformed function returns.

    Raises:
      TransformedMethodReturnValueError: there is one.
    """
    if is_plain(y):
        return
    if any(map(_has_scope, jax.tree.leaves(y, is_leaf=_has_scope))):
        raise errors.TransformedMethodReturnValueError(name)
