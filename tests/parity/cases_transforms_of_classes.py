"""Programs that transform classes of modules, each for either library."""

from __future__ import annotations

import functools
from typing import Any

import jax
from jax import numpy as jnp

from .transform_programs import SPLIT, STACKED, block, case, with_setup

# Classes.


@case
def vmap_class(nn, module, x):
    return nn.vmap(nn.Dense, **STACKED)(4)(x)


@case
def vmap_shared(nn, module, x):
    vmap = nn.vmap(
        nn.Dense, variable_axes={"params": None}, split_rngs={"params": False}
    )
    return vmap(4)(x)


@case
def vmap_twice(nn, module, x):
    Twice = nn.vmap(nn.vmap(nn.Dense, **STACKED), **STACKED)
    return Twice(4)(x[..., None])


@case
def vmap_axes(nn, module, x):
    vmap = nn.vmap(
        nn.Dense,
        variable_axes={"params": 1},
        split_rngs={"params": True},
        in_axes=1,
        out_axes=1,
    )
    return vmap(4)(x)


@case
def vmap_size(nn, module, x):
    vmap = nn.vmap(
        nn.Dense, **STACKED, in_axes=None, out_axes=-1, axis_size=5, axis_name="heads"
    )
    return vmap(4)(x)


@case
def vmap_batch_norm(nn, module, x):
    vmap = nn.vmap(
        nn.BatchNorm,
        variable_axes={"params": None, "batch_stats": None},
        split_rngs={"params": False},
        axis_name="batch",
    )
    return vmap(use_running_average=False, axis_name="batch")(x[:, None])


@case
def vmap_two_arguments(nn, module, x):
    vmap = nn.vmap(_pair(nn), **STACKED, in_axes=(0, None), out_axes=1)
    return vmap()(x, x[0])


@functools.cache
def _pair(nn):
    class Pair(nn.Module):
        @nn.compact
        def __call__(self, x, y):
            return nn.Dense(2)(x) * nn.Dense(2)(y)

    return Pair


@case
def vmap_setup(nn, module, x):
    return nn.vmap(with_setup(nn), **STACKED)(2)(x)


@case
def vmap_methods(nn, module, x):
    vmap = nn.vmap(with_setup(nn), **STACKED, methods=["encode", "decode"])()
    return vmap.decode(vmap.encode(x))


@case
def vmap_method_options(nn, module, x):
    vmap = nn.vmap(with_setup(nn), methods={"encode": STACKED, "decode": STACKED})()
    return vmap.decode(vmap.encode(x))


@case
def vmap_sequential(nn, module, x):
    return nn.vmap(nn.Sequential, **STACKED)([nn.Dense(2), nn.tanh, nn.Dense(3)])(x)


@case
def vmap_detached(nn, module, x):
    layers = [nn.Dense(2, parent=None), nn.Dense(3)]
    return nn.vmap(nn.Sequential, **STACKED)(layers)(x)


@case
def vmap_subclass(nn, module, x):
    class Plus(nn.vmap(nn.Dense, **STACKED)):
        def __call__(self, x):
            return super().__call__(x) + 1

    return Plus(4)(x)


@case
def remat_class(nn, module, x):
    return nn.remat(block(nn))(counts=False)(x)


@case
def remat_named(nn, module, x):
    return nn.checkpoint(with_setup(nn))(2, name="mine")(x)


@case
def remat_static(nn, module, x):
    norm = nn.remat(nn.BatchNorm, static_argnums=(2,))
    return norm()(x, not module.is_mutable_collection("batch_stats"))


@case
def remat_policy(nn, module, x):
    policy = jax.checkpoint_policies.dots_saveable
    return nn.remat(with_setup(nn), policy=policy, prevent_cse=False)()(x)


@case
def remat_shared(nn, module, x):
    dense = nn.Dense(2)
    return nn.remat(nn.Sequential)([dense, nn.Dense(2)])(dense(x))


@case
def remat_parent(nn, module, x):
    class Child(nn.Module):
        above: Any

        @nn.compact
        def __call__(self, x):
            return self.above.activate(nn.Dense(2)(x))

    class Above(nn.Module):
        @nn.compact
        def __call__(self, x):
            return nn.remat(Child)(above=self)(x)

        def activate(self, x):
            return jnp.tanh(x)

    return Above()(x)


@case
def scan_class(nn, module, x):
    scan = nn.scan(block(nn), **STACKED, length=4)
    return scan(counts=False)(x, None)


@case
def scan_state(nn, module, x):
    scan = nn.scan(
        block(nn),
        variable_axes={"params": 0, "state": 0},
        split_rngs=SPLIT,
        length=4,
    )
    return scan()(x, None)


