"""Lifted transforms of the core against the released flax, bit by bit.

Every program is written once and run in both systems, with the flags of generation
0.12. Left out is the gradient of `custom_vjp` with changed variables, where a tracer
leaks there. What `jit` and `fold_rngs` make there takes a hash beside the scope.
"""

import functools
import importlib
import types
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from batiste import core as ours

theirs: Any = importlib.import_module("flax.core")

KEY = jax.random.key(0)
RNGS = {"params": KEY, "dropout": jax.random.key(1)}
X = jnp.linspace(-1, 1, 12).reshape(3, 4)


def layer(scope, x):
    """Parameters, noise and state, in the scope and below it."""
    w = scope.param("w", jax.random.normal, (x.shape[-1],))
    child = scope.push("child")
    v = child.param("v", jax.random.normal, x.shape[-1:])
    count = child.variable("state", "count", lambda: jnp.zeros(()))
    count.value += x.sum()
    noise = jax.random.normal(scope.make_rng("dropout"), x.shape)
    return jnp.sin(x * w) + v + noise


def stateless(scope, x):
    w = scope.param("w", jax.random.normal, (x.shape[-1],))
    noise = jax.random.normal(scope.make_rng("dropout"), x.shape)
    return jnp.sin(x * w) + noise


AXES = {"params": 0, "state": 0}
SPLIT = {"params": True, "dropout": True}


def vmap_split(lift, scope, x):
    return lift.vmap(layer, AXES, SPLIT)(scope, x)


def vmap_shared(lift, scope, x):
    fn = lift.vmap(stateless, {"params": None}, {"params": False, "dropout": True})
    return fn(scope, x)


def vmap_axes(lift, scope, x):
    axes = {"params": 1, "state": 0}
    fn = lift.vmap(layer, axes, SPLIT, in_axes=1, out_axes=1)
    return fn(scope, x)


def scan_layers(lift, scope, x):
    def body(scope, carry, x):
        return layer(scope, carry) + x, carry.sum()

    return lift.scan(body, AXES, split_rngs=SPLIT)(scope, x[0], x)


def scan_shared(lift, scope, x):
    def body(scope, carry, x):
        return stateless(scope, carry) + x, carry.sum()

    loop = lift.scan(
        body,
        variable_broadcast="params",
        split_rngs={"params": False, "dropout": True},
        in_axes=1,
        reverse=True,
    )
    return loop(scope, x[:, 0], x)


def scan_weak_carry(lift, scope, x):
    def body(scope, carry, x):
        return carry + stateless(scope, x).sum(), carry

    return lift.scan(body, {"params": 0}, split_rngs=SPLIT)(scope, 0, x)


def scan_unchecked(lift, scope, x):
    def body(scope, carry, x):
        return carry + 1.0, stateless(scope, x)

    loop = lift.scan(
        body, {"params": 0}, split_rngs=SPLIT, check_constancy_invariants=False
    )
    return loop(scope, 0.0, x)


def remat(lift, scope, x):
    return lift.checkpoint(layer)(scope, x)


def remat_scan(lift, scope, x):
    return lift.remat_scan(stateless, (2, 3))(scope, x)


def nested(lift, scope, x):
    inner = lift.vmap(layer, AXES, SPLIT)

    def body(scope, carry, _):
        return inner(scope, carry), None

    return lift.scan(lift.remat(body), {True: 0}, split_rngs={True: True}, length=2)(
        scope, x, None
    )[0]


def vjp(lift, scope, x):
    y, vjp_fn = lift.vjp(layer, scope, x)
    return y, vjp_fn(jnp.ones_like(y))


def jvp(lift, scope, x):
    return lift.jvp(layer, scope, (x,), (jnp.ones_like(x),), {})


def value_and_grad(lift, scope, x):
    def loss(scope, x):
        return layer(scope, x).sum(), x

    return lift.value_and_grad(loss, scope, x, has_aux=True)


def custom_vjp(lift, scope, x):
    def backward(vjp_fn, y_t):
        params_t, x_t = vjp_fn(y_t)
        return jax.tree.map(jnp.sign, params_t), 2 * x_t

    fn = lift.custom_vjp(layer, lambda *args: lift.vjp(layer, *args), backward)
    return fn(scope, x)


def map_variables(lift, scope, x):
    double = lambda v: jax.tree.map(lambda w: 2 * w, v)  # noqa: E731
    made = scope.is_mutable_collection("params")
    fn = lift.map_variables(layer, "params", double, double, init=made)
    return fn(scope, x)


def map_mutable_variables(lift, scope, x):
    double = lambda v: jax.tree.map(lambda w: 2 * w, v)  # noqa: E731
    fn = lift.map_variables(layer, "params", double, double, mutable=True)
    return fn(scope, x)


def swap_collection(lift, scope, x):
    return lift.swap_collection(layer, "params", "state")(scope, x)


def while_loop(lift, scope, x):
    def body(scope, carry):
        i, x = carry
        return i + 1, layer(scope, x)

    if scope.is_mutable_collection("params"):
        return body(scope, (0, x))
    split = {"dropout": True}
    return lift.while_loop(
        lambda scope, carry: carry[0] < 3, body, scope, (0, x), "state", True, split
    )


def cond(lift, scope, x):
    def deterministic(scope, x):
        child = scope.push("child")
        child.variable("state", "count", lambda: jnp.zeros(()))
        ones = jnp.ones(x.shape[-1:])
        if scope.is_mutable_collection("params"):
            scope.put_variable("params", "w", ones)
            child.put_variable("params", "v", ones)
        return x

    return lift.cond(x.sum() < 1, layer, deterministic, scope, x)


