"""Modules from construction to copies: setup, attributes, names, errors."""

import copy
import dataclasses
import functools
import pickle
import subprocess
import sys
import threading
import traceback
from typing import Any

import jax
import pytest
from jax import numpy as jnp

import batiste.linen as nn
from batiste.core.config import config
from batiste.linen import errors

KEY = jax.random.key(0)
X = jnp.ones((2, 3))


class Pair(nn.Module):
    width: int = 4

    def setup(self):
        self.a = nn.Dense(self.width)
        self.b = nn.Dense(3)

    def __call__(self, x):
        return self.b(self.a(x))


class Scale(nn.Module):
    """A module whose fields can be pickled."""

    factor: float = 2.0
    inner: Any = None

    @nn.compact
    def __call__(self, x):
        y = x * self.factor * self.param("w", nn.initializers.ones, (1,))
        return self.inner(y) if self.inner is not None else y


# Setup.


def test_setup_runs_once_and_only_when_needed():
    log = []

    class Inner(nn.Module):
        def setup(self):
            log.append("inner")
            self.value = 3

        def __call__(self):
            return self.value

    class Model(nn.Module):
        def setup(self):
            log.append("outer")
            self.used = Inner()
            self.unused = Inner()

        def __call__(self):
            log.append("call")
            return self.used() + self.used.value

    assert Model().apply({}) == 6
    assert log == ["outer", "call", "inner"]


def test_setup_and_compact_together():
    class Model(nn.Module):
        def setup(self):
            self.first = nn.Dense(3)
            self.scale = self.param("scale", nn.initializers.ones, (3,))

        @nn.compact
        def __call__(self, x):
            return nn.Dense(3)(self.first(x) * self.scale)

    assert set(Model().init(KEY, X)["params"]) == {"first", "scale", "Dense_0"}


def test_setup_can_be_tried_again():
    fails = [True]

    class Model(nn.Module):
        layer: Any

        def setup(self):
            self.a = nn.Dense(2)
            self.b = self.param("b", nn.initializers.ones, (2,))
            if fails[0]:
                raise KeyError("no")

        def __call__(self, x):
            return self.a(self.layer(x)) + self.b

    model = Model(nn.Dense(3))
    bound = model.bind({}, rngs={"params": KEY}, mutable=True)
    for run in (lambda: model.init(KEY, X), lambda: bound(X)):
        with pytest.raises(KeyError):
            run()
    assert "a" not in vars(bound)
    fails[0] = False
    assert bound(X).shape == (2, 2)
    assert set(bound.variables["params"]) == {"a", "b", "layer"}
    assert set(model.init(KEY, X)["params"]) == {"a", "b", "layer"}


def test_setup_by_hand():
    with pytest.raises(
        errors.CallSetupUnboundModuleError, match="`setup` of Pair .* runs by itself"
    ):
        Pair().setup()


def test_what_setup_defines_is_not_there_before():
    model = Pair()
    with config.temp_flip_flag("unbound_submodules", False):
        assert not hasattr(model, "a")
        with pytest.raises(
            AttributeError, match='"Pair" object has no attribute "a".*'
        ):
            model.a  # noqa: B018
        assert "a" not in dir(model)
    assert model.a.scope is None
    bound = model.bind({})
    assert bound.a.features == 4
    assert "b" in dir(bound)
    assert not hasattr(bound, "c")
    assert nn.apply(lambda m: m.a.clone(), model)({}) == nn.Dense(4, name="a")


def test_attribute_error_within_setup():
    class Model(nn.Module):
        def setup(self):
            self.a = self.missing

        def __call__(self, x):
            return x

    with pytest.raises(AttributeError, match='"Model" object .* attribute "missing"'):
        Model().init(KEY, X)


# Attributes.


def test_assigning():
    class Late(nn.Module):
        width: int = 2

        @nn.compact
        def __call__(self, x):
            self.layer = nn.Dense(2)

    class Field(nn.Module):
        width: int = 2

        def setup(self):
            self.width = 3

        def __call__(self, x):
            return x

    with pytest.raises(
        errors.SetAttributeFrozenModuleError, match="Cannot set layer=.* on Late: .*clo"
    ):
        Late().init(KEY, X)
    with pytest.raises(
        errors.SetAttributeInModuleSetupError, match='The field "width" of Field was'
    ):
        Field().init(KEY, X)
    bound = nn.Dense(2).bind({})
    with pytest.raises(errors.SetAttributeFrozenModuleError, match="features=3 on Den"):
        bound.features = 3
    assert bound.features == 2


def test_property_setters_run():
    class Model(nn.Module):
        def setup(self):
            self.thing = 3

        @property
        def thing(self):
            return self._thing

        @thing.setter
        def thing(self, value):
            self._thing = 2 * value

        def __call__(self):
            return self.thing

    assert Model().apply({}) == 6


# Construction within modules.


def test_submodule_outside_of_setup_and_compact():
    class Model(nn.Module):
        def __call__(self, x):
            return nn.Dense(2)(x)

    class Partial(nn.Module):
        def setup(self):
            self.make = functools.partial(nn.Dense, features=3)

        def __call__(self, x):
            return self.make(name="x")(x)

    for model in (Model(), Partial()):
        name = type(model).__name__
        with pytest.raises(
            errors.AssignSubModuleError, match=f"Submodule Dense of {name} was made"
        ):
            model.init(KEY, X)


def test_recursion():
    class Tree(nn.Module):
        depth: int

        @nn.compact
        def __call__(self, x):
            if self.depth == 0:
                return nn.Dense(3)(x)
            return Tree(self.depth - 1)(x) + Tree(self.depth - 1)(x)

    assert len(jax.tree.leaves(Tree(3).init(KEY, X))) == 16


