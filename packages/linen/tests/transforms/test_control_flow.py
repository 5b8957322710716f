"""Tests of batiste.linen.transforms.control_flow."""

import jax
import numpy as np
import pytest
from jax import numpy as jnp

import batiste.linen as nn
from batiste.core import errors

KEY = jax.random.key(0)
X = jnp.ones((3, 2))


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
    assert not np.isclose(same, other)
    assert one.shape == ()


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
