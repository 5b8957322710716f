"""Stacks of lifted transforms against programs that lift nothing."""

import threading

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batiste.core import apply, init, lift, nn, unfreeze

KEY = jax.random.key(0)
few = settings(max_examples=6, deadline=None, derandomize=True)

# A program is a pair: a function of a scope, and a plain function
# (params, state, x) -> (y, state) for the same. A transform makes one of another.


def base_lifted(scope, x):
    w = scope.param("w", jax.random.normal, x.shape)
    n = scope.variable("state", "n", jnp.zeros, ())
    n.value += x.sum()
    return x + jnp.sin(w * x)


def base_plain(params, state, x):
    return x + jnp.sin(params["w"] * x), {"n": state["n"] + x.sum()}


def at(tree, i):
    return jax.tree.map(lambda leaf: leaf[i], tree)


def stack(trees):
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)


def child(lifted, plain):
    def run(scope, x):
        return lifted(scope.push("child"), x)

    def plain_run(params, state, x):
        y, state = plain(params["child"], state["child"], x)
        return y, {"child": state}

    return run, plain_run


def ensemble(lifted, plain):
    axes = {"params": 0, "state": 0}
    mapped = lift.vmap(lifted, axes, {"params": True}, in_axes=None, axis_size=2)

    def plain_run(params, state, x):
        runs = [plain(at(params, i), at(state, i), x) for i in range(2)]
        return sum(y for y, _ in runs), stack([state for _, state in runs])

    return lambda scope, x: mapped(scope, x).sum(0), plain_run


def layers(lifted, plain):
    axes = {"params": 0, "state": 0}
    loop = lift.scan(
        lambda s, x: (lifted(s, x), None), axes, split_rngs={"params": True}, length=2
    )

    def plain_run(params, state, x):
        states = []
        for i in range(2):
            x, new = plain(at(params, i), at(state, i), x)
            states.append(new)
        return x, stack(states)

    return lambda scope, x: loop(scope, x)[0], plain_run


def recurrent(lifted, plain):
    loop = lift.scan(
        lambda s, x: (lifted(s, x), None),
        variable_broadcast="params",
        variable_carry="state",
        split_rngs={"params": False},
        length=2,
    )

    def plain_run(params, state, x):
        for _ in range(2):
            x, state = plain(params, state, x)
        return x, state

    return lambda scope, x: loop(scope, x)[0], plain_run


def either(lifted, plain):
    def run(scope, x):
        if scope.is_mutable_collection("params"):
            # Parameters that a `cond` makes depend on what decides.
            return lifted(scope, x)
        return lift.cond(x.sum() > 0, lifted, lambda s, x: -lifted(s, x), scope, x)

    def plain_run(params, state, x):
        y, new = plain(params, state, x)
        return jnp.where(x.sum() > 0, y, -y), new

    return run, plain_run


def scaled(lifted, plain):
    def run(scope, x):
        return lift.map_variables(
            lifted,
            "params",
            lambda v: jax.tree.map(lambda w: 2 * w, v),
            lambda v: jax.tree.map(lambda w: w / 2, v),
            mutable=scope.is_mutable_collection("params"),
        )(scope, x)

    def plain_run(params, state, x):
        return plain(jax.tree.map(lambda w: 2 * w, params), state, x)

    return run, plain_run


def tangent(lifted, plain):
    def run(scope, x):
        y, y_t = lift.jvp(lifted, scope, (x,), (jnp.ones_like(x),), {})
        return y + y_t

    def plain_run(params, state, x):
        y, y_t, state = jax.jvp(
            lambda x: plain(params, state, x), (x,), (jnp.ones_like(x),), has_aux=True
        )
        return y + y_t, state

    return run, plain_run


def cotangent(lifted, plain):
    def run(scope, x):
        y, vjp_fn = lift.vjp(lifted, scope, x)
        return y + vjp_fn(jnp.ones_like(y))[-1]

    def plain_run(params, state, x):
        y, vjp_fn, state = jax.vjp(lambda x: plain(params, state, x), x, has_aux=True)
        return y + vjp_fn(jnp.ones_like(y))[0], state

    return run, plain_run


TRANSFORMS = {
    "child": child,
    "vmap": ensemble,
    "scan": layers,
    "scan_shared": recurrent,
    "cond": either,
    "map_variables": scaled,
    "jvp": tangent,
    "vjp": cotangent,
    "jit": lambda lifted, plain: (lift.jit(lifted), plain),
    "remat": lambda lifted, plain: (lift.checkpoint(lifted), plain),
    "fold_rngs": lambda lifted, plain: (lift.fold_rngs(lifted), plain),
    "switch": lambda lifted, plain: (
        lambda s, x: lift.switch(1, [lifted, lifted], s, x),
        plain,
    ),
}
OUTER = {
    "none": lambda fn: fn,
    "jit": jax.jit,
    "checkpoint": jax.checkpoint,
    "vmap": lambda fn: lambda v, x: at(jax.vmap(fn, (None, 0))(v, x[None]), 0),
}


