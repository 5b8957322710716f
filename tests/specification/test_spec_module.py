"""The programs of the API page "Module": its methods, init and apply, inspection."""

import re

import jax
import numpy as np
import pytest
from jax import numpy as jnp
from jax import random

from batiste import linen as nn
from batiste.core import FrozenDict, Variable
from batiste.linen import compact, nowrap
from batiste.linen.initializers import lecun_normal


class Module(nn.Module):
    features: tuple[int, ...] = (16, 4)

    def setup(self):
        self.dense1 = nn.Dense(self.features[0])
        self.dense2 = nn.Dense(self.features[1])

    def __call__(self, x):
        return self.dense2(nn.relu(self.dense1(x)))


def test_the_first_module():
    variables = Module().init(random.PRNGKey(0), jnp.ones((1, 3)))
    assert jax.tree.map(jnp.shape, variables["params"]) == {
        "dense1": {"bias": (16,), "kernel": (3, 16)},
        "dense2": {"bias": (4,), "kernel": (16, 4)},
    }


def test_submodules_are_attributes_and_lists():
    class Foo(nn.Module):
        def setup(self):
            self.submodule_name = nn.Dense(2)
            self.submodules = [nn.Dense(3), nn.Dense(4)]

        def __call__(self, x):
            x = self.submodule_name(x)
            for submodule in self.submodules:
                x = submodule(x)
            return x

    variables = Foo().init(random.PRNGKey(0), jnp.ones((1, 3)))
    names = ["submodule_name", "submodules_0", "submodules_1"]
    assert list(variables["params"]) == names


class Transformer(nn.Module):
    """A stand-in with the method that the page calls."""

    def setup(self):
        self.layer = nn.Dense(4)
        self.head = nn.Dense(2)

    def encode(self, x):
        return self.layer(x)

    def __call__(self, x):
        return self.head(self.encode(x))


def test_apply_with_another_method():
    model = Transformer()
    x = random.normal(random.PRNGKey(1), (2, 3))
    params = model.init(random.PRNGKey(0), x)["params"]
    encoded = model.apply({"params": params}, x, method=Transformer.encode)
    expected = x @ params["layer"]["kernel"]
    np.testing.assert_allclose(encoded, expected, rtol=1e-5, atol=1e-6)
    again = model.apply({"params": params}, x, method=model.encode)
    np.testing.assert_array_equal(encoded, again)
    named = model.apply({"params": params}, x, method="encode")
    np.testing.assert_array_equal(encoded, named)

    def other_fn(instance, x):
        return instance.layer(x)

    other = model.apply({"params": params}, x, method=other_fn)
    np.testing.assert_array_equal(encoded, other)


class AutoEncoder(nn.Module):
    def setup(self):
        self.encoder = nn.Dense(3)
        self.decoder = nn.Dense(5)

    def __call__(self, x):
        return self.decoder(self.encoder(x))


def test_bind():
    x = jnp.ones((16, 9))
    ae = AutoEncoder()
    variables = ae.init(jax.random.PRNGKey(0), x)
    model = ae.bind(variables)
    z = model.encoder(x)
    x_reconstructed = model.decoder(z)
    assert z.shape == (16, 3)
    np.testing.assert_array_equal(x_reconstructed, ae.apply(variables, x))


def test_unbind():
    x = jnp.ones((1, 784))
    module = AutoEncoder()
    variables = module.init(jax.random.PRNGKey(0), x)
    encoder, encoder_vars = module.bind(variables).encoder.unbind()
    assert encoder == nn.Dense(3)
    assert list(encoder_vars) == ["params"]
    inside = variables["params"]["encoder"]
    jax.tree.map(np.testing.assert_array_equal, encoder_vars["params"], inside)
    assert encoder.apply(encoder_vars, x).shape == (1, 3)


class Foo(nn.Module):
    noise: bool = False

    @nn.compact
    def __call__(self, x, train):
        x = nn.Dense(16)(x)
        x = nn.BatchNorm(use_running_average=not train)(x)
        x = nn.relu(x)
        if self.noise:
            noise_key = self.make_rng("noise")
            x = x + jax.random.normal(noise_key, x.shape)
        return nn.Dense(1)(x)


