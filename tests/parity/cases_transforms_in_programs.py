"""Programs that pass variables and modules about, for either library."""

from __future__ import annotations

import functools
from typing import Any

from jax import numpy as jnp

from .transform_programs import case


def _var_users(nn: Any, outer: Any, inner: Any) -> Any:
    class NestedVarUser(nn.Module):
        somevar: nn.Variable

        @inner
        @nn.compact
        def __call__(self, x):
            self.somevar.value += 1.0
            return x + self.somevar.value

    class VarUser(nn.Module):
        somevar: nn.Variable

        @outer
        @nn.compact
        def __call__(self, x):
            return NestedVarUser(self.somevar)(x)

    return VarUser


def _pass_variable(nn: Any, module: Any, x: Any, outer: str, inner: str) -> Any:
    transforms = {
        "jit": nn.jit,
        "remat": nn.remat,
        "fold_rngs": nn.fold_rngs,
        "none": lambda fn: fn,
    }
    user = _var_users(nn, transforms[outer], transforms[inner])
    count = module.variable("state", "count", lambda: jnp.zeros(()))
    if not module.is_mutable_collection("state"):
        return x
    return user(count)(user(count)(x)) * count.value


for _outer, _inner in (
    ("jit", "jit"),
    ("jit", "remat"),
    ("remat", "jit"),
    ("fold_rngs", "remat"),
    ("none", "jit"),
):
    _program = functools.partial(_pass_variable, outer=_outer, inner=_inner)
    _program.__name__ = f"pass_variable_{_outer}_{_inner}"  # type: ignore[attr-defined]
    case(_program)


@case
def variable_in_field_of_scan(nn, module, x):
    class Body(nn.Module):
        count: nn.Variable

        @nn.compact
        def __call__(self, carry, _):
            if self.count.is_mutable():
                self.count.value += 1
            return nn.Dense(2)(carry) + self.count.value, None

    count = module.variable("state", "count", lambda: jnp.zeros(()))
    loop = nn.scan(
        Body,
        variable_axes={"params": 0},
        variable_carry="state",
        split_rngs={"params": True},
        length=3,
    )
    return loop(count)(x, None)[0], count.value


@case
def variable_in_field_of_vmap(nn, module, x):
    class Body(nn.Module):
        seen: nn.Variable

        @nn.compact
        def __call__(self, x):
            if self.seen.is_mutable():
                self.seen.value = self.seen.value + x
            return nn.Dense(2)(x) + self.seen.value

    seen = module.variable("state", "seen", lambda: jnp.zeros(x.shape))
    rows = nn.vmap(
        Body,
        variable_axes={"state": 0, "params": 0},
        split_rngs={"params": True},
    )
    return rows(seen)(x), seen.value


@case
def variable_in_field_of_cond(nn, module, x):
    class Body(nn.Module):
        count: nn.Variable

        @nn.compact
        def __call__(self, x):
            if self.count.is_mutable():
                self.count.value += 1
            return x + self.count.value

    count = module.variable("state", "count", lambda: jnp.zeros(()))
    body = Body(count)
    up, down = (lambda mdl, x: mdl(x)), (lambda mdl, x: x - mdl.count.value)
    y = nn.cond(jnp.sum(x) > 0, up, down, body, x)
    return nn.switch(1, [down, up], body, y), count.value


@case
def variable_in_field_under_grad(nn, module, x):
    class Body(nn.Module):
        scale: nn.Variable

        @nn.compact
        def __call__(self, x):
            return jnp.sum(nn.Dense(2)(x) * self.scale.value)

    scale = module.variable("state", "scale", lambda: jnp.full((), 3.0))
    return nn.grad(lambda mdl, x: mdl(x), Body(scale), x)
