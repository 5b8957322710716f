"""Tests of batiste.core.lift.custom_rules."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from batiste.core import apply, init, lift, nn
from batiste.core.config import config
from batiste.core.scope import LazyRng

KEY = jax.random.key(0)


def dense(scope, x):
    return nn.dense(scope, x, 1)


def sign_backward(vjp_fn, y_t):
    params_t, *inputs_t = vjp_fn(y_t)
    return jax.tree.map(jnp.sign, params_t), *inputs_t


def forward(scope, x):
    return lift.vjp(dense, scope, x)


def test_custom_vjp_of_the_documentation():
    fn = lift.custom_vjp(dense, forward, sign_backward)
    x = jnp.array([3.0, -2.0])
    y, variables = init(fn)(KEY, x)
    expected, same = init(dense)(KEY, x)
    np.testing.assert_array_equal(y, expected)
    jax.tree.map(np.testing.assert_array_equal, variables, same)
    grads = jax.grad(lambda v: apply(fn)(v, x)[0])(variables)
    np.testing.assert_array_equal(grads["params"]["kernel"], [[1.0], [-1.0]])
    np.testing.assert_array_equal(
        jax.grad(lambda v: jax.jit(apply(fn))(v, x)[0])(variables)["params"]["kernel"],
        [[1.0], [-1.0]],
    )


def test_custom_vjp_other_collections_have_no_gradient():
    def fn(scope, x):
        offset = scope.get_variable("other", "offset")
        scope.put_variable("state", "y", x)
        return dense(scope.rewound(), x) + offset

    def fwd(scope, x):
        y, vjp_fn = lift.vjp(lambda s, x: fn(s, x), scope, x)
        return y, vjp_fn

    lifted = lift.custom_vjp(fn, fwd, sign_backward)
    x = jnp.ones(2)
    _, params = init(dense)(KEY, x)
    variables = {**params, "other": {"offset": jnp.ones(1)}}

    def loss(variables):
        y, new = apply(lifted, mutable="state")(variables, x)
        assert new["state"]["y"].shape == x.shape
        return y[0]

    grads = jax.grad(loss)(variables)
    np.testing.assert_array_equal(grads["other"]["offset"], [0.0])
    np.testing.assert_array_equal(grads["params"]["kernel"], jnp.ones((2, 1)))


def test_custom_vjp_draws_the_same_keys_in_fn_and_forward():
    def noise(scope, x):
        return x * jax.random.normal(scope.make_rng("noise"))

    fn = lift.custom_vjp(
        noise, lambda s, x: (noise(s, x), x), lambda x, y_t: ({}, 100 * y_t)
    )

    def model(scope, x):
        return fn(scope, x), jax.random.normal(scope.make_rng("noise"))

    rngs = {"noise": KEY}
    run = lambda x: apply(model)({}, x, rngs=rngs)  # noqa: E731
    y, after = run(1.0)
    value, grad = jax.value_and_grad(lambda x: run(x)[0])(1.0)
    assert (value, grad) == (y, 100)
    assert jax.jit(jax.value_and_grad(lambda x: run(x)[0]))(1.0)[0] == y
    assert jax.value_and_grad(lambda x: sum(run(x)))(1.0)[0] == y + after


def test_custom_vjp_nondiff_argnums():
    def fn(scope, x, power):
        return x**power

    seen = []

    def backward(power, residuals, y_t):
        seen.append(power)
        return {}, y_t * 7

    lifted = lift.custom_vjp(
        fn, lambda s, x, p: (fn(s, x, p), None), backward, nondiff_argnums=(2,)
    )
    assert jax.grad(lambda x: apply(lifted)({}, x, 3))(2.0) == 7
    assert seen == [3]


@pytest.mark.parametrize("lifted", [lift.custom_vjp, lift.custom_jvp])
def test_the_scope_cannot_be_a_nondiff_argument(lifted):
    args = (dense,) * (3 if lifted is lift.custom_vjp else 2)
    with pytest.raises(ValueError, match="nondiff_argnums counts the scope as 0"):
        apply(lifted(*args, nondiff_argnums=(0,)))({}, 1.0)


def test_custom_vjp_of_several_scopes():
    def fn(scopes, x):
        return scopes[0].get_variable("params", "w") * scopes[1].get_variable(
            "params", "w"
        )

    def model(scope):
        lifted = lift.custom_vjp(
            fn, lambda *a: lift.vjp(fn, *a), lambda r, t: r(10 * t)
        )
        return lifted((scope.push("a"), scope.push("b")), 1.0)

    params = {"params": {"a": {"w": 2.0}, "b": {"w": 3.0}}}
    grads = jax.grad(apply(model))(params)["params"]
    assert (grads["a"]["w"], grads["b"]["w"]) == (30, 20)


def test_custom_jvp():
    def fn(scope, x, power):
        scope.put_variable("state", "calls", 1)
        return scope.get_variable("params", "w") * x**power

    def rule(scope, power, primals, tangents, variable_tangents):
        y = fn(scope, *primals, power)
        return y, 100 * tangents[0] + variable_tangents["params"]["w"]

    lifted = lift.custom_jvp(fn, rule, nondiff_argnums=(2,))
    params = {"params": {"w": 2.0}}

    def run(params, x):
        y, new = apply(lifted, mutable="state")(params, x, 3)
        assert "calls" in new["state"]
        return y

    assert run(params, 5.0) == 250
    assert jax.grad(run, argnums=1)(params, 5.0) == 100
    assert jax.grad(run)(params, 5.0) == {"params": {"w": 1}}
    y, y_t = jax.jvp(jax.jit(run), (params, 5.0), ({"params": {"w": 1.0}}, 1.0))
    assert (y, y_t) == (250, 101)


def test_custom_jvp_with_a_lifted_jvp_as_rule():
    def rule(scope, primals, tangents, variable_tangents):
        y, y_t = lift.jvp(dense, scope, primals, tangents, variable_tangents)
        return y, 2 * y_t

    x = jnp.ones(2)
    lifted = lift.custom_jvp(dense, rule)
    _, variables = init(lifted)(KEY, x)
    a = jax.grad(lambda v: apply(lifted)(v, x)[0])(variables)
    b = jax.grad(lambda v: apply(dense)(v, x)[0])(variables)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, 2 * b), a, b)


@pytest.mark.parametrize("counts_on", [False, True])
def test_keys_of_a_forward_function_that_is_called_late(counts_on):
    drawn = []

    def noisy(scope, x):
        return x * jax.random.normal(scope.make_rng("params"))

    def noisy_forward(scope, x):
        noise = jax.random.normal(scope.make_rng("params"))
        return x * noise, noise

    def model(scope, x):
        fn = lift.custom_vjp(noisy, noisy_forward, lambda noise, y: ({}, noise * y))
        y = fn(scope, x)
        drawn.append(scope.make_rng("params"))
        return y

    run = jax.jit(lambda x: apply(model)({}, x, rngs=KEY))
    with config.temp_flip_flag("custom_vjp_counts_on", counts_on):
        gradient = jax.grad(run)(1.0)
    number = 3 if counts_on else 1
    assert gradient == jax.random.normal(LazyRng(KEY).draw(number))
    assert len(drawn) == 1