def test_super_call_of_compact_methods():
    class Base(nn.Module):
        @nn.compact
        def __call__(self, x):
            return nn.Dense(3)(x)

    class Sub(Base):
        @nn.compact
        def __call__(self, x):
            return nn.Dense(3)(super().__call__(super().__call__(x)))

    assert set(Sub().init(KEY, X)["params"]) == {"Dense_0", "Dense_1", "Dense_2"}


# Copies.


def test_clone_and_copy():
    model = Scale(3.0, Scale(), name="m")
    assert model.clone() == model
    assert model.clone() is not model
    assert model.clone(factor=1.0, name="n") == Scale(1.0, Scale(), name="n")
    assert model.clone().inner is model.inner
    assert model.copy().name is None
    assert model.copy(name="k").name == "k"
    assert dataclasses.replace(model, factor=5.0).factor == 5.0
    with pytest.raises(TypeError, match="unexpected keyword argument 'missing'"):
        model.clone(missing=3)


def test_copies_within_a_compact_method():
    class Stack(nn.Module):
        block: Any

        @nn.compact
        def __call__(self, x):
            for i in range(2):
                x = self.block.copy(name=f"block_{i}")(x)
            return x

    assert set(Stack(nn.Dense(3)).init(KEY, X)["params"]) == {"block_0", "block_1"}


def test_copy_module():
    model = Scale(3.0, [Scale()], name="m")
    deep = copy.deepcopy(model)
    assert deep == model
    assert deep.inner[0] is not model.inner[0]
    assert copy.copy(model) == model
    assert deep.parent is None


def test_pickle():
    model = Scale(3.0, [Scale(1.0, name="n")], name="m")
    restored = pickle.loads(pickle.dumps(model))
    assert restored == model
    assert repr(restored) == repr(model)
    bound = Scale().bind(Scale().init(KEY, X))
    assert (pickle.loads(pickle.dumps(bound.unbind()[0]))) == Scale()


def test_pickle_of_a_class_defined_in_main():
    code = """
import pickle, jax, jax.numpy as jnp, batiste.linen as nn

class Model(nn.Module):
    width: int = 2
    inner: nn.Module | None = None
    def setup(self):
        self.made = self.width + 1
    @property
    def prop(self):
        return self.made
    @nn.compact
    def __call__(self, x):
        return x * self.prop

model = Model(3, Model(5))
again = pickle.loads(pickle.dumps(model))
assert again == model and again.apply({}, 2) == 8
print("fine")
"""
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert run.stdout == "fine\n", run.stderr


# Tracebacks and threads.


def _frames(run):
    try:
        run()
    except Exception as error:
        return [f.line for f in traceback.extract_tb(error.__traceback__)][1:]
    return None


def test_tracebacks_end_in_the_users_line():
    class Model(nn.Module):
        how: int

        @nn.compact
        def __call__(self, x):
            if self.how == 0:
                self.attribute = 3
            if self.how == 1:
                nn.Dense(2, name="a"), nn.Dense(3, name="a")
            return nn.Dense(2)(x, x, x)

    lines = [
        "self.attribute = 3",
        'nn.Dense(2, name="a"), nn.Dense(3, name="a")',
        "return nn.Dense(2)(x, x, x)",
    ]
    for how, line in enumerate(lines):
        assert _frames(lambda how=how: Model(how).init(KEY, X))[1:] == [line]
        assert _frames(lambda how=how: Model(how).bind({})(X))[1:] == [line]
        init = nn.init(lambda m, x: m(x), Model(how))
        frames = _frames(lambda init=init: init(KEY, X))
        assert frames[2:] == [line]
        assert len(frames) == 3
    assert len(_frames(lambda: nn.Dense(2)(X))) == 1
    assert len(_frames(lambda: nn.Dense(2).unbind())) == 1
    assert len(_frames(lambda: nn.share_scope(nn.Dense(2), nn.Dense(2)))) == 1


@pytest.mark.parametrize(
    "use",
    [
        lambda module: module.missing,
        lambda module: module.param("w", nn.initializers.ones, (3,)),
        lambda module: module.variable("state", "x", lambda: 0),
        lambda module: module.has_variable("params", "kernel"),
        lambda module: module.get_variable("params", "kernel"),
        lambda module: module.put_variable("params", "kernel", 0),
        lambda module: module.is_mutable_collection("params"),
        lambda module: module.variables,
        lambda module: module.path,
        lambda module: module.has_rng("dropout"),
        lambda module: module.make_rng("dropout"),
        lambda module: module.is_initializing(),
        lambda module: module.sow("state", "x", 0),
        lambda module: module.perturb("x", 0),
    ],
)
def test_tracebacks_of_unbound_modules_end_in_the_users_line(use):
    assert len(_frames(lambda: use(nn.Dense(2)))) == 2


def test_threads():
    model = Scale(3.0, nn.Sequential([Pair(), nn.Dense(3)]))
    variables = model.init(KEY, X)
    y = model.apply(variables, X)
    wrong = []

    def run():
        for _ in range(3):
            same = jax.tree.map(
                lambda a, b: bool((a == b).all()), model.init(KEY, X), variables
            )
            if not jax.tree.all(same) or not (model.apply(variables, X) == y).all():
                wrong.append(same)

    threads = [threading.Thread(target=run) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_no_tracer_leaks():
    model = Scale(3.0, Pair())
    with jax.checking_leaks():
        variables = jax.jit(model.init)(KEY, X)
        jax.jit(model.apply)(variables, X)
        jax.grad(lambda v: model.apply(v, X).sum())(variables)
        jax.jit(lambda v: model.apply(v, X, capture_intermediates=True))(variables)
        jax.vmap(model.apply, (None, 0))(variables, X)
