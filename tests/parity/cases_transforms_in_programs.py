"""Programs that pass variables and modules about, for either library."""

from __future__ import annotations

import functools
from typing import Any

import jax
from jax import numpy as jnp

from .transform_programs import case

KEY = jax.random.key(5)


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


@case
def partials_of_classes(nn, module, x):
    layer = functools.partial(nn.Dense, use_bias=False)
    stacked = {"variable_axes": {"params": 0}, "split_rngs": {"params": True}}
    x = nn.vmap(layer, **stacked)(4)(x)
    x = nn.remat(functools.partial(layer, features=2))()(x)
    x = nn.remat_scan(functools.partial(layer, 2), lengths=(2, 2))()(x)
    initializing = module.is_initializing()
    return nn.map_variables(layer, "params", init=initializing)(3)(x)


@case
def bound_methods_as_branches(nn, module, x):
    class Branches(nn.Module):
        def setup(self):
            self.left = nn.Dense(2)
            self.right = nn.Dense(2)

        def f1(self, x):
            return self.left(x)

        def f2(self, x):
            return self.right(x) * 2

        def total(self, x):
            return jnp.sum(self.f1(x))

        def __call__(self, x):
            if self.is_initializing():
                self.f1(x) + self.f2(x)
            x = nn.cond(jnp.sum(x) > 0, self.f1, self.f2, self, x)
            x = nn.switch(1, [self.f1, self.f2], self, x)
            y, backward = nn.vjp(self.f1, self, x)
            x = x + backward(y)[1] + nn.grad(self.total, self, x)[0]
            return nn.jvp(self.f2, self, (x,), (x,), {})

    return Branches()(x)


@case
def bound_methods_as_loop(nn, module, x):
    class Loop(nn.Module):
        def setup(self):
            self.layer = nn.Dense(2)
            self.count = self.variable("state", "count", lambda: jnp.zeros(()))

        def small(self, carry):
            return carry[0] < 3

        def body(self, carry):
            return carry[0] + 1, self.layer(carry[1]) + self.count.value

        def __call__(self, x):
            if self.is_initializing():
                return self.body((0, x))
            return nn.while_loop(self.small, self.body, self, (0, x))

    return Loop()(x)


@case
def jitted_init_with_output(nn, module, x):
    class Fast(nn.Module):
        @nn.jit
        def init_with_output(self, rngs, *args, **kwargs):
            return super().init_with_output(rngs, *args, **kwargs)

        @nn.compact
        def __call__(self, x):
            return nn.Dense(2)(x)

    y, variables = Fast(parent=None).init_with_output(KEY, x)
    return y, variables["params"]
