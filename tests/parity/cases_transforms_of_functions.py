"""Programs that transform methods and functions of modules, for either library."""

from __future__ import annotations

import functools

import jax
from jax import numpy as jnp

from .transform_programs import STACKED, case

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
