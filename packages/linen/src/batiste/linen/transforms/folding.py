"""PRNG streams that start anew for a lifted call."""

from __future__ import annotations

from typing import Any

import jax

from batiste.core import Scope
from batiste.core.scope import LazyRng
from batiste.core.types import Tree

from ..module.state import ModuleBase, state_of

__all__ = ["FoldedRngs"]


class FoldedRngs:
    """Scopes of a call of which those of the target start from keys drawn in them.

    Within the call the scopes outside start from them, too: a function that closes over
    a module draws there what Flax draws.

    Args:
      scopes: the scopes to lift.
      module: the target, a bound module or a tree of them.

    Attributes:
      scopes: the scopes to lift in place of those.

    >>> import jax
    >>> import batiste.linen as nn
    >>> dense = nn.Dense(3).bind({}, rngs={"params": jax.random.key(0)})
    >>> folded = FoldedRngs([dense.scope], dense)
    >>> folded.lend()
    >>> dense.scope.rngs["params"] is folded.scopes[0].rngs["params"]
    True
    >>> folded.give_back()
    """

    def __init__(self, scopes: list[Scope], module: Tree):
        modules = jax.tree.leaves(module, is_leaf=_is_module)
        own: dict[Any, Any] = {m.scope: m for m in modules if isinstance(m, ModuleBase)}
        self.scopes = [scope.folded() if scope in own else scope for scope in scopes]
        self._streams: list[tuple[Scope, dict[str, LazyRng], dict[str, LazyRng]]] = []
        for scope, folded in zip(scopes, self.scopes, strict=True):
            if folded is not scope and scope.rngs:
                _settle(own[scope])
                self._streams.append((own[scope].scope, scope.rngs, folded.rngs))

    def lend(self) -> None:
        """Lets the scopes outside draw from the new streams."""
        for scope, _, new in self._streams:
            scope.draw_from(new)

    def give_back(self) -> None:
        """Lets them draw from their own streams again."""
        for scope, old, _ in self._streams:
            scope.draw_from(old)


def _is_module(value: object) -> bool:
    return isinstance(value, ModuleBase)


def _settle(module: ModuleBase) -> None:
    """Finds the streams of all submodules that there are: these do not start anew."""
    for child in state_of(module).children.values():
        if child.scope is not None and child.scope.rngs:
            _settle(child)
