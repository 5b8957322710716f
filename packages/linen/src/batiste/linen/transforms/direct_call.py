"""Calls of transforms that take functions and a module at once."""

from __future__ import annotations

from batiste.core import Scope
from batiste.core.config import config
from batiste.core.types import Function, Path, Tree

from .. import errors
from ..module.methods import wrap_method_once
from ..module.state import ModuleBase
from .bound_methods import check_owner, without_module
from .call import LiftedBody, commit_cursors, continues_names
from .inner_names import commit_names
from .module_map import ModuleMap, ModuleSlot

__all__ = ["DirectCall"]


class _DirectBody(LiftedBody):
    """May be given the module's own scope in place of all."""

    def __init__(
        self,
        fn: Function,
        module_map: ModuleMap,
        target: Tree,
        paths: list[Path],
    ):
        # Its functions may be alternatives, or run once outside to make variables.
        taken = module_map.taken_names(shares=True)
        super().__init__(fn, module_map, target, taken=taken)
        self._paths = paths

    def __call__(
        self, scopes: Scope | list[Scope], *args: Tree, **kwargs: Tree
    ) -> Tree:
        if isinstance(scopes, Scope):
            scopes = [_below(scopes, path) for path in self._paths]
        return super().__call__(scopes, *args, **kwargs)


class DirectCall:
    """The modules of one call, for any number of functions of them.

    Args:
      module: a bound module, or a tree of them: the functions' first argument.
      args: other arguments; modules and variables among them are lifted too.

    Attributes:
      scopes: the scopes to lift.
      args: the arguments, with slots for modules.
      module_map: the modules.
    """

    def __init__(self, module: Tree, args: tuple[Tree, ...] = ()):
        self.module = module
        self.module_map = ModuleMap(module)
        self.args = self.module_map.add_args(args)
        self.target = self.module_map.add_target()
        self.scopes = self.module_map.scopes
        self._paths_in_own: list[Path] = [()]
        self._bodies: list[LiftedBody] = []

    def body(self, fn: Function) -> LiftedBody:
        """Returns a function of modules as a function of scopes.

        Raises:
          JaxTransformError: it is a method of another module.
          TransformTargetError: it is a module (config `documented_checks`).
        """
        if isinstance(fn, ModuleBase) and config.documented_checks:
            raise errors.TransformTargetError(fn)
        fn, owner = without_module(fn)
        if owner is not None:
            check_owner(owner, self.module)
        body = _DirectBody(
            wrap_method_once(fn), self.module_map, self.target, self._paths_in_own
        )
        self._bodies.append(body)
        return body

    def scope_tree(self) -> Scope | list[Scope]:
        """Returns what to lift where results follow the scopes: one, or a list of them.

        It is one, the module's own, if that holds all the others.
        """
        # A target that is a tree of modules has no scope of its own, but in lists.
        if type(self.target) is not ModuleSlot:
            return self.scopes
        own = self.scopes[self.module_map.specs[self.target.index].place]
        depth = len(own.path)
        paths = [scope.path[depth:] for scope in self.scopes]
        for scope in self.scopes:
            if scope.root != own.root or scope.path[:depth] != own.path:
                return self.scopes
        self._paths_in_own[:] = paths
        return own

    def own_scope(self, transform: str) -> Scope:
        """Returns the module's scope, which must hold those of all modules of the call.

        Raises:
          ValueError: it does not.
        """
        tree = self.scope_tree()
        if not isinstance(tree, Scope):
            places = ", ".join(scope.path_text for scope in self.scopes)
            raise ValueError(
                f"The lifted {transform} takes the variables of one module, but those "
                f"of several take part, and none holds the others: {places}. Pass a "
                f"module that holds them all, or multi_scope=True (to vjp or "
                f"linearize), or a list of tangents, one for each (to jvp)."
            )
        return tree

    def finish(self, y: Tree) -> Tree:
        """Returns the result `y`. To be called at the end."""
        if continues_names(self.module):
            for body in self._bodies:
                commit_cursors(self.module, body.cursors)
                if body.made:
                    commit_names(self.module, body.made, {}, shares=True)
        return y


def _below(scope: Scope, path: Path) -> Scope:
    for name in path:
        free = name not in scope.reservations
        child = scope.push(name, reuse=True)
        if free:
            # `setup` may run again, and make its submodule of this name.
            scope.reservations.pop(name)
        scope = child
    return scope
