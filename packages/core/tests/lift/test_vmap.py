"""Tests of batiste.core.lift.vmap."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from batiste.core import apply, errors, init, lift, meta, nn, struct

KEY = jax.random.key(0)


class Named(struct.PyTreeNode, meta.AxisMetadata):
    value: object
    names: tuple = struct.field(pytree_node=False)

    def unbox(self):
        return self.value

    def replace_boxed(self, val):
        return self.replace(value=val)

    def add_axis(self, index, params):
        names = (*self.names[:index], params["name"], *self.names[index:])
        return self.replace(names=names)

    def remove_axis(self, index, params):
        assert self.names[index] == params["name"]
        return self.replace(names=(*self.names[:index], *self.names[index + 1 :]))


def mlp(scope, x):
    h = nn.dense(scope.push("hidden"), x, 4)
    return nn.dense(scope.push("out"), jax.nn.relu(h), 1)


def test_separate_parameters():
    xs = jax.random.normal(KEY, (3, 4))
    model = lift.vmap(mlp, {"params": 0}, {"params": True})
    y, variables = init(model)(KEY, xs)
    shapes = jax.tree.map(jnp.shape, variables["params"])
    assert shapes == {
        "hidden": {"bias": (3, 4), "kernel": (3, 4, 4)},
        "out": {"bias": (3, 1), "kernel": (3, 4, 1)},
    }
    expected = jax.vmap(lambda v, x: apply(mlp)(v, x))(variables, xs)
    np.testing.assert_allclose(y, expected, rtol=1e-6)
    # Each instance has the parameters of its own key.
    keys = jax.random.split(KEY, 3)
    one = init(mlp)(keys[1], xs[1])[1]
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(variables), strict=True):
        np.testing.assert_array_equal(a, b[1])


def test_functionalized_by_hand():
    """The design note's `ManualVmapMLP`: a parameter that is a tree of parameters."""

    def by_hand(scope, xs):
        def init_fn(key, xs):
            keys = jax.random.split(key, xs.shape[0])
            return jax.vmap(lambda k, x: init(mlp)(k, x)[1]["params"])(keys, xs)

        params = scope.param("mlp", init_fn, xs)
        return jax.vmap(lambda p, x: apply(mlp)({"params": p}, x))(params, xs)

    def lifted(scope, xs):
        model = lift.vmap(mlp, {"params": 0}, {"params": True})
        return model(scope.push("mlp"), xs)

    xs = jax.random.normal(KEY, (3, 4))
    y, variables = init(by_hand)(KEY, xs)
    shapes = jax.tree.map(jnp.shape, variables)
    assert shapes == jax.tree.map(jnp.shape, init(lifted)(KEY, xs)[1])
    assert (apply(by_hand)(variables, xs) == y).all()
    np.testing.assert_allclose(apply(lifted)(variables, xs), y, rtol=1e-6)


def test_shared_parameters():
    xs = jnp.ones((3, 4))
    y, variables = init(lift.vmap(mlp, {"params": None}, {"params": False}))(KEY, xs)
    _, expected = init(mlp)(KEY, xs[0])
    jax.tree.map(np.testing.assert_array_equal, variables, expected)
    assert y.shape == (3, 1)


def test_shared_parameters_must_not_depend_on_the_axis():
    model = lift.vmap(
        lambda s, x: s.param("w", lambda key: x), {"params": None}, {"params": False}
    )
    with pytest.raises(ValueError, match="w"):
        init(model)(KEY, jnp.ones(3))


def test_axes_of_arguments_results_and_variables():
    def fn(scope, x, y):
        scope.put_variable("state", "x", x)
        return x + y, y

    model = lift.vmap(fn, {"state": 1}, {}, in_axes=(1, None), out_axes=(1, None))
    x = jnp.arange(6.0).reshape(2, 3)
    (a, b), state = apply(model, mutable=True)({}, x, jnp.ones(2))
    np.testing.assert_array_equal(a, x + 1)
    np.testing.assert_array_equal(b, jnp.ones(2))
    np.testing.assert_array_equal(state["state"]["x"], x)


def test_in_and_out():
    def fn(scope, x):
        scope.put_variable("out", "y", scope.get_variable("in", "x") * x)
        return scope.is_mutable_collection("in"), scope.has_variable("out", "z")

    flags = []
    model = lift.vmap(
        lambda s, x: flags.append(fn(s, x)), {"in": lift.In(0), "out": lift.Out(0)}, {}
    )
    variables = {"in": {"x": jnp.arange(2.0)}, "out": {"z": jnp.ones(5)}}
    _, new = apply(model, mutable=True)(variables, jnp.ones(2))
    assert flags == [(False, False)]
    np.testing.assert_array_equal(new["out"]["y"], [0.0, 1.0])


