"""Tests of batiste.core.lift.scan."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from batiste.core import apply, broadcast, errors, init, lift, meta, nn, struct

KEY = jax.random.key(0)


class Named(struct.PyTreeNode, meta.AxisMetadata):
    value: object
    names: tuple = struct.field(pytree_node=False)

    def unbox(self):
        return self.value

    def replace_boxed(self, val):
        return self.replace(value=val)

    def add_axis(self, index, params):
        return self.replace(names=(params["name"], *self.names))

    def remove_axis(self, index, params):
        assert self.names[0] == params["name"]
        return self.replace(names=self.names[1:])


def lstm_cell(scope, carry, x):
    c, h = carry
    gates = nn.dense(scope.push("i"), x, 4 * c.shape[-1], bias=False)
    gates = gates + nn.dense(scope.push("h"), h, 4 * c.shape[-1])
    i, f, g, o = jnp.split(gates, 4, axis=-1)
    c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
    h = jax.nn.sigmoid(o) * jnp.tanh(c)
    return (c, h), h


def unrolled(fn, scope, carry, xs):
    ys = []
    for x in xs:
        carry, y = fn(scope.rewound(), carry, x)
        ys.append(y)
    return carry, jnp.stack(ys)


def test_an_lstm():
    xs = jax.random.normal(KEY, (2, 5, 3))
    carry = (jnp.zeros((2, 4)), jnp.zeros((2, 4)))
    model = lift.scan(
        lstm_cell,
        variable_broadcast="params",
        split_rngs={"params": False},
        in_axes=1,
        out_axes=1,
    )
    (_, ys), variables = init(model)(KEY, carry, xs)
    assert jax.tree.map(jnp.shape, variables["params"]) == {
        "i": {"kernel": (3, 16)},
        "h": {"kernel": (4, 16), "bias": (16,)},
    }
    _, expected = apply(lambda s: unrolled(lstm_cell, s, carry, xs.swapaxes(0, 1)))(
        variables
    )
    np.testing.assert_allclose(ys, expected.swapaxes(0, 1), rtol=1e-6, atol=1e-6)

    def loss(variables):
        return apply(model)(variables, carry, xs)[1].sum()

    def unrolled_loss(variables):
        fn = apply(lambda s: unrolled(lstm_cell, s, carry, xs.swapaxes(0, 1))[1])
        return fn(variables).sum()

    a, b = jax.grad(loss)(variables), jax.grad(unrolled_loss)(variables)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4), a, b)


def layer(scope, x, _=None):
    return x + nn.dense(scope.push("dense"), x, x.shape[-1]), x.sum()


@pytest.mark.parametrize("reverse", [False, True])
def test_layers(reverse):
    x = jnp.ones((1, 2))
    model = lift.scan(
        layer, {"params": 0}, split_rngs={"params": True}, length=4, reverse=reverse
    )
    (y, sums), variables = init(model)(KEY, x)
    kernels = variables["params"]["dense"]["kernel"]
    assert kernels.shape == (4, 2, 2)
    assert len({float(k[0, 0]) for k in kernels}) == 4
    expected_sums = [None] * 4
    for i in reversed(range(4)) if reverse else range(4):
        expected_sums[i] = x.sum()
        x = x + x @ kernels[i]
    np.testing.assert_allclose(y, x, rtol=1e-5)
    np.testing.assert_allclose(sums, jnp.stack(expected_sums), rtol=1e-5)


def test_variable_axes_and_in_out():
    def body(scope, carry, x):
        w = scope.get_variable("weights", "w")
        scope.put_variable("log", "y", w * x)
        return carry + 1, None

    model = lift.scan(body, {"weights": lift.In(1), "log": lift.Out(1)}, out_axes=0)
    weights = jnp.arange(6.0).reshape(2, 3)
    (carry, _), new = apply(model, mutable=True)(
        {"weights": {"w": weights}}, 0, jnp.arange(3.0)
    )
    assert carry == 3
    np.testing.assert_array_equal(new["log"]["y"], weights * jnp.arange(3.0))


def test_carried_variables():
    def body(scope, carry, x):
        total = scope.variable("state", "total")
        total.value += x
        return carry, total.value

    model = lift.scan(body, variable_carry="state")
    state = {"state": {"total": jnp.zeros(())}}
    (_, ys), new = apply(model, mutable=True)(state, 0, jnp.arange(4.0))
    np.testing.assert_array_equal(ys, [0, 1, 3, 6])
    assert new["state"]["total"] == 6


def test_carried_variables_that_are_immutable_can_be_read():
    def body(scope, carry, x):
        return carry + scope.get_variable("state", "a") * x, None

    model = lift.scan(body, variable_carry="state", variable_broadcast="params")
    (y, _), new = apply(model, mutable="other")({"state": {"a": 2.0}}, 0.0, jnp.ones(3))
    assert y == 6
    assert new == {}


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("length", [1, 4])
def test_carried_variables_made_inside(length, reverse):
    def body(scope, carry, x):
        total = scope.variable("state", "total", lambda: 10 * x)
        total.value += x
        w = scope.param("w", jax.random.normal, ())
        noise = jax.random.normal(scope.make_rng("shared"))
        own = jax.random.normal(scope.make_rng("own"))
        return carry + w, (total.value, noise, own)

    model = lift.scan(
        body,
        {"params": 0},
        variable_carry="state",
        split_rngs={"params": True, "shared": False, "own": True},
        reverse=reverse,
    )
    xs = jnp.arange(1.0, 1.0 + length)
    rngs = {"params": KEY, "shared": KEY, "own": KEY}
    (_, (totals, noise, own)), variables = init(model)(rngs, 0.0, xs)
    order = xs[::-1] if reverse else xs
    expected = 10 * order[0] + jnp.cumsum(order)
    np.testing.assert_array_equal(totals[::-1] if reverse else totals, expected)
    assert variables["state"]["total"] == expected[-1]
    assert variables["params"]["w"].shape == (length,)
    assert len(set(noise.tolist())) == 1
    assert len(set(own.tolist())) == length
    apply(model, mutable="state")(variables, 0.0, xs, rngs=rngs)


def test_carried_variables_must_keep_their_shape():
    def grow(scope, carry, x):
        old = scope.get_variable("state", "x")
        scope.put_variable("state", "x", jnp.concatenate([old, old]))
        return carry, None

    model = lift.scan(grow, variable_carry="state")
    message = r'scan of scope "/" changes the shape of the variable "state/x" from \(2'
    with pytest.raises(TypeError, match=message):
        apply(lambda s: model(s, 0, jnp.ones(2)), mutable=True)(
            {"state": {"x": jnp.ones(2)}}
        )


def test_broadcast_variables_must_not_depend_on_the_loop():
    model = lift.scan(
        lambda s, c, x: (c, s.param("w", lambda key: x)), variable_broadcast="params"
    )
    with pytest.raises(ValueError, match='is the variable "params/w" of scope "/".'):
        apply(
            lambda s: lift.scan(
                lambda s, c, x: (c, s.variable("params", "w", lambda: x).value),
                variable_broadcast="params",
            )(s, 0, jnp.ones(3)),
            mutable=True,
        )({})
    with pytest.raises(errors.InvalidRngError, match="params"):
        init(model)(KEY, 0, jnp.ones(3))


def test_broadcast_arguments_and_results():
    def body(scope, carry, x, table):
        return carry, (x * table, table.sum())

    model = lift.scan(body, in_axes=(0, broadcast), out_axes=(0, broadcast))
    _, (ys, total) = apply(model)({}, 0, jnp.arange(2.0), jnp.ones(3))
    assert ys.shape == (2, 3)
    assert total == 3


def test_data_transform():
    def body(scope, carry):
        return carry, scope.param("w", jax.random.normal, (2,))

    def double(variable_groups, rng_groups):
        broadcast_vars, carry_vars, params = variable_groups
        return (broadcast_vars, carry_vars, jax.tree.map(jnp.add, params, params)), (
            rng_groups
        )

    def run(transform):
        return lift.scan(
            body,
            {"params": 0},
            split_rngs={"params": True},
            length=3,
            data_transform=transform,
        )

    _, variables = init(run(double))(KEY, 0)
    plain = apply(run(None))(variables, 0)[1]
    np.testing.assert_array_equal(apply(run(double))(variables, 0)[1], 2 * plain)


def test_boxes_gain_and_lose_the_axis():
    def body(scope, carry):
        w = scope.param("w", lambda key: Named(jnp.ones(2), ("in",)))
        return carry + w.sum(), None

    model = lift.scan(
        body,
        {"params": 0},
        split_rngs={"params": True},
        length=3,
        metadata_params={"name": "layers"},
    )
    _, variables = init(model)(KEY, 0.0)
    assert variables["params"]["w"].names == ("layers", "in")
    assert apply(model)(variables, 0.0)[0] == 6


def test_without_constancy_check():
    traces = []

    def body(scope, carry, x):
        traces.append(0)
        return carry + scope.param("w", jax.random.normal, ()), x

    model = lift.scan(
        body,
        {"params": 0},
        split_rngs={"params": True},
        check_constancy_invariants=False,
        _split_transpose=True,
        unroll=2,
    )
    _, variables = init(model)(KEY, 0.0, jnp.ones(4))
    assert variables["params"]["w"].shape == (4,)
    assert len(traces) == 1
    shared = lift.scan(
        body,
        variable_broadcast="params",
        split_rngs={"params": False},
        check_constancy_invariants=False,
    )
    _, variables = init(shared)(KEY, 0.0, jnp.ones(4))
    assert variables["params"]["w"].shape == ()


def test_the_length_comes_from_variables_if_need_be():
    model = lift.scan(
        lambda s, c: (c + s.get_variable("params", "w"), None), {"params": 0}
    )
    y, _ = apply(model)({"params": {"w": jnp.arange(4.0)}}, 0.0)
    assert y == 6


def test_errors_of_length_and_axes():
    model = lift.scan(lambda s, c, *xs: (c, None))
    with pytest.raises(ValueError, match="Give length="):
        apply(model)({}, 0)
    with pytest.raises(ValueError, match=r"xs\[0\] has 2 along 0, xs\[1\] has 3"):
        apply(model)({}, 0, jnp.ones(2), jnp.ones(3))
    with pytest.raises(ValueError, match=r"of shape \(\), has no axis 0"):
        apply(lift.scan(lambda s, c, x: (c, x), length=2))({}, 0, 1.0)
    with pytest.raises(ValueError, match="belong into variable_broadcast"):
        lift.scan(lambda s, c: (c, None), {"params": None})


def test_a_carry_that_changes():
    with pytest.raises(TypeError, match="carry"):
        apply(lift.scan(lambda s, c: ((c, c), None), length=2))({}, 0.0)


def test_no_iterations():
    model = lift.scan(lambda s, c, x: (c + x, 2 * x))
    carry, ys = apply(model)({}, 1.0, jnp.ones((0,)))
    assert carry == 1
    assert ys.shape == (0,)


def test_positions_of_both_generations():
    def double(variables, rngs):
        return jax.tree.map(lambda w: 2 * w, variables), rngs

    def step(scope, carry):
        return carry * scope.get_variable("params", "w"), None

    variables = {"params": {"w": jnp.arange(1.0, 3.0)}}
    first = ({"params": 0}, False, False, {}, 0, 0, None, False, 1)
    for more in [(double,), (double, {"name": "layers"}), (False, double, {})]:
        loop = lift.scan(step, *first, *more)
        assert apply(loop)(variables, 1.0)[0] == 8.0
    plain = lift.scan(step, *first, None, {"name": "layers"})
    assert apply(plain)(variables, 1.0)[0] == 2.0


@pytest.mark.parametrize(
    ("made", "words"),
    [
        (lambda c, x: c, "float32[2]"),
        (lambda c, x: None, "None"),
        (lambda c, x: (c, x, x), "a tuple of 3"),
        (lambda c, x: (c,), "a tuple of 1"),
        (lambda c, x: [], "a list of 0"),
        (lambda c, x: {"carry": 1, "ys": 2}, "{'carry': 1, 'ys': 2}"),
        (lambda c, x: jnp.stack([c, c]), "float32[2,2]"),
    ],
)
@pytest.mark.parametrize("broadcasts", [True, False])
def test_a_body_that_returns_no_pair(made, words, broadcasts):
    def model(scope, x):
        loop = lift.scan(lambda scope, c, x: made(c, x), variable_broadcast=broadcasts)
        return loop(scope.push("loop"), x, jnp.ones(3))

    with pytest.raises(errors.InvalidArgumentError) as raised:
        init(model)(jax.random.key(0), jnp.ones(2))
    text = str(raised.value)
    assert 'scan of scope "/loop" must return a pair, (carry, ys)' in text
    assert f"returned {words}. Return (carry, None)" in text


def test_a_list_of_two_is_a_pair():
    loop = lift.scan(lambda scope, c, x: [c + x, None])
    assert init(loop)(jax.random.key(0), 0.0, jnp.ones(3))[0] == (3.0, None)


@pytest.mark.parametrize(
    ("options", "xs", "words"),
    [
        ({}, (np.ones(3), np.ones(4)), ["xs[0] has 3 along 0", "xs[1] has 4 along 0"]),
        ({}, ({"a": np.ones(3), "b": np.ones(4)},), ["xs[0]['a']", "xs[0]['b']"]),
        ({"length": 2}, (np.ones(3),), ["length is 2", "xs[0] has 3 along 0"]),
        (
            {"variable_axes": {"state": 0}},
            (np.ones(3),),
            ["xs[0] has 3", 'variable "state/loop/w" has 5 along 0'],
        ),
        (
            {"variable_axes": {"state": 1}, "length": 4},
            (),
            ["length is 4", 'variable "state/loop/w" has 2 along 1'],
        ),
        ({"in_axes": 1}, (np.ones(3),), ["xs[0], of shape (3,), has no axis 1"]),
        ({}, (3.0,), ["xs[0], of shape (), has no axis 0", "broadcast", "length=..."]),
        ({}, (), ["neither an argument nor a variable", "length=..."]),
        ({"in_axes": (0, 0)}, (np.ones(3),), ["1 xs", "in_axes=(0, 0) is no prefix"]),
    ],
)
def test_lengths_that_differ_are_named(options, xs, words):
    def model(scope, xs):
        loop = lift.scan(lambda scope, c, *xs: (c, None), **options)
        return loop(scope.push("loop"), 0.0, *xs)

    with pytest.raises(errors.InvalidArgumentError) as raised:
        apply(model)({"state": {"loop": {"w": np.ones((5, 2))}}}, xs)
    text = str(raised.value)
    assert 'lifted scan of scope "/loop"' in text
    assert all(word in text for word in words), text


@pytest.mark.parametrize("length", [-1, "3", 2.5, [3]])
def test_a_length_that_is_none(length):
    with pytest.raises(errors.InvalidArgumentError, match="length=.* no number of it"):
        lift.scan(lambda scope, c: (c, None), length=length)