def test_init_with_a_key():
    module = Foo()
    variables = module.init(jax.random.PRNGKey(0), jnp.empty((1, 7)), train=False)
    assert isinstance(variables, FrozenDict)
    assert sorted(variables) == ["batch_stats", "params"]
    assert sorted(variables["params"]) == ["BatchNorm_0", "Dense_0", "Dense_1"]


def test_init_with_several_streams():
    module = Foo(noise=True)
    rngs = {"params": jax.random.PRNGKey(0), "noise": jax.random.PRNGKey(1)}
    variables = module.init(rngs, jnp.empty((1, 7)), train=False)
    plain = Foo().init(jax.random.PRNGKey(0), jnp.empty((1, 7)), train=False)
    # A stream more changes no parameter.
    jax.tree.map(np.testing.assert_array_equal, variables, plain)


def test_init_under_jit():
    module = nn.Dense(1)
    init_jit = jax.jit(module.init)
    variables = init_jit(jax.random.PRNGKey(0), jnp.empty((1, 7)))
    eager = module.init(jax.random.PRNGKey(0), jnp.empty((1, 7)))
    jax.tree.map(np.testing.assert_array_equal, variables, eager)


def test_param_and_variable():
    class Foo(nn.Module):
        @nn.compact
        def __call__(self):
            mean = self.param("mean", lecun_normal(), (2, 2))
            key = self.make_rng("stats")
            other = self.variable("stats", "other", lecun_normal(), key, (2, 2))
            assert isinstance(other, Variable)
            return mean + other.value

    rngs = {"params": random.PRNGKey(0), "stats": random.PRNGKey(1)}
    y, variables = Foo().init_with_output(rngs)
    mean, other = variables["params"]["mean"], variables["stats"]["other"]
    np.testing.assert_array_equal(y, mean + other)
    assert not np.array_equal(mean, other)


def test_setup_of_a_submodule_runs_when_it_is_named():
    calls = []

    class Inner(nn.Module):
        def setup(self):
            calls.append(self.name)
            self.inside = nn.Dense(2)

        def __call__(self, x):
            return self.inside(x)

    class MyModule(nn.Module):
        def setup(self):
            submodule = Inner()
            assert not hasattr(submodule, "inside")
            self.conv1 = submodule
            assert not calls
            assert self.conv1.inside.features == 2
            assert calls == ["conv1"]

        def __call__(self, x):
            return self.conv1(x)

    MyModule().init(random.PRNGKey(0), jnp.ones((1, 3)))
    assert calls == ["conv1"]


def test_sow():
    class Foo(nn.Module):
        @nn.compact
        def __call__(self, x):
            h = nn.Dense(4)(x)
            self.sow("intermediates", "h", h)
            return nn.Dense(2)(h)

    x = jnp.ones((16, 9))
    model = Foo()
    variables = model.init(jax.random.PRNGKey(0), x)
    y, state = model.apply(variables, x, mutable=["intermediates"])
    (h,) = state["intermediates"]["h"]
    expected = x @ variables["params"]["Dense_0"]["kernel"]
    np.testing.assert_allclose(h, expected, rtol=1e-5)


def test_sow_with_a_reduction():
    class Foo2(nn.Module):
        @nn.compact
        def __call__(self, x):
            sums = {"init_fn": lambda: 0, "reduce_fn": lambda a, b: a + b}
            self.sow("intermediates", "h", x, **sums)
            self.sow("intermediates", "h", x * 2, **sums)
            return x

    model = Foo2()
    variables = model.init(jax.random.PRNGKey(0), jnp.ones((16, 9)))
    y, state = model.apply(variables, jnp.ones((1, 1)), mutable=["intermediates"])
    assert repr(state["intermediates"]["h"]).startswith("Array([[3.]]")


class TabulatedFoo(nn.Module):
    @nn.compact
    def __call__(self, x):
        h = nn.Dense(4)(x)
        return nn.Dense(2)(h)


TabulatedFoo.__name__ = TabulatedFoo.__qualname__ = "Foo"


