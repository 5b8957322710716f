"""Tests of batiste.linen.transforms.jit."""

import dataclasses
import gc
import sys
from typing import Any

import jax
import numpy as np
import pytest
from jax import numpy as jnp

import batiste.linen as nn
from batiste.core.config import config

KEY = jax.random.key(0)
KEYS = {"params": KEY, "dropout": jax.random.key(1)}
X = jnp.ones((3, 2))

traced = []


@pytest.fixture(autouse=True)
def forget():
    traced.clear()


class Layer(nn.Module):
    features: int = 2
    extra: object = None

    @nn.compact
    def __call__(self, x):
        traced.append(self.name)
        y = nn.Dense(self.features)(x)
        return nn.Dropout(0.5, deterministic=not self.has_rng("dropout"))(y)


class Method(Layer):
    @nn.jit
    @nn.compact
    def __call__(self, x):
        traced.append(self.name)
        y = nn.Dense(self.features)(x)
        return nn.Dropout(0.5, deterministic=not self.has_rng("dropout"))(y)


class Stack(nn.Module):
    layer: type
    extras: tuple = (None, None, None)

    @nn.compact
    def __call__(self, x):
        for i, extra in enumerate(self.extras):
            x = self.layer(extra=extra, name=f"layer{i}")(x)
        return x


@pytest.mark.parametrize("layer", [nn.jit(Layer, rngs=True), Method])
def test_compiled_once_for_equal_modules(layer):
    stack = Stack(layer)
    variables = stack.init(KEY, X)
    assert len(traced) == 1
    for rngs in ({}, {"dropout": KEY}, {"dropout": jax.random.key(5)}):
        for _ in range(3):
            stack.apply(variables, X, rngs=rngs)
    assert len(traced) == 3  # to initialize, to apply, to apply with dropout
    for _ in range(2):
        stack.apply(variables, X, mutable=["params"])
    assert len(traced) == 4
    stack.apply(variables, X[:1])
    assert len(traced) == 5


def test_functions_of_a_file_are_compiled_once():
    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            return nn.Dense(4)(nn.jit(_two_layers)(self, x))

    variables = Net().init(KEY, X)
    assert sorted(variables["params"]) == ["Dense_0", "Dense_1", "Dense_2"]
    for _ in range(3):
        assert Net().apply(variables, X).shape == (3, 4)
    assert traced == ["f", "f"]


def _two_layers(mdl, x):
    traced.append("f")
    return nn.Dense(3)(nn.Dense(3)(x))


def test_names_are_given_though_python_does_not_run():
    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            x = nn.jit(_two_layers)(self, x)
            return nn.Dense(4)(x)

    for _ in range(2):
        params = Net().init(KEY, X)["params"]
        assert params["Dense_2"]["kernel"].shape == (3, 4)
    assert traced == ["f"]


def test_keys_are_those_without_jit():
    jitted, plain = Stack(nn.jit(Layer)), Stack(Layer)
    variables = jitted.init(KEYS, X)
    expected = plain.init(KEYS, X)
    for found, value in zip(jax.tree.leaves(variables), jax.tree.leaves(expected)):
        np.testing.assert_allclose(found, value, rtol=1e-6)


def test_hooks_run_at_every_call():
    stack = Stack(nn.jit(Layer))
    variables = stack.init(KEY, X)
    del traced[:]
    for _ in range(2):
        _, state = stack.apply(variables, X, capture_intermediates=True)
        assert "__call__" in state["intermediates"]["layer2"]["Dense_0"]
    assert len(traced) == 6


class Flagged(nn.Module):
    @nn.compact
    def __call__(self, x, negate, *, double=False):
        traced.append(None)
        x = nn.Dense(2)(x)
        x = -x if negate else x
        return 2 * x if double else x


def test_static_arguments():
    class Net(nn.Module):
        @nn.compact
        def __call__(self, x, negate):
            return nn.jit(Flagged, static_argnums=(2,))(name="a")(x, negate)

    variables = Net().init(KEY, X, False)
    y = Net().apply(variables, X, True)
    np.testing.assert_allclose(y, -Net().apply(variables, X, False), rtol=1e-6)
    with pytest.raises(ValueError, match="Argument 0 is the module"):
        nn.jit(Flagged, static_argnums=0)


def test_static_names():
    class Net(nn.Module):
        @nn.compact
        def __call__(self, x, double):
            lifted = nn.jit(Flagged, static_argnums=2, static_argnames="double")
            return lifted(name="a")(x, False, double=double)

    variables = Net().init(KEY, X, False)
    y = Net().apply(variables, X, True)
    np.testing.assert_allclose(y, 2 * Net().apply(variables, X, False), rtol=1e-6)


def test_variables_that_are_not_lifted():
    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            return nn.jit(_read, variables="params")(self, x)

    assert not Net().apply({"state": {"v": 1.0}}, X)


def _read(mdl, x):
    return mdl.has_variable("state", "v")


@dataclasses.dataclass(frozen=True)
class Options:
    scale: Any
    unseen: Any = dataclasses.field(default=0.0, compare=False)


class Sign(nn.Module):
    extra: Any

    @nn.compact
    def __call__(self, x):
        def number(value):
            if isinstance(value, (tuple, list, frozenset)):
                (value,) = value
            if isinstance(value, Sign):
                value = value.extra
            if isinstance(value, Options):
                value = value.scale + value.unseen
            return value

        # Looks at the type and the sign: the program is another one for each.
        value = number(self.extra)
        return x + np.copysign(1, value), jnp.asarray(value)