def close(a, b):
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-3, atol=2e-3), a, b
    )


@few
@given(
    st.lists(st.sampled_from(sorted(TRANSFORMS)), min_size=1, max_size=4),
    st.sampled_from(sorted(OUTER)),
)
def test_any_stack_computes_what_it_computes_unlifted(names, outer):
    program = base_lifted, base_plain
    for name in names:
        program = TRANSFORMS[name](*program)
    lifted, plain = program
    x = jnp.array([0.3, 0.5])
    _, made = init(lifted)(KEY, x)
    variables = unfreeze(made)

    def run(variables, x):
        y, new = apply(lifted, mutable="state")(variables, x)
        return y, unfreeze(new)["state"]

    y, state = OUTER[outer](run)(variables, x)
    expected, expected_state = plain(variables["params"], variables["state"], x)
    close(y, expected)
    close(state, expected_state)

    def loss(fn):
        def total(params, x):
            y, state = fn(params, x)
            return y.sum() + sum(n.sum() for n in jax.tree.leaves(state))

        return jax.grad(total, argnums=(0, 1))

    grads = loss(lambda p, x: OUTER[outer](run)({**variables, "params": p}, x))
    expected = loss(lambda p, x: plain(p, variables["state"], x))
    close(
        grads(variables["params"], x),
        expected(variables["params"], x),
    )


@few
@given(st.lists(st.sampled_from(["jit", "remat", "child", "cond"]), max_size=5))
def test_transforms_that_change_no_key(names):
    def body(scope, x):
        y = nn.dense(scope.push("dense"), x, 2)
        return y + jax.random.bernoulli(scope.make_rng("dropout"), 0.5, y.shape)

    lifted, plain = body, body
    for name in names:
        if name == "child":
            lifted, plain = child(lifted, None)[0], child(plain, None)[0]
        else:
            lifted = TRANSFORMS[name](lifted, None)[0]

    def twice(fn):
        return init(lambda s, x: fn(s.rewound(), fn(s.rewound(), x)))

    rngs = {"params": KEY, "dropout": KEY}
    x = jnp.array([3.0, 4.0])
    _, variables = twice(lifted)(rngs, x)
    _, expected = twice(plain)(rngs, x)
    jax.tree.map(np.testing.assert_array_equal, variables, expected)


@pytest.mark.parametrize("name", sorted(TRANSFORMS))
def test_nothing_leaks(name):
    lifted, _ = TRANSFORMS[name](base_lifted, base_plain)
    x = jnp.array([0.3, 0.5])
    with jax.checking_leaks():
        _, variables = jax.jit(init(lifted))(KEY, x)
        run = apply(lifted, mutable="state")
        jax.jit(jax.grad(lambda v, x: run(v, x)[0].sum()))(variables, x)


def test_nothing_leaks_from_rules_and_loops():
    def model(scope, x):
        fn = lift.custom_vjp(
            lambda s, x: x * s.param("w", jax.random.normal, ()),
            lambda s, x: lift.vjp(
                lambda s, x: x * s.param("w", jax.random.normal, ()), s, x
            ),
            lambda vjp_fn, y_t: vjp_fn(y_t),
        )
        rule = lift.custom_jvp(
            lambda s, x: x**2, lambda s, p, t, v_t: (p[0] ** 2, 2 * p[0] * t[0])
        )
        y = rule(scope.push("rule"), fn(scope.push("fn"), x))
        return y + jax.lax.stop_gradient(
            lift.while_loop(
                lambda s, c: c < 3, lambda s, c: c + 1, scope, jax.lax.stop_gradient(x)
            )
        )

    with jax.checking_leaks():
        _, variables = jax.jit(init(model))(KEY, 2.0)
        jax.jit(jax.grad(apply(model)))(variables, 2.0)


def test_threads_do_not_disturb_one_another():
    def program(i):
        names = sorted(TRANSFORMS)
        return TRANSFORMS[names[i % len(names)]](*child(base_lifted, base_plain))

    def run(i):
        lifted, _ = program(i)
        x = jnp.array([0.1 * i, 0.5])
        return init(lifted)(jax.random.key(i), x)

    expected = [run(i) for i in range(16)]
    found = [None] * 16

    def work(i):
        found[i] = run(i)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    close(found, expected)
