"""Tests of batiste.core.lift.control_flow."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from batiste.core import apply, errors, init, lift, nn
from batiste.core.config import config
from batiste.core.scope import LazyRng

KEY = jax.random.key(0)


def add(scope, name, n=1):
    scope.put_variable("state", name, scope.get_variable("state", name) + n)


def counts(**values):
    return {"state": {name: jnp.array(n) for name, n in values.items()}}


def test_while_loop():
    def model(scope, x):
        def cond_fn(scope, x):
            return scope.get_variable("state", "acc") < 10

        def body_fn(scope, x):
            add(scope, "acc")
            return nn.dense(scope.push("dense"), x, x.shape[-1])

        if scope.is_mutable_collection("params"):
            return body_fn(scope, x)
        return lift.while_loop(cond_fn, body_fn, scope, x, "state")

    x = jnp.ones((2, 2))
    kernel = jnp.eye(2) / 2
    params = {"dense": {"kernel": kernel, "bias": jnp.zeros(2)}}
    y, state = apply(model, mutable="state")({"params": params, **counts(acc=0)}, x)
    assert state["state"]["acc"] == 10
    np.testing.assert_allclose(y, x / 2**10)


@pytest.mark.parametrize("split", [False, True])
def test_while_loop_streams(split):
    def body(scope, carry):
        i, values = carry
        value = jax.random.normal(scope.make_rng("noise"))
        return i + 1, values.at[i].set(value)

    def model(scope):
        start = (0, jnp.zeros(3))
        loop = lift.while_loop(
            lambda s, c: c[0] < 3, body, scope, start, split_rngs={"noise": split}
        )
        return loop[1], scope.make_rng("noise")

    values, after = apply(model)({}, rngs={"noise": KEY})
    keys = [jax.random.fold_in(KEY, i) if split else KEY for i in range(3)]

    def unlifted(scope):
        return jax.random.normal(scope.make_rng("noise"))

    expected = [apply(unlifted)({}, rngs={"noise": key}) for key in keys]
    np.testing.assert_array_equal(values, jnp.stack(expected))
    second = apply(lambda s: [s.make_rng("noise") for _ in range(2)][1])
    assert after == second({}, rngs={"noise": KEY})


def test_while_loop_changes_only_carried_variables():
    def run(cond_fn, body_fn, carried):
        def model(scope):
            child = scope.push("a")
            return lift.while_loop(cond_fn, body_fn, child, 0, carried)

        return apply(model, mutable=True)({"state": {"a": {"n": jnp.array(0)}}})

    def change(scope, i):
        add(scope, "n")
        return i < 3

    message = r'variable "n" of scope "/while_loop\(a\)"'
    with pytest.raises(errors.ModifyScopeVariableError, match=message):
        run(change, lambda s, i: i + 1, "state")
    with pytest.raises(errors.ModifyScopeVariableError, match=message):
        run(lambda s, i: i < 3, change, False)


def test_while_loop_cannot_make_variables():
    def model(scope):
        def body(scope, i):
            scope.variable("state", "new", lambda: 0)
            return i + 1

        lift.while_loop(lambda s, i: i < 3, body, scope.push("a"), 0, "state")

    message = (
        r'while_loop of scope "/a" makes the variable "state/new".*before the loop'
    )
    with pytest.raises(TypeError, match=message):
        apply(model, mutable=True)({})


def test_while_loop_reads_immutable_carried_variables():
    def body(scope, x):
        return x + scope.get_variable("state", "n")

    def model(scope):
        return lift.while_loop(lambda s, x: x < 5, body, scope, 0, "state")

    assert apply(model)(counts(n=2)) == 6


@pytest.mark.parametrize("pred", [True, False])
def test_cond(pred):
    def true_fn(scope, x):
        add(scope, "true")
        return nn.dense(scope.push("dense"), x, 2)

    def false_fn(scope, x):
        add(scope, "false")
        return -nn.dense(scope.push("dense"), x, 2)

    def model(scope, x, pred):
        for name in ("true", "false"):
            scope.variable("state", name, lambda: 0)
        return lift.cond(pred, true_fn, false_fn, scope, x)

    x = jnp.ones((1, 3))
    y, variables = init(model)(KEY, x, pred)
    assert variables["state"] == {"true": int(pred), "false": int(not pred)}
    # Either branch makes the parameters that it makes alone.
    _, alone = init(lambda s, x: nn.dense(s.push("dense"), x, 2))(KEY, x)
    jax.tree.map(np.testing.assert_array_equal, variables["params"], alone["params"])
    sign = 1 if pred else -1
    np.testing.assert_allclose(y, sign * x @ alone["params"]["dense"]["kernel"])


def test_branches_draw_the_keys_that_they_draw_alone():
    def branch(n):
        def run(scope):
            child = scope.push("child", reuse=True)
            keys = [child.make_rng("noise") for _ in range(n)]
            return jax.random.key_data(keys[-1])

        return run

    def model(scope, index):
        first = lift.switch(index, [branch(1), branch(3), branch(2)], scope)
        return first, jax.random.key_data(scope.push("child").make_rng("noise"))

    for index, n in enumerate([1, 3, 2]):
        inside, after = apply(model)({}, index, rngs={"noise": KEY})
        expected = apply(branch(n))({}, rngs={"noise": KEY})
        np.testing.assert_array_equal(inside, expected)
        # The count goes on from the branch that drew most.
        fourth = apply(branch(4))({}, rngs={"noise": KEY})
        np.testing.assert_array_equal(after, fourth)


def test_switch():
    def branch(i):
        return lambda scope, x: (add(scope, f"n{i}"), x * i)[1]

    def model(scope, index):
        return lift.switch(index, [branch(i) for i in range(3)], scope, 10)

    for index, expected in [(-1, 0), (1, 1), (5, 2)]:
        y, new = apply(model, mutable="state")(counts(n0=0, n1=0, n2=0), index)
        assert y == 10 * expected
        assert new["state"] == {f"n{i}": int(i == expected) for i in range(3)}


def test_switch_without_branches():
    with pytest.raises(ValueError, match="branch"):
        apply(lambda scope: lift.switch(0, [], scope))({})


def test_branches_that_make_different_variables():
    def one(scope):
        scope.push("b").variable("state", "new", lambda: 0.0)
        return 1.0

    message = (
        r'branches of the cond of scope "/a" must make the same variables, but '
        r'"state/b/new" are not made by both "true_fun" and "false_fun" '
        r'\("state/b/new" only by "true_fun"\)'
    )
    with pytest.raises(TypeError, match=message):
        apply(lambda s: lift.cond(True, one, lambda s: 2.0, s.push("a")), mutable=True)(
            {}
        )


def test_branches_that_return_different_things():
    with pytest.raises(TypeError, match="true_fun"):
        apply(lambda s: lift.cond(True, lambda s: 1.0, lambda s: (1, 2), s))({})


def test_filters():
    def read(scope):
        return scope.has_variable("params", "w"), scope.has_rng("noise")

    found = []

    def model(scope):
        fn = lambda scope: found.append(read(scope))  # noqa: E731
        lift.cond(True, fn, fn, scope, variables="state", rngs=False)
        lift.switch(0, [fn], scope, variables=["params"], rngs="noise")

    apply(model)({"params": {"w": 1}}, rngs={"noise": KEY})
    assert found == [(False, False)] * 2 + [(True, True)]


@pytest.mark.parametrize("counts_on", [False, True])
@pytest.mark.parametrize("transform", ["cond", "switch"])
def test_keys_of_branches(transform, counts_on):
    def branch(scope):
        return scope.make_rng("params")

    def model(scope):
        if transform == "cond":
            key = lift.cond(False, branch, branch, scope)
        else:
            key = lift.switch(1, [branch, branch], scope)
        return key, scope.make_rng("params")

    with config.temp_flip_flag("branches_count_on", counts_on):
        keys, _ = init(model)(KEY)
    numbers = (2, 3) if counts_on else (1, 2)
    assert keys == tuple(LazyRng(KEY).draw(number) for number in numbers)
