"""Two modules with one place for their variables."""

from __future__ import annotations

from typing import Any

from batiste.core import Scope
from batiste.core.traceback_util import api_boundary

from .. import errors

__all__ = ["share_scope"]


@api_boundary
def share_scope(module: Any, other: Any, /) -> None:
    """Puts the variables of two modules side by side, under one name.

    A module that wraps another, such as an adapter that adds parameters of its own
    to a layer, then has the parameters of that layer where they are without the
    wrapper: checkpoints of the one load into the other. Usually called as
    `nn.share_scope(self, self.layer)` in `setup`.

    Args:
      module: a bound module. It moves to the place of `other`, unless `other` is a
        submodule of it (also of its submodules): then that one moves.
      other: a bound module.

    Raises:
      CallShareScopeOnUnboundModuleError: one of the modules is not bound.
      NameInUseError: later, where both declare something of one name.

    >>> import jax, jax.numpy as jnp
    >>> import batiste.linen as nn
    >>> class LowRank(nn.Module):
    ...     layer: nn.Dense
    ...     def setup(self):
    ...         nn.share_scope(self, self.layer)
    ...     @nn.compact
    ...     def __call__(self, x):
    ...         init = nn.initializers.normal()
    ...         a = self.param("a", init, (x.shape[-1], 2))
    ...         b = self.param("b", init, (2, self.layer.features))
    ...         return self.layer(x) + x @ a @ b
    >>> variables = LowRank(nn.Dense(3)).init(jax.random.key(0), jnp.ones((1, 4)))
    >>> sorted(variables["params"])
    ['a', 'b', 'bias', 'kernel']
    """
    for one in (module, other):
        if one.scope is None:
            raise errors.CallShareScopeOnUnboundModuleError(module_cls=type(one))
    if _is_below(other.scope, module.scope):
        _move(other, module.scope)
    else:
        _move(module, other.scope)
    module._state.shares_scope = other._state.shares_scope = True


def _is_below(scope: Scope, other: Scope) -> bool:
    above: Scope | None = scope
    while above is not None:
        if above == other:
            return True
        above = above.parent
    return False


def _move(module: Any, scope: Scope) -> None:
    """Gives a module, and what is bound below it, a place elsewhere in the tree."""
    before = module.scope
    module.__dict__["scope"] = scope
    for child in module._state.children.values():
        if child.scope.parent == before:
            _move(child, scope.push(child.name, reuse=True))
