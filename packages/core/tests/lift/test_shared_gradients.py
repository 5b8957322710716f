"""Tests of batiste.core.lift.shared_gradients."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, PartitionSpec

from batiste.core import apply, lift
from batiste.core.lift.shared_gradients import sum_shared

W, XS = 2.0, jnp.arange(1.0, 4.0)
AXES = ("batch",)


def weigh(scope, x):
    return jnp.sin(scope.get_variable("params", "w") * x)


def slopes(w, x, reduce_axes=AXES):
    """The gradients of a variable and of an argument."""

    def model(scope, x):
        y, backward = lift.vjp(weigh, scope, x, reduce_axes=reduce_axes)
        params_t, x_t = backward(jnp.ones_like(y))
        return params_t["params"]["w"], x_t

    return apply(model)({"params": {"w": w}}, x)


EACH = np.cos(W * XS) * XS  # of the variable, at each example
X_T = np.cos(W * XS) * W


def test_shared_variables_of_vmap():
    mapped = jax.vmap(slopes, (None, 0), (None, 0), axis_name="batch")
    w_t, x_t = mapped(W, XS)
    assert np.allclose(w_t, EACH.sum())
    assert np.allclose(x_t, X_T)
    w_t, x_t = jax.jit(jax.vmap(jax.jit(slopes), (None, 0), axis_name="batch"))(W, XS)
    assert np.allclose(w_t, [EACH.sum()] * 3)
    assert np.allclose(x_t, X_T)


def test_without_axes_gradients_are_of_single_examples():
    alone = functools.partial(slopes, reduce_axes=())
    w_t, _ = jax.vmap(alone, (None, 0), axis_name="batch")(W, XS)
    assert np.allclose(w_t, EACH)


def test_variables_of_each_example():
    w_t, x_t = jax.vmap(slopes, axis_name="batch")(jnp.full(3, W), XS)
    assert np.allclose(w_t, EACH)
    assert np.allclose(x_t, X_T)


@pytest.mark.parametrize("named", ["inner", "outer", "both"])
def test_nested_axes(named):
    inner, outer = ("batch", "other") if named == "inner" else ("other", "batch")
    axes = ("batch", "other") if named == "both" else AXES
    summed = functools.partial(slopes, reduce_axes=axes)
    rows = jax.vmap(summed, (None, 0), axis_name=inner)
    w_t, x_t = jax.vmap(rows, (None, 0), axis_name=outer)(W, jnp.stack([XS, 2 * XS]))
    each = np.stack([EACH, np.cos(2 * W * XS) * 2 * XS])
    axis = {"inner": 1, "outer": 0, "both": None}[named]
    assert np.allclose(w_t, np.broadcast_to(each.sum(axis, keepdims=True), (2, 3)))
    assert np.allclose(x_t[1], np.cos(2 * W * XS) * W)
    # One weight for each row: only what is shared along the axis is summed.
    w_t, _ = jax.vmap(rows, axis_name=outer)(jnp.full(2, W), jnp.stack([XS, 2 * XS]))
    if named == "outer":
        assert np.allclose(w_t, each)


def test_axes_that_are_not_mapped():
    assert np.allclose(slopes(W, XS[0])[0], EACH[0])


def test_gradients_of_gradients():
    def total(w):
        return jax.vmap(slopes, (None, 0), axis_name="batch")(w, XS)[0][0]

    assert np.allclose(jax.grad(total)(W), (-np.sin(W * XS) * XS**2).sum(), rtol=1e-4)


def test_value_and_grad():
    def model(scope, w, x):
        value = lift.value_and_grad(
            lambda scope, w, x: jnp.sin(w * x), scope, w, x, reduce_axes=AXES
        )
        (also,) = lift.grad(lambda scope, w: jnp.sin(w * x), scope, w, reduce_axes=AXES)
        return *value, also

    mapped = jax.vmap(apply(model), (None, None, 0), axis_name="batch")
    _, (w_t, x_t), also = mapped({}, W, XS)
    assert np.allclose(w_t, [EACH.sum()] * 3)
    assert np.allclose(also, w_t)
    assert np.allclose(x_t, X_T)


def offset(w, x):
    """The gradient of a variable of which each example asks as much: a bias."""

    def model(scope, x):
        y, backward = lift.vjp(
            lambda scope, x: scope.get_variable("params", "w") + x,
            *(scope, x),
            reduce_axes=AXES,
        )
        return backward(jnp.ones_like(y))[0]["params"]["w"]

    return apply(model)({"params": {"w": w}}, x)


def test_gradients_that_are_the_same_for_each_example():
    w_t = jax.vmap(offset, (None, 0), axis_name="batch")(W, XS)
    assert np.array_equal(w_t, [len(XS)] * 3)
    rows = jax.vmap(offset, (None, 0), axis_name="other")
    w_t = jax.vmap(rows, (None, 0), axis_name="batch")(W, jnp.ones((2, 3)))
    assert np.array_equal(w_t, np.full((2, 3), 2))
    w_t = jax.vmap(offset, axis_name="batch")(jnp.full(3, W), XS)
    assert np.array_equal(w_t, [1] * 3)
    n = jax.device_count()
    w_t = jax.pmap(lambda x: offset(W, x), axis_name="batch")(jnp.ones(n))
    assert np.array_equal(w_t, [n] * n)


def test_several_devices_of_pmap():
    n = jax.device_count()
    w_t, x_t = jax.pmap(lambda x: slopes(W, x), axis_name="batch")(
        jnp.arange(1.0, n + 1)
    )
    xs = np.arange(1.0, n + 1)
    assert np.allclose(w_t, [(np.cos(W * xs) * xs).sum()] * n, atol=1e-5)
    assert np.allclose(x_t, np.cos(W * xs) * W, atol=1e-5)


def test_shard_map_has_summed_already():
    n = jax.device_count()
    mesh = jax.make_mesh((n,), ("batch",), axis_types=(AxisType.Auto,))
    xs = np.arange(1.0, n + 1, dtype=np.float32)
    spec, whole = PartitionSpec("batch"), PartitionSpec()

    def total(w, x):
        w_t, x_t = slopes(w, x)
        return w_t, x_t

    mapped = jax.shard_map(
        total, mesh=mesh, in_specs=(whole, spec), out_specs=(whole, spec)
    )
    w_t, x_t = mapped(jnp.float32(W), xs)
    # The variable came through the specs, and `x` has one element on each device.
    assert np.allclose(w_t, (np.cos(W * xs) * xs).sum(), atol=1e-5)
    assert np.allclose(x_t, np.cos(W * xs) * W, atol=1e-5)


def test_leaves_of_all_kinds():
    values = {
        "w": jnp.float32(W),
        "n": np.int32(3),
        "key": jax.random.key(0),
        "half": jnp.ones((2, 2), jnp.bfloat16),
    }

    def loss(values, x):
        return x * values["w"] + values["half"].sum().astype("float32") * x

    def at_one(x):
        _, backward = jax.vjp(lambda values: loss(values, x), values)
        return sum_shared(*backward(1.0), values, AXES)

    found = jax.vmap(at_one, out_axes=None, axis_name="batch")(XS)
    assert found["w"] == XS.sum()
    assert found["half"].dtype == jnp.bfloat16
    assert (found["half"] == XS.sum()).all()
    assert found["n"].dtype == found["key"].dtype == jax.dtypes.float0


def test_the_pullback_is_a_tree():
    def model(scope, x):
        return lift.vjp(weigh, scope, x, reduce_axes=AXES)

    def run(w, x):
        _, backward = apply(model)({"params": {"w": w}}, x)
        again = jax.tree.map(lambda leaf: leaf, backward)
        assert jax.tree.structure(again) == jax.tree.structure(backward)
        return again(1.0)[0]["params"]["w"]

    assert np.allclose(
        jax.vmap(run, (None, 0), None, axis_name="batch")(W, XS), EACH.sum()
    )
    plain = apply(lambda scope, x: lift.vjp(weigh, scope, x))({"params": {"w": W}}, 1.0)
    other = apply(model)({"params": {"w": W}}, 1.0)
    assert jax.tree.structure(plain[1]) != jax.tree.structure(other[1])
