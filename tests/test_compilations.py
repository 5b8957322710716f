"""What is run eagerly is compiled once, however often it is called or constructed."""

import jax
import numpy as np
import pytest
from jax import numpy as jnp

from batiste import linen as nn

KEY = jax.random.key(0)
X = jnp.ones((2, 5, 3))


class Scanned(nn.Module):
    @nn.compact
    def __call__(self, x):
        def step(module, carry, x):
            carry, y = nn.GRUCell(4, parent=module, name="cell")(carry, x)
            return carry, y

        scan = nn.scan(
            step, variable_broadcast="params", split_rngs={"params": False}, in_axes=1
        )
        return scan(self, jnp.zeros((2, 4)), x)[1]


class Stacked(nn.Module):
    @nn.compact
    def __call__(self, x):
        class Block(nn.Module):
            @nn.compact
            def __call__(self, x, _):
                return x + nn.Dropout(0.5, deterministic=False)(nn.Dense(3)(x)), None

        stack = nn.scan(
            Block,
            variable_axes={"params": 0},
            split_rngs={"params": True, "dropout": True},
            length=3,
        )
        return stack()(x, None)[0]


class Branched(nn.Module):
    @nn.compact
    def __call__(self, x):
        layers = nn.Dense(3, name="a"), nn.Dense(3, name="b")
        if self.is_initializing():
            return layers[0](x) + layers[1](x)
        return nn.cond(
            x.sum() > 0,
            lambda module, x: layers_of(module)[0](x),
            lambda module, x: layers_of(module)[1](2 * x),
            self,
            x,
        )


class Switched(nn.Module):
    @nn.compact
    def __call__(self, x):
        layers = nn.Dense(3, name="a"), nn.Dense(3, name="b")
        if self.is_initializing():
            return layers[0](x) + layers[1](x)
        branches = [
            lambda module, x, layer=layer: layers_of(module)[layer](x)
            for layer in range(2)
        ]
        return nn.switch(1, branches, self, x)


class Repeated(nn.Module):
    @nn.compact
    def __call__(self, x):
        steps = self.variable("state", "steps", lambda: jnp.zeros((), int))
        if self.is_initializing():
            return x

        def more(module, x):
            return module.get_variable("state", "steps") < 4

        def body(module, x):
            count = module.get_variable("state", "steps")
            module.put_variable("state", "steps", count + 1)
            return 2 * x

        del steps
        return nn.while_loop(more, body, self, x, carry_variables="state")


def layers_of(module):
    scope = module.scope
    return [
        lambda x, name=name: x @ scope.get_variable("params", name)["kernel"]
        for name in "ab"
    ]


MODELS = {
    "scan of a function": Scanned,
    "scan of a class": Stacked,
    "RNN": lambda: nn.RNN(nn.LSTMCell(4)),
    "Bidirectional": lambda: nn.Bidirectional(
        nn.RNN(nn.GRUCell(4)), nn.RNN(nn.GRUCell(4))
    ),
    "cond": Branched,
    "switch": Switched,
    "while_loop": Repeated,
}


@pytest.fixture
def compilations():
    found = []

    def listen(name, *_, **__):
        if name == "/jax/core/compile/backend_compile_duration":
            found.append(name)

    jax.monitoring.register_event_duration_secs_listener(listen)
    yield found
    jax.monitoring.unregister_event_duration_listener(listen)


@pytest.mark.parametrize("name", MODELS)
def test_an_eager_call_compiles_nothing_anew(name, compilations):
    make = MODELS[name]
    rngs = {"params": KEY, "dropout": KEY}
    variables = make().init(rngs, X)

    def call():
        mutable = [name for name in variables if name != "params"]
        return make().apply(variables, X, rngs={"dropout": KEY}, mutable=mutable)

    expected = call()
    compilations.clear()
    for _ in range(50):
        found = call()
    assert not compilations
    jax.tree.map(np.testing.assert_array_equal, found, expected)


@pytest.mark.parametrize("name", MODELS)
def test_a_compiled_call_is_compiled_once(name, compilations):
    make = MODELS[name]
    rngs = {"params": KEY, "dropout": KEY}
    variables = make().init(rngs, X)
    mutable = [name for name in variables if name != "params"]

    @jax.jit
    def call(variables, x):
        return make().apply(variables, x, rngs={"dropout": KEY}, mutable=mutable)

    call(variables, X)
    compilations.clear()
    for _ in range(50):
        call(variables, X)
    assert not compilations


def test_python_of_a_body_runs_at_each_call():
    factor = 2.0

    class Model(nn.Module):
        @nn.compact
        def __call__(self, x):
            step = nn.scan(lambda module, carry, x: (carry, x * factor), in_axes=1)
            return step(self, 0.0, x)[1]

    assert Model().apply({}, X).ravel()[0] == 2
    factor = 3.0
    assert Model().apply({}, X).ravel()[0] == 3