def same_numbers():
    numbers = [1, 1.0, True, np.float32(1), np.int8(1), 0.0, -0.0, np.float32(-0.0)]
    for wrap in (lambda x: x, lambda x: (x,), lambda x: frozenset([x]), Options):
        yield from map(wrap, numbers)
    yield from [Options(1, 0), Options(1, 5), Options(1, -3.0)]
    yield from [Sign(1, parent=None), Sign(1.0, parent=None)]


def test_fields_that_are_equal_but_not_the_same_have_programs_of_their_own():
    jitted = nn.jit(Sign)
    extras = list(same_numbers())
    for extra in [*extras, *reversed(extras)]:
        y, made = jitted(extra).apply({}, X)
        expected, value = Sign(extra).apply({}, X)
        assert (y == expected).all()
        assert (made.dtype, made.weak_type) == (value.dtype, value.weak_type)
        assert float(made) == float(value)


def programs():
    """All programs that calls of `nn.jit` keep."""
    from batiste.linen.transforms.jit import _Program

    gc.collect()
    return sum(type(x) is _Program for x in gc.get_objects())


def test_programs_go_with_the_functions_that_they_are_made_for():
    class Act(nn.Module):
        fn: Any

        @nn.compact
        def __call__(self, x):
            return self.fn(x)

    jitted = nn.jit(Act)
    space = {"nn": nn}
    before = programs()
    for i in range(20):
        jitted(lambda x, i=i: x + i).apply({}, X)
        nn.apply(nn.jit(lambda module, x, i=i: module(x) + i), Layer())
        exec(
            "fn = lambda module, x: module.param('w', nn.initializers.ones, ())", space
        )
        jit_of_lambda = nn.jit(space.pop("fn"))
        nn.init(nn.compact(jit_of_lambda), Layer())(KEY, X)
        del jit_of_lambda
    assert programs() - before <= 2


def test_a_function_that_lives_has_its_program():
    calls = []
    space = {"calls": calls}
    exec("def fn(module, x):\n  calls.append(1)\n  return 2 * x", space)
    for _ in range(3):
        nn.apply(nn.jit(space["fn"]), Layer())({}, X)
    assert len(calls) == 1
    for _ in range(2):
        nn.apply(nn.jit(space["fn"], rngs=False), Layer())({}, X)
    assert len(calls) == 2


DEVICE = jax.devices()[0]


@pytest.mark.parametrize(
    ("by_position", "options"),
    [
        # As documented, without `static_argnames`.
        (((), (1,)), {"donate_argnums": (1,)}),
        (((), 1), {"donate_argnums": (1,)}),
        (((1,), (), DEVICE), {"static_argnums": (1,), "device": DEVICE}),
        (((), (1,), DEVICE), {"donate_argnums": (1,), "device": DEVICE}),
        (((), (1,), None, "cpu"), {"donate_argnums": (1,), "backend": "cpu"}),
        (((), (1,), None, None, ["f"]), {"donate_argnums": (1,), "methods": ["f"]}),
        (((), (), DEVICE, "cpu", ["f"]), {"device": DEVICE, "methods": ["f"]}),
        # As in later versions.
        (((), ("a",), (1,)), {"donate_argnums": (1,), "static_argnames": ("a",)}),
        (((), "a"), {"static_argnames": ("a",)}),
        (((), "a", None), {"static_argnames": ("a",)}),
        (((), (), (1,), DEVICE), {"donate_argnums": (1,), "device": DEVICE}),
        (
            ((), "a", (), None, None, ["f"]),
            {"static_argnames": ("a",), "methods": ["f"]},
        ),
    ],
)
def test_positions_of_both_generations(by_position, options, monkeypatch):
    given = {}

    def lift_target(lifted, transform, target, options, methods, **kwargs):
        given.update(options, methods=methods)

    module = sys.modules["batiste.linen.transforms.jit"]
    monkeypatch.setattr(module, "lift_target", lift_target)
    nn.jit(Layer, True, True, *by_position)
    assert {name: given[name] for name in options} == options
    absent = {"static_argnames", "donate_argnums"} - options.keys()
    assert not any(given[name] for name in absent)


def test_a_donated_argument_by_position():
    class Model(nn.Module):
        @nn.compact
        def __call__(self, x, flag):
            return nn.jit(Layer, True, True, (), (1,))()(x)

    x = jnp.ones((3, 2))
    y, _ = Model().init_with_output(KEY, x, True)
    assert y.shape == (3, 2)


class Initializing(nn.Module):
    """Compiles its own `init`, and draws keys that flags decide over."""

    @nn.jit
    def init(self, key, x):
        return super().init(key, x)

    @nn.compact
    def __call__(self, x):
        x = nn.jit(nn.Dense)(2)(x)
        branches = [lambda mdl, x: nn.Dense(2)(x)] * 2
        return nn.switch(1, branches, self, x)


class Inside(Initializing):
    """The same, bound."""

    init = nn.Module.init

    @nn.jit
    @nn.compact
    def __call__(self, x):
        branches = [lambda mdl, x: x + mdl.param("a", normal), normal_of]
        return nn.switch(1, branches, self, x)


def normal(key):
    return jax.random.normal(key)


def normal_of(mdl, x):
    return x + mdl.param("a", normal)


@pytest.mark.parametrize("model", [Initializing(), Inside()])
@pytest.mark.parametrize("flag", ["jit_folds_rngs", "branches_count_on"])
def test_programs_are_of_one_state_of_the_config(model, flag):
    def kernels():
        return jax.tree.map(np.asarray, dict(model.init(KEY, jnp.ones((1, 2)))))

    def same(a, b):
        return jax.tree.all(jax.tree.map(np.array_equal, a, b))

    before = kernels()
    with config.temp_flip_flag(flag, True):
        under = kernels()
        assert same(under, kernels())
    assert not same(before, under)
    assert same(before, kernels())
