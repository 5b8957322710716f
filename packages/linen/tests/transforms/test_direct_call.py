"""Tests of batiste.linen.transforms.direct_call."""

from typing import Any

import jax
import numpy as np
import pytest
from jax import numpy as jnp

import batiste.linen as nn
from batiste.linen import errors
from batiste.linen.transforms.direct_call import DirectCall

KEY = jax.random.key(0)
X = jnp.ones((3, 2))


class Net(nn.Module):
    """Runs a function of itself."""

    fn: Any

    @nn.compact
    def __call__(self, x):
        return self.fn(self, x)


def run(fn):
    return Net(fn).init_with_output(KEY, X)


def test_every_function_gets_modules_of_its_own():
    seen = []

    def program(mdl, x):
        dense = nn.Dense(2)
        call = DirectCall(dense, (x,))
        for scale in (1, 2):
            body = call.body(lambda m, x, scale=scale: seen.append(m) or scale * m(x))
            y = body(call.scopes, *call.args)
        assert dense not in seen
        assert seen[0] is not seen[1]
        return call.finish(y)

    y, variables = run(program)
    expected = nn.Dense(2).apply({"params": variables["params"]["Dense_0"]}, X)
    np.testing.assert_allclose(y, 2 * expected, rtol=1e-6)


def test_the_scope_of_a_module_that_holds_the_others():
    def program(mdl, x):
        dense = nn.Dense(2)
        call = DirectCall(mdl, (dense,))
        own = call.own_scope("test")
        assert own is mdl.scope
        assert len(call.scopes) == 2
        # One scope is enough to find the others by.
        return call.finish(call.body(lambda m, dense: dense(x))(own, *call.args))

    y, variables = run(program)
    expected = nn.Dense(2).apply({"params": variables["params"]["Dense_0"]}, X)
    np.testing.assert_allclose(y, expected, rtol=1e-6)


def test_no_scope_holds_those_of_two_layers():
    def program(mdl, x):
        call = DirectCall(nn.Dense(2), (nn.Dense(3),))
        assert call.scope_tree() is call.scopes
        with pytest.raises(
            ValueError, match="none holds the others: /Dense_1, /Dense_0"
        ):
            call.own_scope("test")
        return x

    run(program)


def test_names_go_on_after_those_inside():
    def program(mdl, x):
        call = DirectCall(mdl)
        for _ in range(2):
            body = call.body(lambda m: [nn.Dense(2)(x) for _ in range(3)])
            body([mdl.scope.rewound()])
        call.finish(None)
        return nn.Dense(2)(x)

    _, variables = run(program)
    assert sorted(variables["params"]) == [f"Dense_{i}" for i in range(4)]


DIRECT = {
    "cond": lambda dense, mdl, x: nn.cond(True, dense, dense, mdl, x),
    "switch": lambda dense, mdl, x: nn.switch(0, [dense, dense], mdl, x),
    "while_loop": lambda dense, mdl, x: nn.while_loop(dense, dense, mdl, x),
    "vjp": lambda dense, mdl, x: nn.vjp(dense, mdl, x),
    "grad": lambda dense, mdl, x: nn.grad(dense, mdl, x),
    "jvp": lambda dense, mdl, x: nn.jvp(dense, mdl, (x,), (x,), {}),
    "linearize": lambda dense, mdl, x: nn.linearize(dense, mdl, x),
}


@pytest.mark.parametrize("name", DIRECT)
def test_a_module_is_no_function_of_a_module(name):
    with pytest.raises(errors.TransformTargetError, match="lambda module, x: module"):
        run(lambda mdl, x: DIRECT[name](nn.Dense(2), mdl, x))
