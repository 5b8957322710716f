"""Tests of batiste.core.partial_eval."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from batiste.core import errors, init, lazy_init, lift, nn
from batiste.core.partial_eval import lazy_init as lazy
from batiste.core.partial_eval import partial_eval_by_shape

KEY = jax.random.key(0)
SHAPE = jax.ShapeDtypeStruct((4, 3), jnp.float32)


def model(scope, x, features=2, train=True):
    h = nn.dense(scope.push("first"), x, features)
    return jax.nn.relu(h) if train else h


def test_the_variables_are_those_of_init():
    variables = lazy_init(model)(KEY, SHAPE)
    _, expected = init(model)(KEY, jnp.ones((4, 3)))
    jax.tree.map(np.testing.assert_array_equal, variables, expected)
    assert type(variables) is type(expected)


def test_static_arguments_stay_static():
    variables = lazy_init(model)(KEY, SHAPE, 5, train=False)
    assert variables["params"]["first"]["kernel"].shape == (3, 5)


def test_only_what_is_needed_runs():
    ran = []

    def fn(x):
        def effect(y):
            ran.append(y)
            return y

        shape = jax.ShapeDtypeStruct((), jnp.float32)
        big = jax.pure_callback(effect, shape, jnp.float32(1))
        return jnp.ones(x.shape), (big + x).shape

    y, shape = lazy(fn)(SHAPE)
    assert y.shape == (4, 3)
    assert shape == (4, 3)
    assert not ran


def test_outputs_that_are_no_arrays_come_out_as_they_are():
    given = np.arange(3)
    out = lazy(lambda x: {"n": 0, "x": given, "key": KEY, "none": None})(SHAPE)
    assert out["n"] == 0
    assert type(out["n"]) is int
    assert out["x"] is given
    assert out["key"] is KEY
    assert out["none"] is None


def test_variables_that_depend_on_values():
    def bad(scope, x):
        scope.param("fine", lambda key: jnp.ones(x.shape))
        scope.push("child").param("kernel", lambda key: x)
        scope.variable("state", "sum", lambda: x.sum())

    message = 'the variables "params/child/kernel", "state/sum".*float32\\[4,3\\]'
    with pytest.raises(errors.LazyInitError, match=message) as info:
        lazy_init(bad)(KEY, SHAPE)
    assert info.value.names == ["params/child/kernel", "state/sum"]
    variables = lazy_init(bad)(KEY, jnp.ones((4, 3)))
    assert variables["state"]["sum"] == 12


def inside(transform):
    """Values that do not depend on `x`, from a transform that `x` goes through."""

    def run(w, x):
        return transform(lambda w, x: (2 * w, w * x))(w, x)[0]

    return run


def _custom_jvp(fn):
    rule = jax.custom_jvp(fn)
    rule.defjvp(lambda p, t: (fn(*p), fn(*p)))
    return rule


def _custom_vjp(fn):
    rule = jax.custom_vjp(fn)
    rule.defvjp(lambda *a: (fn(*a), None), lambda r, t: t)
    return rule


def _scan(fn):
    def run(w, x):
        return jax.lax.scan(lambda c, x: (c, fn(c, x)[0]), w, x)

    return run


def _cond(fn):
    return lambda w, x: jax.lax.cond(True, fn, lambda w, x: (w, w * x), w, x)


def _printing(fn):
    def run(w, x):
        jax.debug.print("{}", x)
        return jax.jit(lambda w, x: (jax.debug.print("{}", x), fn(w, x))[1])(w, x)

    return run


@pytest.mark.parametrize(
    "transform",
    [jax.jit, jax.checkpoint, _custom_jvp, _custom_vjp, _scan, _cond, _printing],
)
def test_the_analysis_sees_through(transform, capfd):
    w = jnp.ones(())
    expected = inside(transform)(w, jnp.ones(4))
    capfd.readouterr()
    y = lazy(inside(transform))(w, jax.ShapeDtypeStruct((4,), jnp.float32))
    np.testing.assert_array_equal(y, expected)
    jax.effects_barrier()
    assert capfd.readouterr().out == ""


def test_through_lifted_transforms():
    def lifted(scope, x):
        dense = lambda scope, x: nn.dense(scope, x, 3)  # noqa: E731
        x = lift.jit(dense)(scope.push("jit"), x)
        x = lift.checkpoint(dense)(scope.push("remat"), x)
        x = lift.vmap(dense, {"params": None}, {"params": False})(scope.push("v"), x)
        loop = lift.scan(
            lambda s, x: (dense(s, x), None),
            {"params": 0},
            split_rngs={"params": True},
            length=2,
        )
        return loop(scope.push("scan"), x)

    variables = lazy_init(lifted)(KEY, SHAPE)
    _, expected = init(lifted)(KEY, jnp.ones((4, 3)))
    jax.tree.map(np.testing.assert_array_equal, variables, expected)


def test_within_jit_and_grad():
    variables = jax.jit(lambda key: lazy_init(model)(key, SHAPE))(KEY)
    assert variables["params"]["first"]["kernel"].shape == (3, 2)
    grad = jax.grad(lambda w: lazy(lambda x: w * x.shape[0])(SHAPE))(2.0)
    assert grad == 4


def test_partial_eval_by_shape():
    def fn(x, y, scale, *, offset):
        return {"known": jnp.ones(x.shape) * scale + offset, "unknown": x @ y, "n": 1}

    out = partial_eval_by_shape(fn, [(4, 3), ((3, 2), jnp.float16)], 2, offset=1)
    np.testing.assert_array_equal(out["known"], 3 * jnp.ones((4, 3)))
    assert out["unknown"] == jax.ShapeDtypeStruct((4, 2), jnp.float32)
    assert out["n"] == 1
    assert partial_eval_by_shape(lambda x: x, [SHAPE]) == SHAPE


@pytest.mark.parametrize("spec", [("a", 3), 3, [(2.0, 3)]])
def test_no_input_specification(spec):
    with pytest.raises(TypeError):
        partial_eval_by_shape(lambda x: x, [spec])