def cond_of_layers(lift, scope, x):
    def other(scope, x):
        return 2 * layer(scope, layer(scope.rewound(), x))

    return lift.cond(x.sum() > 1e6, layer, other, scope, x)


def switch(lift, scope, x):
    branches = [lambda scope, x, n=n: n * layer(scope, x) for n in range(3)]
    return lift.switch(2, branches, scope, x)


def folded(transform, lift, fn):
    """`jit` or `fold_rngs` of a function, called in the same way in both systems."""
    make = getattr(lift, transform)
    if lift is ours.lift:
        return make(fn)
    lifted = make(lambda scope, _, *args: fn(scope, *args))
    # With the same hash, counts of keys are taken over from calls before.
    return lambda scope, *args: lifted(scope, object(), *args)


def jit(lift, scope, x):
    return folded("jit", lift, layer)(scope, x)


def jit_after_a_key(lift, scope, x):
    before = jax.random.normal(scope.make_rng("dropout"), x.shape)
    y = folded("jit", lift, layer)(scope, x + before)
    return y + jax.random.normal(scope.make_rng("dropout"), x.shape)


def jit_twice(lift, scope, x):
    fn = folded("jit", lift, layer)
    return fn(scope.push("b"), fn(scope.push("a"), x))


def jit_within_jit(lift, scope, x):
    inner = folded("jit", lift, layer)
    return folded("jit", lift, lambda s, x: inner(s.push("below"), x))(scope, x)


def fold_rngs(lift, scope, x):
    return folded("fold_rngs", lift, layer)(scope, x)


def fold_rngs_after_a_key(lift, scope, x):
    before = jax.random.normal(scope.make_rng("dropout"), x.shape)
    y = folded("fold_rngs", lift, layer)(scope, x + before)
    return y + jax.random.normal(scope.make_rng("dropout"), x.shape)


def jit_within_scan(lift, scope, x):
    inner = folded("jit", lift, stateless)

    def body(scope, carry, x):
        return inner(scope, carry) + x, carry.sum()

    return lift.scan(body, AXES, split_rngs=SPLIT)(scope, x[0], x)


def scan_within_jit(lift, scope, x):
    return folded("jit", lift, functools.partial(scan_layers, lift))(scope, x)


def pack(lift, scope, x):
    def wrapper(scope_fn, repack_fn, variable_groups, rng_groups, x):
        variable_groups = jax.tree.map(lambda v: v + 1, variable_groups)
        rng_groups = lift.tree_map_rngs(
            lambda key: jax.random.split(key)[0], rng_groups
        )
        scopes = scope_fn(variable_groups, rng_groups)
        return layer(scopes[0], x) + stateless(scopes[1], x), repack_fn(scopes)

    fn = lift.pack(wrapper, ("params", True), (True,), (True,))
    return fn((scope.push("one"), scope.push("two")), x)


PROGRAMS = [
    value
    for value in list(globals().values())
    if isinstance(value, types.FunctionType)
    and value.__module__ == __name__
    and value.__code__.co_varnames[:1] == ("lift",)
]


def run(core, program):
    """Initializes and applies a program, and draws keys after it."""

    def model(scope, x):
        scope = scope.push("outer")
        first = program(core.lift, scope.push("here"), x)
        again = program(core.lift, scope.push("here", reuse=True), x)
        after = [scope.push("here", reuse=True).make_rng(n) for n in RNGS]
        return first, again, [jax.random.key_data(key) for key in after]

    y, variables = core.init(model)(RNGS, X)
    # `swap_collection` writes to "state" what goes to "params": not silently lost here.
    mutable = ["state", "params"] if program is swap_collection else "state"
    apply = core.apply(model, mutable=mutable)
    results = [y, variables, apply(variables, X, rngs=RNGS)]

    def loss(params):
        given = {**variables, "params": params}
        y = apply(given, X, rngs=RNGS)[0][0]
        leaves = [
            v for v in jax.tree.leaves(y) if jnp.issubdtype(v.dtype, jnp.floating)
        ]
        return sum(leaf.sum() for leaf in leaves)

    if program not in (while_loop, custom_vjp, swap_collection):
        results.append(jax.grad(loss)(variables["params"]))
    return results


def plain(tree):
    leaves = jax.tree_util.tree_flatten_with_path(tree)[0]
    return {jax.tree_util.keystr(path): np.asarray(leaf) for path, leaf in leaves}


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda p: p.__name__)
def test_program(program):
    found, expected = plain(run(ours, program)), plain(run(theirs, program))
    assert sorted(found) == sorted(expected)
    for name, value in expected.items():
        np.testing.assert_array_equal(found[name], value, err_msg=name)


def lazily(core, program, x):
    return core.lazy_init(lambda scope, x: program(core.lift, scope, x))(RNGS, x)


@pytest.mark.parametrize("program", [vmap_shared, scan_layers, remat])
def test_lazy_init(program):
    x = jax.ShapeDtypeStruct(X.shape, X.dtype) if program is vmap_shared else X
    found, expected = (plain(lazily(core, program, x)) for core in (ours, theirs))
    assert sorted(found) == sorted(expected)
    for name, value in expected.items():
        np.testing.assert_array_equal(found[name], value, err_msg=name)


def test_axes_scan():
    def body(table, carry, x, y):
        return table, carry + x.sum(), (x * y, table)

    for axis in (0, 1, -1):
        results = []
        for core in (ours, theirs):
            loop = core.axes_scan.scan(
                body, (axis, core.broadcast), (axis, core.broadcast)
            )
            results.append(plain(loop(X[0], 0.0, X, 2.0)))
        found, expected = results
        assert sorted(found) == sorted(expected)
        for name, value in expected.items():
            np.testing.assert_array_equal(found[name], value, err_msg=name)
