"""Tests of batiste.core.lift.autodiff."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from batiste.core import FrozenDict, apply, init, lift

KEY = jax.random.key(0)


def cube(scope, x):
    w = scope.param("w", lambda key: jnp.ones(()))
    scope.put_variable("state", "x", x) if scope.is_mutable_collection("state") else 0
    return w**3 * x


PARAMS = {"params": {"w": jnp.array(2.0)}}


def test_vjp():
    def model(scope, x):
        y, vjp_fn = lift.vjp(cube, scope, x)
        return y, vjp_fn(1.0)

    (y, (params_t, x_t)), new = apply(model, mutable="state")(PARAMS, 5.0)
    assert (y, params_t, x_t) == (40, {"params": {"w": 60}}, 8)
    assert new["state"]["x"] == 5


def test_vjp_with_aux_and_other_variables():
    def fn(scope, x):
        return cube(scope, x) * scope.get_variable("scale", "s"), {"aux": x}

    def model(scope, x, which):
        y, vjp_fn, aux = lift.vjp(fn, scope, x, has_aux=True, vjp_variables=which)
        return vjp_fn(1.0)[0], aux

    variables = {**PARAMS, "scale": {"s": 10.0}}
    assert apply(model)(variables, 5.0, "scale") == ({"scale": {"s": 40}}, {"aux": 5})
    both = {"params": {"w": 600}, "scale": {"s": 40}}
    assert apply(model)(variables, 5.0, True)[0] == both


def test_vjp_of_what_is_only_made():
    def model(scope, x):
        return lift.vjp(cube, scope, x)[1](1.0)

    (params_t, x_t), variables = init(model)(KEY, 5.0)
    assert params_t == {}
    assert x_t == 1
    assert variables["params"] == {"w": 1}


def test_vjp_of_several_scopes():
    def fn(scopes, x):
        a, b, c = scopes
        return cube(a, x) * cube(b, x) * cube(c, x)

    def model(scope, x):
        a, b = scope.push("a"), scope.push("b")
        return lift.vjp(fn, (a, b, a.push("c")), x)[1](1.0)

    w = {"w": jnp.array(1.0)}
    params = {"a": {**w, "c": w}, "b": w}
    (a, b, c), x_t = apply(model)({"params": params}, 2.0)
    assert a == {"params": {"w": 24, "c": {"w": 24}}}
    assert b == c == {"params": {"w": 24}}
    assert x_t == 12


def test_what_vjp_returns_is_a_pytree():
    def model(scope, x):
        def fn(x):
            y, vjp_fn = lift.vjp(cube, scope.rewound(), x)
            return y, vjp_fn

        return jax.tree.map(lambda leaf: leaf, fn(x)[1])(1.0)

    assert apply(model)(PARAMS, 5.0)[1] == 8


def test_value_and_grad_and_grad():
    def with_aux(scope, x, y):
        return cube(scope, x) * y, "aux"

    def without(scope, x, y):
        return with_aux(scope, x, y)[0]

    def model(fn, function, **kwargs):
        return apply(lambda s: function(fn, s, 5.0, 3.0, **kwargs))(PARAMS)

    assert model(without, lift.value_and_grad) == (120, (24, 40))
    assert model(with_aux, lift.value_and_grad, has_aux=True) == (120, "aux", (24, 40))
    assert model(without, lift.grad) == (24, 40)
    assert model(with_aux, lift.grad, has_aux=True) == ((24, 40), "aux")


def test_grad_of_no_scalar():
    with pytest.raises(TypeError, match="scalar"):
        apply(lambda s: lift.grad(lambda s, x: x, s, jnp.ones(2)))({})


def test_jvp():
    def model(scope, tangents):
        return lift.jvp(cube, scope, (5.0,), (1.0,), tangents)

    (y, y_t), new = apply(model, mutable="state")(PARAMS, {"params": {"w": 1.0}})
    assert (y, y_t) == (40, 8 + 60)
    assert new["state"]["x"] == 5
    assert apply(model)(PARAMS, {}) == (40, 8)
    assert apply(model)(PARAMS, FrozenDict({"params": {"w": 1.0}})) == (40, 68)


def test_jvp_of_the_documentation():
    def learn_scale(scope, x):
        p = scope.param("scale", lambda key: jnp.zeros(()))
        return p * x

    def model(scope, x):
        tangents = jax.tree.map(jnp.ones_like, scope.variables().get("params", {}))
        return lift.jvp(
            learn_scale,
            scope,
            (x,),
            (jnp.zeros_like(x),),
            variable_tangents={"params": tangents},
        )

    (x, x_t), params = init(model)(KEY, jnp.ones(2))
    np.testing.assert_array_equal(x_t, [0, 0])
    x, x_t = apply(model)(params, jnp.ones(2))
    np.testing.assert_array_equal(x, [0, 0])
    np.testing.assert_array_equal(x_t, [1, 1])


def test_jvp_of_several_scopes():
    def fn(scopes, x):
        return cube(scopes["a"], x) + cube(scopes["b"], x)

    def model(scope):
        scopes = {"a": scope.push("a"), "b": scope.push("b")}
        tangents = {"a": {"params": {"w": 1.0}}, "b": {"params": {"w": 10.0}}}
        return lift.jvp(fn, scopes, (1.0,), (0.0,), tangents)

    params = {"params": {"a": {"w": 1.0}, "b": {"w": 2.0}}}
    assert apply(model)(params) == (9, 3 + 120)


def test_linearize():
    def fn(scope, x):
        return cube(scope, x), {"aux": x}

    def model(scope, tangents):
        y, jvp_fn, aux = lift.linearize(fn, scope, 5.0, has_aux=True)
        assert aux == {"aux": 5}
        y, jvp_fn = lift.linearize(cube, scope.rewound(), 5.0)
        return y, [jvp_fn({"params": {"w": t}}, x_t) for t, x_t in tangents]

    y, tangents = apply(model)(PARAMS, [(1.0, 0.0), (0.0, 1.0), (1.0, 1.0)])
    assert y == 40
    assert tangents == [60, 8, 68]


def test_derivatives_can_be_nested_and_transformed():
    def second(scope, x):
        def first(scope, x):
            return lift.grad(lambda s, x: cube(s, x**3), scope, x)[0]

        return lift.jvp(first, scope, (x,), (1.0,), {})[1]

    expected = jax.jacfwd(jax.grad(lambda x: 8 * x**3))(5.0)
    assert apply(second)(PARAMS, 5.0) == expected
    assert jax.jit(apply(second))(PARAMS, 5.0) == expected
    grads = jax.grad(apply(second))(PARAMS, 5.0)
    assert grads["params"]["w"] == 3 * 4 * 6 * 5
