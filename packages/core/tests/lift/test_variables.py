"""Tests of batiste.core.lift.variables."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from batiste.core import apply, errors, init, lift, meta, nn, struct

KEY = jax.random.key(0)


def ones(key, shape=()):
    return jnp.ones(shape)


def read(scope):
    return scope.param("w", ones)


def plus_one(variables):
    return jax.tree.map(lambda x: x + 1, variables)


def times_ten(variables):
    return jax.tree.map(lambda x: x * 10, variables)


def test_map_variables_on_the_way_in():
    lifted = lift.map_variables(read, "params", plus_one)
    assert apply(lifted)({"params": {"w": 1.0}}) == 2
    y, new = apply(lifted, mutable=True)({"params": {"w": 1.0}})
    assert y == 2
    assert new["params"]["w"] == 1


def test_map_variables_while_initializing():
    lifted = lift.map_variables(read, "params", plus_one, times_ten, init=True)
    y, variables = init(lifted)(KEY)
    # Made as 1, stored as 10, seen as 11, stored as 110.
    assert y == 11
    assert variables["params"]["w"] == 110
    assert apply(lifted)({"params": {"w": 1.0}}) == 2


def test_map_variables_that_change():
    def change(scope):
        scope.put_variable("state", "n", scope.get_variable("state", "n") + 1)

    halve, double = (
        (lambda v: {"state": {"n": v["state"]["n"] / 2}}),
        (lambda v: {"state": {"n": v["state"]["n"] * 2}}),
    )
    lifted = lift.map_variables(change, "state", halve, double, mutable=True)
    _, new = apply(lifted, mutable=True)({"state": {"n": 8.0}})
    assert new["state"]["n"] == 10
    fixed = lift.map_variables(change, "state", halve, double)
    with pytest.raises(errors.ModifyScopeVariableError, match=r"map_variables\(\)"):
        apply(fixed, mutable=True)({"state": {"n": 8.0}})


def test_map_variables_does_not_make_any_by_itself():
    with pytest.raises(errors.ScopeCollectionNotFound, match='"params"'):
        init(lift.map_variables(read, "params"))(KEY)


def test_map_variables_may_work_in_place():
    def in_place(variables):
        variables["params"]["w"] = -variables["params"]["w"]
        return variables

    given = {"params": {"w": 1.0}, "state": {"n": 0}}
    lifted = lift.map_variables(
        lambda s: s.get_variable("params", "w"), "params", in_place
    )
    for mutable in (False, True):
        apply(lifted, mutable=mutable)(given)
    assert given == {"params": {"w": 1.0}, "state": {"n": 0}}


def test_map_variables_of_several_scopes_and_other_collections():
    def fn(scopes):
        a, b = scopes
        a.put_variable("state", "n", 1)
        return a.param("w", ones) + b.param("w", ones)

    def model(scope):
        scopes = scope.push("a"), scope.push("b")
        return lift.map_variables(fn, "params", plus_one, init=False)(scopes)

    params = {"a": {"w": 1.0}, "b": {"w": 2.0}}
    y, new = apply(model, mutable="state")({"params": params})
    assert y == 5
    assert new == {"state": {"a": {"n": 1}}}


def test_weight_standardization():
    def standardize(variables):
        def one(path, x):
            if path[-1].key != "kernel":
                return x
            return (x - x.mean(0)) / x.std(0)

        return jax.tree_util.tree_map_with_path(one, variables)

    def model(scope, x):
        initializing = scope.is_mutable_collection("params")
        dense = lift.map_variables(
            nn.dense,
            "params",
            standardize if not initializing else lambda v: v,
            init=initializing,
        )
        return dense(scope, x, 4)

    x = jax.random.normal(KEY, (2, 3))
    _, variables = init(model)(KEY, x)
    kernel = variables["params"]["kernel"]
    expected = x @ ((kernel - kernel.mean(0)) / kernel.std(0))
    np.testing.assert_allclose(apply(model)(variables, x), expected, rtol=1e-4)


def test_an_invertible_flow():
    def forward(scope, x):
        a, b = jnp.split(x, 2)
        shift = nn.dense(scope.push("shift"), a, b.shape[-1])
        return jnp.concatenate([b + shift, a])

    def inverse(scope, y):
        b, a = jnp.split(y, 2)
        shift = nn.dense(scope.push("shift"), a, b.shape[-1])
        return jnp.concatenate([a, b - shift])

    axes = {"params": 0}
    forward_flow = lift.scan(
        lambda s, x: (forward(s, x), None), axes, split_rngs={"params": True}, length=3
    )
    inverse_flow = lift.scan(
        lambda s, x: (inverse(s, x), None), axes, length=3, reverse=True
    )
    x = jax.random.normal(KEY, (4,))
    (y, _), variables = init(forward_flow)(KEY, x)
    np.testing.assert_allclose(apply(inverse_flow)(variables, y)[0], x, rtol=1e-5)


def test_swap_collection():
    def fn(scope):
        w = scope.variable("params", "w", lambda: 1.0).value
        x = scope.variable("ema", "x", lambda: 2.0).value
        y = scope.push("child").variable("other", "y", lambda: 3.0).value
        return w, x, y

    y, new = apply(lift.swap_collection(fn, "params", "ema"), mutable=True)({})
    assert y == (1, 2, 3)
    assert new == {
        "ema": {"w": 1},
        "params": {"x": 2},
        "other": {"child": {"y": 3}},
    }


def test_swap_collection_swaps_what_may_be_changed():
    def fn(scope):
        return [scope.is_mutable_collection(c) for c in ("params", "ema", "other")]

    swapped = lift.swap_collection(fn, "params", "ema")
    assert apply(swapped, mutable="params")({})[0] == [False, True, False]
    assert apply(swapped, mutable=["ema", "other"])({})[0] == [True, False, True]
    assert apply(swapped, mutable=True)({})[0] == [True] * 3


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


def test_add_metadata_axis():
    seen = []

    def fn(scope):
        box = scope.param("w", lambda key: Named(jnp.ones(2), ("x",)), unbox=False)
        seen.append(box.names)

    lifted = lift.add_metadata_axis(fn, {"params": 0}, {"name": "layers"})
    _, variables = init(lifted)(KEY)
    assert variables["params"]["w"].names == ("layers", "x")
    apply(lifted)(variables)
    assert seen == [("x",), ("x",)]


def test_fold_rngs():
    def draw(scope):
        keys = scope.make_rng(), scope.push("child").make_rng()
        return keys, scope.rngs["params"].suffix

    def model(scope):
        a = scope.push("a")
        return lift.fold_rngs(draw)(a), a.make_rng()

    (keys, suffix), after = apply(model)({}, rngs=KEY)
    drawn = apply(lambda s: [s.make_rng() for s in [s.push("a")] * 3])({}, rngs=KEY)
    # The first key drawn is the base of those inside, where the count goes on.
    inside = apply(lambda s: [s.make_rng() for _ in range(2)])({}, rngs=drawn[0])
    child = apply(lambda s: s.push("child").make_rng())({}, rngs=drawn[0])
    assert suffix == ()
    assert keys == (inside[1], child)
    assert after == drawn[2]