@case
def scan_carried_state(nn, module, x):
    module.variable("state", "count", lambda: jnp.zeros(()))

    def body(mdl, x, layer):
        if mdl.is_mutable_collection("state"):
            count = mdl.get_variable("state", "count")
            mdl.put_variable("state", "count", count + 1)
        return nn.Dense(2)(x), mdl.get_variable("state", "count")

    scan = nn.scan(
        body, variable_axes={"params": 1}, variable_carry="state", split_rngs=SPLIT
    )
    return scan(module, x, jnp.arange(4))


@case
def scan_shared(nn, module, x):
    scan = nn.scan(
        block(nn),
        variable_broadcast="params",
        split_rngs={"params": False, "dropout": True},
        in_axes=1,
        out_axes=0,
        reverse=True,
        unroll=2,
    )
    return scan(counts=False)(x, jnp.arange(12.0).reshape(3, 4)[:1].repeat(2, 0))


@case
def scan_same_keys(nn, module, x):
    scan = nn.scan(
        block(nn),
        variable_axes={"params": 0},
        split_rngs={"params": False, "dropout": False},
    )
    return scan(counts=False)(x, jnp.arange(3.0))


@case
def scan_of_remat(nn, module, x):
    scan = nn.scan(nn.remat(block(nn), prevent_cse=False), **STACKED, length=3)
    return scan(counts=False)(x, None)


@case
def scan_of_vmap(nn, module, x):
    vmap = nn.vmap(block(nn), **STACKED, in_axes=(0, None))
    return nn.scan(vmap, **STACKED, length=3)(counts=False)(x, None)


@case
def vmap_of_scan(nn, module, x):
    scan = nn.scan(block(nn), **STACKED, length=3)
    return nn.vmap(scan, **STACKED, in_axes=(0, None))(counts=False)(x, None)


@case
def scan_of_scan(nn, module, x):
    inner = nn.scan(block(nn), **STACKED, length=2)
    return nn.scan(inner, **STACKED, length=3)(counts=False)(x, None)


@case
def scan_lstm(nn, module, x):
    scan = nn.scan(
        nn.OptimizedLSTMCell,
        variable_broadcast="params",
        split_rngs={"params": False},
        in_axes=1,
        out_axes=1,
    )
    cell = scan(4)
    carry = (jnp.zeros((3, 4)), jnp.zeros((3, 4)))
    return cell(carry, jnp.stack([x, 2 * x, -x], 1))


@case
def remat_scan_class(nn, module, x):
    return nn.remat_scan(with_setup(nn), lengths=(2, 3))()(x)


@case
def remat_scan_shared(nn, module, x):
    scan = nn.remat_scan(
        nn.Dense,
        lengths=(2, 2),
        variable_broadcast="params",
        variable_axes={},
        split_rngs={"params": False},
    )
    return scan(2)(x)


@case
def fold_rngs_class(nn, module, x):
    y, _ = nn.fold_rngs(block(nn))(counts=False)(x)
    return nn.fold_rngs(nn.Dense)(3)(y), nn.Dense(1)(y)


@case
def map_variables_in(nn, module, x):
    mapped = nn.map_variables(
        nn.Dense, "params", _triangle, init=module.is_initializing()
    )
    return mapped(2)(x)


@case
def map_variables_in_and_out(nn, module, x):
    dense = nn.Dense(2)
    transposed = nn.map_variables(
        lambda mdl, x: mdl(x), "params", _transpose, _transpose, mutable=True
    )
    return transposed(dense, dense(x))


@case
def map_variables_init(nn, module, x):
    transposed = nn.map_variables(
        lambda mdl, x: mdl(x),
        "params",
        _transpose,
        _transpose,
        init=module.is_initializing(),
    )
    return transposed(nn.Dense(2), x)


@case
def map_variables_method_of_self(nn, module, x):
    class Causal(nn.Module):
        features: int

        def mask(self, variables):
            return variables if self.is_initializing() else _triangle(variables)

        def setup(self):
            layer = nn.map_variables(
                nn.Dense, "params", self.mask, init=self.is_initializing()
            )
            self.dense = layer(self.features, use_bias=False)

        def __call__(self, x):
            return self.dense(x)

    return Causal(2)(x)


@case
def map_variables_several(nn, module, x):
    stack = nn.Sequential([nn.Dense(2), nn.Dense(2)])
    mapped = nn.map_variables(
        lambda mdl, x: mdl(x), "params", _double, init=module.is_initializing()
    )
    return mapped(stack, x)


def _triangle(variables):
    return jax.tree.map(lambda v: jnp.triu(v) if v.ndim == 2 else v, variables)


def _transpose(variables):
    return jax.tree.map(lambda v: v.T, variables)


def _double(variables):
    return jax.tree.map(lambda v: 2 * v, variables)
