"""Tests of batiste.linen.transforms.scan and .branching."""

import jax
import numpy as np
import pytest
from jax import numpy as jnp

import batiste.linen as nn
from batiste.core import errors

KEY = jax.random.key(0)
X = jnp.ones((3, 2))
SPLIT = {"params": True}


class Layer(nn.Module):
    @nn.compact
    def __call__(self, x, scale):
        count = self.variable("state", "count", lambda: 0)
        if self.is_mutable_collection("state"):
            count.value += 1
        y = nn.Dense(2)(x) * (1.0 if scale is None else scale)
        return jnp.tanh(y), y


def test_scan_is_a_loop():
    scan = nn.scan(
        Layer, {"params": 0}, variable_carry="state", split_rngs=SPLIT, length=4
    )()
    variables = {**scan.init(KEY, X, None), "state": {"count": jnp.array(0)}}
    (y, ys), state = scan.apply(variables, X, None, mutable=["state"])
    assert state["state"]["count"] == 4 and ys.shape == (4, 3, 2)
    expected = X
    for i in range(4):
        params = jax.tree.map(lambda v, i=i: v[i], variables["params"])
        expected, _ = Layer().apply({"params": params, "state": {"count": 0}},
                                    expected, None)  # fmt: skip
    np.testing.assert_allclose(y, expected, rtol=1e-5)


def test_scan_shared_reversed():
    scan = nn.scan(
        Layer,
        variable_broadcast="params",
        variable_axes={"state": 0},
        split_rngs={"params": False},
        in_axes=1,
        out_axes=1,
        reverse=True,
        unroll=2,
    )()
    scales = jnp.arange(12.0).reshape(3, 4)[0:1]
    variables = scan.init(KEY, X, scales)
    assert variables["params"]["Dense_0"]["kernel"].shape == (2, 2)
    assert variables["state"]["count"].shape == (4,)
    y, ys = scan.apply(variables, X, scales)
    expected = X
    layer = {"params": variables["params"], "state": {"count": 0}}
    for i in reversed(range(4)):
        expected, out = Layer().apply(layer, expected, scales[:, i])
        np.testing.assert_allclose(ys[:, i], out, rtol=1e-5)
    np.testing.assert_allclose(y, expected, rtol=1e-5)


def test_scan_data_transform():
    seen = []

    def look(variables, rngs):
        seen.append(len(variables))
        return variables, rngs

    scan = nn.scan(
        Layer, {"params": 0, "state": 0}, split_rngs=SPLIT, length=2,
        data_transform=look)()  # fmt: skip
    scan.init(KEY, X, None)
    assert seen and set(seen) == {4}


def test_scan_without_a_length():
    with pytest.raises(ValueError, match="length"):
        nn.scan(Layer, {"params": 0}, split_rngs=SPLIT)().init(KEY, X, None)


def test_remat_scan_is_a_deep_net():
    stack = nn.remat_scan(nn.Dense, lengths=(2, 3))(2)
    variables = stack.init(KEY, X)
    assert variables["params"]["kernel"].shape == (2, 3, 2, 2)

    def loop(variables, x):
        for i in range(2):
            for j in range(3):
                layer = jax.tree.map(lambda v, i=i, j=j: v[i, j], variables)
                x = nn.Dense(2).apply(layer, x)
        return x

    found, expected = (
        jax.value_and_grad(lambda v, f=f: f(v, X).sum())(variables)
        for f in (stack.apply, loop)
    )
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected)):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


class Loop(nn.Module):
    """The example of the specification."""

    limit: int = 10

    @nn.compact
    def __call__(self, x):
        def going(mdl, x):
            return mdl.variables["state"]["acc"] < self.limit

        def body(mdl, x):
            acc = mdl.variable("state", "acc", lambda: jnp.array(0))
            acc.value += 1
            return nn.Dense(x.shape[-1])(x)

        if self.is_mutable_collection("params"):
            return body(self, x)
        return nn.while_loop(going, body, self, x, carry_variables="state")


def test_while_loop():
    variables = Loop().init(KEY, X)
    y, state = Loop().apply(variables, X, mutable=["state"])
    assert state["state"]["acc"] == 10
    expected = X
    for _ in range(9):
        expected = nn.Dense(2).apply({"params": variables["params"]["Dense_0"]},
                                     expected)  # fmt: skip
    np.testing.assert_allclose(y, expected, rtol=1e-4)
    with pytest.raises(errors.ModifyScopeVariableError, match="acc"):
        Loop().apply(variables, X)


def test_while_loop_keys():
    class Walk(nn.Module):
        split: bool

        @nn.compact
        def __call__(self, x):
            def body(mdl, carry):
                index, total = carry
                return index + 1, total + jax.random.normal(mdl.make_rng("walk"))

            return nn.while_loop(
                lambda mdl, carry: carry[0] < 3, body, self, (0, 0.0),
                split_rngs={"walk": self.split})[1]  # fmt: skip

    same, other = (Walk(s).apply({}, X, rngs={"walk": KEY}) for s in (False, True))
    one = jax.random.normal(nn.Module.make_rng(nn.Dense(1).bind({}, rngs=KEY)))
    assert not np.isclose(same, other) and one.shape == ()


class Branches(nn.Module):
    """The examples of the specification."""

    count: int

    @nn.compact
    def __call__(self, x, index):
        for i in range(self.count):
            self.variable("state", f"count{i}", lambda: jnp.array(0))

        def branch(i):
            def run(mdl, x):
                if mdl.is_mutable_collection("state"):
                    mdl.variable("state", f"count{i}").value += 1
                return (i + 1) * nn.Dense(2, name="dense")(x)

            return run

        branches = [branch(i) for i in range(self.count)]
        if self.count == 2:
            return nn.cond(index, *branches[::-1], self, x)
        return nn.switch(index, branches, self, x)


@pytest.mark.parametrize("count", [2, 3])
def test_branches(count):
    model = Branches(count)
    variables = model.init(KEY, X, 0)
    assert list(variables["params"]) == ["dense"]
    first = model.apply(variables, X, 0)
    for i in range(count):
        for apply in (model.apply, jax.jit(model.apply, static_argnames="mutable")):
            y, state = apply(variables, X, i, mutable="state")
            np.testing.assert_allclose(y, (i + 1) * first, rtol=1e-5)
            assert state["state"][f"count{i}"] == 1 + (i == 0)


def test_branches_of_several_modules():
    class Heads(nn.Module):
        def setup(self):
            self.heads = [nn.Sequential([nn.Dense(3), nn.Dense(2)]), nn.Dense(2)]

        def __call__(self, x, index):
            branches = [lambda mdl, x, i=i: mdl.heads[i](x) for i in range(2)]
            if self.is_initializing():
                for branch in branches:
                    branch(self, x)
            return nn.switch(index, branches, self, x)

    variables = Heads().init(KEY, X, 0)
    assert sorted(variables["params"]) == ["heads_0", "heads_1"]
    y = Heads().apply(variables, X, 1)
    expected = nn.Dense(2).apply({"params": variables["params"]["heads_1"]}, X)
    np.testing.assert_allclose(y, expected, rtol=1e-5)


def test_branches_that_make_other_variables():
    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            return nn.cond(True, lambda m, x: nn.Dense(2)(x), lambda m, x: x, self, x)

    with pytest.raises(TypeError, match="same variables"):
        Net().init(KEY, X)