@pytest.mark.parametrize("make_key", [jax.random.key, jax.random.PRNGKey])
def test_streams(make_key):
    def fn(scope):
        return [jax.random.normal(scope.make_rng(name)) for name in ("a", "b")]

    model = lift.vmap(fn, {}, {"a": True, "b": False}, axis_size=3)
    a, b = apply(model)({}, rngs={"a": make_key(0), "b": make_key(1)})
    assert len(set(a.tolist())) == 3
    assert len(set(b.tolist())) == 1


def test_the_size_comes_from_variables_if_need_be():
    model = lift.vmap(lambda s: s.get_variable("params", "w") * 2, {"params": 0}, {})
    y = apply(model)({"params": {"w": jnp.ones(3)}})
    np.testing.assert_array_equal(y, 2 * jnp.ones(3))


def test_no_size():
    with pytest.raises(ValueError, match=r"lifted vmap.*Give axis_size"):
        init(lift.vmap(lambda s: 1, {"params": 0}, {"params": True}))(KEY)


def test_sizes_that_differ():
    model = lift.vmap(lambda s, x, y: x, {}, {})
    with pytest.raises(ValueError, match=r"args\[0\] has 3 .* args\[1\] has 2"):
        init(model)(KEY, jnp.ones(3), jnp.ones(2))
    model = lift.vmap(lambda s, x: x, {}, {}, axis_size=4)
    with pytest.raises(ValueError, match=r"axis_size is 4, args\[0\] has 3"):
        init(model)(KEY, jnp.ones(3))


def test_collectives_by_axis_name():
    model = lift.vmap(lambda s, x: x - jax.lax.pmean(x, "i"), {}, {}, axis_name="i")
    np.testing.assert_array_equal(apply(model)({}, jnp.arange(3.0)), [-1, 0, 1])


def test_batch_statistics_are_shared_with_an_axis_name():
    def fn(scope, x):
        count = scope.variable("state", "mean", jnp.zeros, ())
        count.value = jax.lax.pmean(x, "batch")
        return x - count.value

    model = lift.vmap(fn, {"state": None}, {}, axis_name="batch")
    y, state = apply(model, mutable=True)({}, jnp.arange(3.0))
    assert state["state"]["mean"] == 1
    np.testing.assert_array_equal(y, [-1, 0, 1])


def test_boxes_gain_and_lose_the_axis():
    def fn(scope, x):
        box = scope.param("w", lambda key: Named(jnp.ones(2), ("in",)), unbox=False)
        return box.names, scope.rewound().param("w", lambda key: None) * x

    seen = []

    def wrapper(scope, x):
        names, y = fn(scope, x)
        seen.append(names)
        return y

    model = lift.vmap(
        wrapper, {"params": 1}, {"params": True}, metadata_params={"name": "layers"}
    )
    _, variables = init(model)(KEY, jnp.ones(3))
    assert variables["params"]["w"].names == ("in", "layers")
    assert variables["params"]["w"].value.shape == (2, 3)
    assert apply(model)(variables, jnp.ones(3)).shape == (3, 2)
    assert seen == [("in",), ("in",)]


@pytest.mark.parametrize(
    ("options", "args", "words"),
    [
        ({}, (np.ones(3), np.ones(4)), ["args[0] has 3", "args[1] has 4"]),
        ({"axis_size": 2}, (np.ones(3),), ["axis_size is 2", "args[0] has 3"]),
        ({}, (np.ones(3),), ["args[0] has 3", 'the variable "state/w" has 5 along 0']),
        ({"in_axes": 2, "variable_axes": {}}, (np.ones(3),), ["has no axis 2", "None"]),
        ({"in_axes": (0, 0)}, (np.ones(3),), ["1 args", "in_axes=(0, 0)"]),
    ],
)
def test_sizes_that_differ_are_named(options, args, words):
    options = {"variable_axes": {"state": 0}, "split_rngs": {}, **options}
    mapped = lift.vmap(lambda scope, *args: 0, **options)
    with pytest.raises(errors.InvalidArgumentError) as raised:
        apply(mapped)({"state": {"w": np.ones(5)}}, *args)
    text = str(raised.value)
    assert 'lifted vmap of scope "/"' in text
    assert all(word in text for word in words), text
