"""Lifted `jax.lax.cond`, `jax.lax.switch` and `jax.lax.while_loop`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from batiste.core import lift
from batiste.core.frozen_dict import FrozenDict
from batiste.core.scope import CollectionFilter, PRNGSequenceFilter
from batiste.core.types import ArrayLike, Function, Tree

from .direct_call import DirectCall

__all__ = ["cond", "switch", "while_loop"]


def cond(
    pred: ArrayLike,
    true_fun: Function,
    false_fun: Function,
    mdl: Tree,
    *operands: Tree,
    variables: CollectionFilter = True,
    rngs: PRNGSequenceFilter = True,
) -> Tree:
    """Lifted `jax.lax.cond`: one of two functions of a module.

    Both must return the same structure, shapes and dtypes, and create the same
    variables.

    Args:
      pred: a boolean, which may be traced.
      true_fun: `(module, *operands) -> T`.
      false_fun: likewise.
      mdl: the module.
      *operands: the other arguments of both functions.
      variables: a filter that selects the collections to pass in.
      rngs: a filter that selects the PRNG streams to pass in.

    Returns:
      What the chosen function returns.

    Raises:
      TransformTargetError: `mdl` is no module.
      CallCompactUnboundModuleError: `mdl` is unbound.
      TypeError: the functions differ in what they return or create.

    >>> import jax, jax.numpy as jnp
    >>> import batiste.linen as nn
    >>> class Signed(nn.Module):
    ...     @nn.compact
    ...     def __call__(self, x, positive):
    ...         plus = lambda mdl, x: nn.Dense(2, name="dense")(x)
    ...         minus = lambda mdl, x: -nn.Dense(2, name="dense")(x)
    ...         return nn.cond(positive, plus, minus, self, x)
    >>> x = jnp.ones((1, 3))
    >>> variables = Signed().init(jax.random.key(0), x, True)
    >>> y = Signed().apply(variables, x, True)
    >>> bool(jnp.all(Signed().apply(variables, x, False) == -y))
    True
    """
    call = DirectCall(mdl, operands)
    y = lift.cond(
        pred,
        call.body(true_fun),
        call.body(false_fun),
        call.scopes,
        *call.args,
        variables=variables,
        rngs=rngs,
    )
    return call.finish(y)


def switch(
    index: ArrayLike,
    branches: Sequence[Function],
    mdl: Tree,
    *operands: Tree,
    variables: CollectionFilter = True,
    rngs: PRNGSequenceFilter = True,
) -> Tree:
    """Lifted `jax.lax.switch`: one of several functions of a module.

    All must return the same structure, shapes and dtypes, and create the same
    variables. When they do not, run all of them under `init` instead.

    Args:
      index: an integer, which may be traced; clamped to the branches there are.
      branches: functions `(module, *operands) -> T`.
      mdl: the module.
      *operands: the other arguments of all functions.
      variables: a filter that selects the collections to pass in.
      rngs: a filter that selects the PRNG streams to pass in.

    Returns:
      What the chosen function returns.

    Raises:
      TransformTargetError: `mdl` is no module.
      CallCompactUnboundModuleError: `mdl` is unbound.
      TypeError: the functions differ in what they return or create.

    >>> import jax, jax.numpy as jnp
    >>> import batiste.linen as nn
    >>> class Heads(nn.Module):
    ...     def setup(self):
    ...         self.heads = [nn.Dense(2), nn.Dense(2)]
    ...     def __call__(self, x, index):
    ...         branches = [lambda mdl, x, i=i: mdl.heads[i](x) for i in range(2)]
    ...         if self.is_initializing():
    ...             for branch in branches:
    ...                 branch(self, x)
    ...         return nn.switch(index, branches, self, x)
    >>> variables = Heads().init(jax.random.key(0), jnp.ones((1, 3)), 0)
    >>> sorted(variables["params"])
    ['heads_0', 'heads_1']
    """
    call = DirectCall(mdl, operands)
    y = lift.switch(
        index,
        [call.body(branch) for branch in branches],
        call.scopes,
        *call.args,
        variables=variables,
        rngs=rngs,
    )
    return call.finish(y)


def while_loop(
    cond_fn: Function,
    body_fn: Function,
    mdl: Tree,
    init: Tree,
    carry_variables: CollectionFilter = False,
    broadcast_variables: CollectionFilter = True,
    split_rngs: Mapping[Any, bool] = FrozenDict(),
) -> Tree:
    """Lifted `jax.lax.while_loop`.

    No variable can be initialized inside: under `init`, call `body_fn` instead.

    Args:
      cond_fn: `(module, carry) -> bool`, whether to go on.
      body_fn: `(module, carry) -> carry`, one iteration.
      mdl: the module.
      init: the first carry; shapes and dtypes stay.
      carry_variables: a filter that selects the collections that iterations change.
      broadcast_variables: a filter that selects the collections that they read.
      split_rngs: for each PRNG stream that is passed in, whether every iteration
        gets a key of its own.

    Returns:
      The last carry.

    Raises:
      TransformTargetError: `mdl` is no module.
      CallCompactUnboundModuleError: `mdl` is unbound.

    >>> import jax, jax.numpy as jnp
    >>> import batiste.linen as nn
    >>> class Doubling(nn.Module):
    ...     @nn.compact
    ...     def __call__(self, x):
    ...         count = self.variable("state", "count", lambda: 0)
    ...         def body(mdl, x):
    ...             mdl.put_variable("state", "count",
    ...                              mdl.get_variable("state", "count") + 1)
    ...             return 2 * x
    ...         return nn.while_loop(lambda mdl, x: x < 100, body, self, x,
    ...                              carry_variables="state")
    >>> y, state = Doubling().apply({"state": {"count": 0}}, 3, mutable="state")
    >>> int(y), int(state["state"]["count"])
    (192, 6)
    """
    call = DirectCall(mdl, (init,))
    y = lift.while_loop(
        call.body(cond_fn),
        call.body(body_fn),
        call.scopes,
        *call.args,
        carry_variables=carry_variables,
        broadcast_variables=broadcast_variables,
        split_rngs=split_rngs,
    )
    return call.finish(y)
