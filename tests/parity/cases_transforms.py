"""Programs that transform modules, each for either library.

`CASES` maps a name to a function of a library (`cambric.linen` or `flax.linen`), of a
module in whose compact method it runs, and of an input of shape (3, 2).
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
from jax import numpy as jnp

__all__ = ["CASES", "block", "net"]

Program = Callable[[Any, Any, Any], Any]

CASES: dict[str, Program] = {}

SPLIT = {"params": True, "dropout": True}
STACKED = {"variable_axes": {"params": 0}, "split_rngs": SPLIT}


def case(program: Program) -> Program:
    assert program.__name__ not in CASES
    CASES[program.__name__] = program
    return program


def net(nn: Any, program: Program) -> Any:
    """A module that runs the program."""

    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            return program(nn, self, x)

    return Net()


@functools.cache
def block(nn: Any) -> Any:
    """A layer with parameters, randomness and state, to be scanned over as well."""

    class Block(nn.Module):
        rate: float = 0.5
        counts: bool = True

        @nn.compact
        def __call__(self, x, scale=None):
            y = nn.Dense(x.shape[-1])(x)
            y = nn.Dropout(self.rate, deterministic=False)(y)
            if self.counts:
                count = self.variable("state", "count", lambda: jnp.zeros(()))
                count.value += 1
            x = x + (y if scale is None else y * scale)
            return x, jnp.sum(x)

    return Block


@functools.cache
def with_setup(nn: Any) -> Any:
    class WithSetup(nn.Module):
        features: int = 2

        def setup(self):
            self.scale = self.param("scale", nn.initializers.normal(), (2,))
            self.layers = [nn.Dense(self.features), nn.Dense(self.features)]

        def __call__(self, x):
            return self.decode(self.encode(x * self.scale))

        def encode(self, x):
            return self.layers[0](x)

        def decode(self, x):
            return self.layers[1](x)

    return WithSetup


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


# Methods.


@case
def vmap_method(nn, module, x):
    class Net(nn.Module):
        @functools.partial(nn.vmap, **STACKED)
        @nn.compact
        def __call__(self, x):
            return nn.Dense(2)(nn.Dense(3)(x))

    return Net()(x)


@case
def vmap_method_with_setup(nn, module, x):
    class Net(nn.Module):
        def setup(self):
            self.scale = self.param("scale", nn.initializers.normal(), (2,))
            self.count = self.variable("state", "count", lambda: jnp.zeros(()))
            self.dense = nn.Dense(2)

        @functools.partial(
            nn.vmap,
            variable_axes={"params": 0, "state": 0},
            split_rngs={"params": True},
        )
        def __call__(self, x):
            if self.is_mutable_collection("state"):
                self.count.value += 1
            return self.dense(x * self.scale)

    return Net()(x)


@case
def remat_methods(nn, module, x):
    class Net(nn.Module):
        def setup(self):
            self.dense = nn.Dense(2)

        @nn.remat
        def encode(self, x):
            return self.dense(x)

        @nn.remat
        def __call__(self, x):
            return self.encode(x) + self.dense(x)

    return Net()(x)


@case
def scan_method(nn, module, x):
    class Net(nn.Module):
        @functools.partial(
            nn.scan, variable_broadcast="params", split_rngs={"params": False}
        )
        @nn.compact
        def __call__(self, carry, x):
            carry = jnp.tanh(nn.Dense(2)(carry) + x)
            return carry, carry

    return Net()(x[0], x)


# Functions of a module.


@case
def names_go_on(nn, module, x):
    x = nn.Dense(2)(x)
    x = nn.remat(lambda mdl, x: nn.Dense(3)(x))(module, x)
    x = nn.remat(lambda mdl, x: nn.Dense(4)(nn.Dense(4)(x)))(module, x)
    return nn.Dense(5)(x)


@case
def modules_as_arguments(nn, module, x):
    a, b = nn.Dense(2), nn.Dense(2)

    def body(mdl, layers, x):
        return layers["a"](x) + layers["b"][0](x) + nn.Dense(2)(x)

    vmap = nn.vmap(body, **STACKED, in_axes=(None, 0))
    return vmap(module, {"a": a, "b": [b]}, x)


@case
def shared_in_two_places(nn, module, x):
    dense = nn.Dense(2)
    twice = nn.Sequential([dense, dense])
    return nn.remat(lambda mdl, x: mdl(x))(twice, x) + dense(x)


@case
def variables_as_arguments(nn, module, x):
    count = module.variable("state", "count", lambda: jnp.ones(3))

    def body(mdl, count, x):
        if count.is_mutable():
            count.value += 1
        return x * count.value[:, None]

    return nn.remat(body)(module, count, x) + count.value[:, None]


@case
def keywords(nn, module, x):
    body = nn.remat(lambda mdl, x, *, scale: nn.Dense(3)(x) * scale)
    return body(module, x, scale=3.0)


@case
def names_in_profiles(nn, module, x):
    return nn.named_call(lambda mdl, x: nn.Dense(3)(x))(module, x)


# Branches and loops.


@case
def cond_unnamed(nn, module, x):
    y = nn.cond(
        x[0, 0] > -100,
        lambda mdl, x: nn.Dense(2)(x),
        lambda mdl, x: -nn.Dense(2)(x),
        module,
        x,
    )
    return nn.Dense(4)(y)


@case
def cond_with_state(nn, module, x):
    module.variable("state", "a", lambda: 0)
    module.variable("state", "b", lambda: 0)

    def count(name):
        def branch(mdl, x):
            if mdl.is_mutable_collection("state"):
                mdl.variable("state", name).value += 1
            return nn.Dense(2, name="dense")(x)

        return branch

    return nn.cond(True, count("a"), count("b"), module, x)


@case
def cond_of_a_module(nn, module, x):
    dense = nn.Dense(2)
    dense(x)
    return nn.cond(x.sum() > 0, lambda mdl, x: mdl(x), lambda mdl, x: x, dense, x)


@case
def switch_heads(nn, module, x):
    class Heads(nn.Module):
        def setup(self):
            self.heads = [
                nn.Sequential([nn.Dense(3), nn.Dense(2)]),
                nn.Dense(2),
            ]

        @nn.compact
        def __call__(self, x, index):
            branches = [lambda mdl, x, i=i: mdl.heads[i](x) for i in range(2)]
            if self.is_mutable_collection("params"):
                for branch in branches:
                    branch(self, x)
            return nn.switch(index, branches, self, x)

    heads = Heads()
    return heads(x, 0), heads(x, 1)


@case
def while_with_state(nn, module, x):
    count = module.variable("state", "count", lambda: jnp.zeros((), jnp.int32))
    dense = nn.Dense(2)
    dense(x)
    if module.is_initializing() or not count.is_mutable():
        return x

    def body(mdl, x):
        mdl.put_variable("state", "count", mdl.get_variable("state", "count") + 1)
        return jnp.tanh(x) + 1

    def going(mdl, x):
        return mdl.get_variable("state", "count") < 5

    return jax.lax.stop_gradient(
        nn.while_loop(going, body, module, x, carry_variables="state")
    )


# Derivatives.


@case
def vjp_of_module(nn, module, x):
    y, backward = nn.vjp(lambda mdl, x: mdl(x), nn.Dense(2), x)
    variables_bar, x_bar = backward(jnp.ones_like(y))
    return y, x_bar, variables_bar


@case
def vjp_of_self(nn, module, x):
    y, backward = nn.vjp(lambda mdl, x: nn.Dense(2)(x), module, x)
    return y, backward(jnp.ones_like(y))[1], nn.Dense(3)(x)


@case
def vjp_with_aux(nn, module, x):
    dense = nn.Dense(2)
    y, backward, aux = nn.vjp(lambda mdl, x: (mdl(x), 3 * x), dense, x, has_aux=True)
    return backward(y), aux


@case
def vjp_of_several(nn, module, x):
    a, b, c = nn.Dense(2), nn.Dense(2), nn.Dense(2)
    stack = nn.Sequential([a, b])
    y, backward = nn.vjp(lambda mdl, c, x: mdl(c(x)), stack, c, x, multi_scope=True)
    variables_bar, _, x_bar = backward(jnp.ones_like(y))
    return y, x_bar, variables_bar


@case
def gradients(nn, module, x):
    dense = nn.Dense(2)

    def energy(mdl, x):
        return jnp.sum(mdl(x) ** 2)

    def with_aux(mdl, x):
        return energy(mdl, x), mdl(x)

    return (
        nn.value_and_grad(energy, dense, x),
        nn.grad(energy, dense, x),
        nn.value_and_grad(with_aux, dense, x, has_aux=True),
        nn.grad(with_aux, dense, x, has_aux=True),
    )


@case
def gradient_of_several(nn, module, x):
    stack = nn.Sequential([nn.Dense(2), nn.Dense(1)])
    return nn.value_and_grad(lambda mdl, x: mdl(x).sum(), stack, x)


@case
def jvp_along_the_input(nn, module, x):
    dense = nn.Dense(2)
    return nn.jvp(lambda m, x: m(x) ** 2, dense, (x,), (x,), variable_tangents={})


@case
def jvp_along_variables(nn, module, x):
    dense = nn.Dense(2)
    dense(x)
    ones = jax.tree.map(jnp.ones_like, dense.variables["params"])
    return nn.jvp(
        lambda mdl, x: mdl(x) ** 2,
        dense,
        (x,),
        (jnp.zeros_like(x),),
        variable_tangents={"params": ones},
    )


@case
def custom_vjp_of_module(nn, module, x):
    def run(mdl, x):
        return mdl(x)

    def forward(mdl, x):
        return nn.vjp(run, mdl, x)

    def backward(vjp_fn, y_bar):
        return jax.tree.map(jnp.sign, vjp_fn(y_bar))

    return nn.custom_vjp(run, forward, backward)(nn.Dense(2), x)


@case
def custom_vjp_with_constant(nn, module, x):
    def run(mdl, k, x):
        return k * mdl(x)

    def forward(mdl, k, x):
        return nn.vjp(lambda mdl, x: run(mdl, k, x), mdl, x)

    def backward(k, vjp_fn, y_bar):
        variables_bar, x_bar = vjp_fn(y_bar)
        return jax.tree.map(jnp.sign, variables_bar), k * x_bar

    rule = nn.custom_vjp(run, forward, backward, nondiff_argnums=(1,))
    return rule(nn.Dense(2), 3, x)


# Boxes.


@case
def boxes_in_vmap(nn, module, x):
    init = nn.with_partitioning(nn.initializers.normal(), ("in", "out"))
    vmap = nn.vmap(nn.Dense, **STACKED, metadata_params={nn.PARTITION_NAME: "batch"})
    return vmap(4, kernel_init=init)(x)


@case
def boxes_in_scan(nn, module, x):
    init = nn.with_partitioning(nn.initializers.normal(), ("in", "out"))

    class Layer(nn.Module):
        @nn.compact
        def __call__(self, x, _):
            return nn.Dense(2, kernel_init=init)(x), None

    scan = nn.scan(
        Layer, **STACKED, length=3, metadata_params={nn.PARTITION_NAME: "layers"}
    )
    return scan()(x, None)


@case
def boxes_alone(nn, module, x):
    init = nn.with_partitioning(nn.initializers.normal(), ("in", "out"))
    layer = nn.add_metadata_axis(
        nn.Dense,
        variable_axes={"params": 0},
        metadata_params={nn.PARTITION_NAME: "layers"},
    )
    return layer(4, kernel_init=init)(x)