def cells(table: str) -> list[list[str]]:
    """The rows of a table without its lines."""
    lines = [line.replace("┃", "│") for line in table.splitlines()]
    return [
        [cell.strip() for cell in line.strip()[1:-1].split("│")]
        for line in lines
        if "│" in line
    ]


@pytest.mark.parametrize("function", [False, True])
def test_tabulate(function):
    x = jnp.ones((16, 9))
    if function:
        table = nn.tabulate(TabulatedFoo(), jax.random.PRNGKey(0))(x)
    else:
        table = TabulatedFoo().tabulate(jax.random.PRNGKey(0), x)
    # Without bold and colours.
    table = re.sub(r"\x1b\[[0-9;]*m", "", table)
    assert "Foo Summary" in table
    assert "Total Parameters: 50 (200 B)" in table
    found = cells(table)
    assert found[0][:5] == ["path", "module", "inputs", "outputs", "params"]
    text = "\n".join(" ".join(row) for row in found)
    for expected in (
        ["", "Foo", "float32[16,9]", "float32[16,2]"],
        ["Dense_0", "Dense", "float32[16,9]", "float32[16,4]", "bias: float32[4]"],
        ["Dense_1", "Dense", "float32[16,4]", "float32[16,2]", "bias: float32[2]"],
    ):
        assert any(row[: len(expected)] == expected for row in found), (expected, found)
    for expected in (
        "kernel: float32[9,4]",
        "40 (160 B)",
        "kernel: float32[4,2]",
        "10 (40 B)",
        "50 (200 B)",
    ):
        assert expected in text


class Coder(nn.Module):
    def setup(self):
        self.encoder = nn.Dense(3)
        self.decoder = nn.Dense(5)

    def encode(self, x):
        return self.encoder(x)

    def decode(self, z):
        return self.decoder(z)


def f(foo, x):
    z = foo.encode(x)
    return foo.decode(z)


def test_init_and_apply_of_functions():
    foo = Coder()
    x = jnp.ones((2, 5))
    rng = random.PRNGKey(0)
    variables = jax.jit(nn.init(f, foo))(rng, x)
    assert sorted(variables["params"]) == ["decoder", "encoder"]
    applied = jax.jit(nn.apply(f, foo))(variables, x)
    y, same = jax.jit(nn.init_with_output(f, foo))(rng, x)
    jax.tree.map(np.testing.assert_array_equal, variables, same)
    np.testing.assert_array_equal(y, applied)


def test_a_name_lives_in_several_collections():
    """The variable dictionary of the page, of its three submodules."""

    class Model(nn.Module):
        @nn.compact
        def __call__(self, x):
            x = nn.Conv(2, (3,), name="Conv1")(x)
            x = nn.BatchNorm(use_running_average=False, name="BatchNorm1")(x)
            return nn.Conv(2, (3,), name="Conv2")(x)

    variables = Model().init(random.PRNGKey(0), jnp.ones((2, 4, 3)))
    assert sorted(variables["params"]) == ["BatchNorm1", "Conv1", "Conv2"]
    assert list(variables["batch_stats"]) == ["BatchNorm1"]


def test_helpers_that_are_not_wrapped():
    class Foo(nn.Module):
        num_features: int

        @nowrap
        def _make_dense(self, num_features):
            return nn.Dense(num_features)

        @compact
        def __call__(self, x):
            dense = self._make_dense(self.num_features)
            return dense(x)

    variables = Foo(4).init(random.PRNGKey(0), jnp.ones((1, 3)))
    assert list(variables["params"]) == ["Dense_0"]
    # A helper is callable on an unbound module.
    assert Foo(4)._make_dense(2).features == 2


def test_named_calls_are_switched():
    x = jnp.ones((1, 3))
    model = Module()
    variables = model.init(random.PRNGKey(0), x)

    def program():
        # A function of its own each time, so that nothing traced before is used.
        lowered = jax.jit(lambda v: model.apply(v, x)).lower(variables)
        return lowered.as_text(debug_info=True)

    scope = "Module/dense1/"
    with nn.override_named_call(True):
        assert scope in program()
    with nn.override_named_call(False):
        assert scope not in program()
    nn.disable_named_call()
    try:
        assert scope not in program()
    finally:
        nn.enable_named_call()
    assert scope in program()
