"""Tests of batiste.linen.transforms.inner_names."""

from functools import partial
from typing import Any

import jax
import pytest
from jax import numpy as jnp

import batiste.linen as nn
from batiste.core import Scope
from batiste.core.config import config
from batiste.linen import errors
from batiste.linen.transforms.inner_names import (
    commit_names,
    made_names,
    reserve_names,
    taken_names,
)

KEY = jax.random.key(0)
X = jnp.ones((2, 2))
STACKED = {"variable_axes": {"params": 0}, "split_rngs": {"params": True}}
TRANSFORMS: dict[str, Any] = {
    "jit": nn.jit,
    "remat": nn.remat,
    "vmap": partial(nn.vmap, **STACKED),
    "fold_rngs": nn.fold_rngs,
    "map_variables": partial(nn.map_variables, mapped_collections="params", init=True),
    "add_metadata_axis": partial(
        nn.add_metadata_axis,
        variable_axes={"params": 0},
        metadata_params={nn.PARTITION_NAME: "layers"},
    ),
}
every_transform = pytest.mark.parametrize("name", TRANSFORMS)


def layer(name="a"):
    return nn.Dense(2, name=name)


class Net(nn.Module):
    """Runs a function of itself, and has two methods that do, one compact."""

    fn: Any

    @nn.compact
    def __call__(self, x):
        return self.fn(self, x)


def refused(module, name="a"):
    with pytest.raises(errors.NameInUseError, match=f'submodule "{name}" in module'):
        module.init(KEY, X)


@pytest.fixture
def as_released():
    config.update("documented_checks", False)
    yield
    config.update("documented_checks", True)


@every_transform
@pytest.mark.parametrize("inside_first", [True, False])
def test_one_name_inside_and_outside_of_a_method(name, inside_first):
    transform = TRANSFORMS[name]

    class Twice(nn.Module):
        @transform
        def helper(self, x):
            return layer()(x)

        @nn.compact
        def __call__(self, x):
            if inside_first:
                return layer()(self.helper(x))
            return self.helper(layer()(x))

    refused(Twice())


@every_transform
@pytest.mark.parametrize("inside_first", [True, False])
def test_one_name_inside_and_outside_of_a_function(name, inside_first):
    def program(mdl, x):
        run = TRANSFORMS[name](lambda mdl, x: layer()(x))
        return layer()(run(mdl, x)) if inside_first else run(mdl, layer()(x))

    refused(Net(program))


@every_transform
@pytest.mark.usefixtures("as_released")
def test_the_released_package_lets_what_is_inside_share_what_is_outside(name):
    def program(mdl, x):
        return layer()(TRANSFORMS[name](lambda mdl, x: layer()(x))(mdl, x))

    if name == "vmap":
        with pytest.raises(Exception, match="shape"):
            Net(program).init(KEY, X)
    else:
        assert list(Net(program).init(KEY, X)["params"]) == ["a"]


@every_transform
def test_calls_of_one_transformed_function_share_what_they_name(name):
    def program(mdl, x):
        run = TRANSFORMS[name](lambda mdl, x: layer()(x))
        return run(mdl, run(mdl, x))

    assert list(Net(program).init(KEY, X)["params"]) == ["a"]


def given(transform, form):
    """A program in which a module named `a` takes part, and `a` is made inside."""

    def body(mdl, held, x):
        y = held(x) if form == "single" else held["z"][0](x)
        return layer()(y)

    def program(mdl, x):
        held = layer() if form == "single" else {"z": [layer()]}
        return transform(body)(mdl, held, x)

    return Net(program)


@pytest.mark.parametrize("documented", [True, False])
@pytest.mark.parametrize("form", ["single", "tree"])
@pytest.mark.parametrize("name", [t for t in TRANSFORMS if t != "vmap"])
def test_names_of_modules_that_are_given_to_a_function(name, form, documented):
    config.update("documented_checks", documented)
    try:
        refused(given(TRANSFORMS[name], form))
    finally:
        config.update("documented_checks", True)


@pytest.mark.parametrize("documented", [True, False])
@pytest.mark.parametrize("form", ["single", "tree"])
@pytest.mark.parametrize("transform", ["cond", "switch", "grad"])
def test_names_of_modules_that_are_given_to_branches(transform, form, documented):
    def run(body):
        if transform == "cond":
            return lambda *args: nn.cond(True, body, body, *args)
        if transform == "switch":
            return lambda *args: nn.switch(0, [body], *args)
        return lambda *args: nn.grad(lambda *args: body(*args).sum(), *args)

    config.update("documented_checks", documented)
    try:
        refused(given(run, form))
    finally:
        config.update("documented_checks", True)


@every_transform
@pytest.mark.parametrize("documented", [True, False])
@pytest.mark.parametrize("form", ["single", "tree"])
@pytest.mark.parametrize("place", ["field", "setup"])
def test_names_of_fields_and_of_setup(name, form, documented, place):
    class Whole(nn.Module):
        inner: Any = None

        def setup(self):
            if place == "setup":
                self.own = nn.Dense(2) if form == "single" else {"z": [nn.Dense(2)]}

        @TRANSFORMS[name]
        @nn.compact
        def __call__(self, x):
            held = self.own if place == "setup" else self.inner
            x = held(x) if form == "single" else held["z"][0](x)
            return layer(used)(x)

    used = ("own" if place == "setup" else "inner") + ("_z_0" * (form == "tree"))
    inner = nn.Dense(2) if form == "single" else {"z": [nn.Dense(2)]}
    config.update("documented_checks", documented)
    try:
        refused(Whole(inner if place == "field" else None), used)
    finally:
        config.update("documented_checks", True)


@every_transform
def test_names_of_setup_are_taken_outside_of_a_method(name):
    class Parts(nn.Module):
        def setup(self):
            self.own = [nn.Dense(2)]

        @TRANSFORMS[name]
        def helper(self, x):
            return self.own[0](x)

        @nn.compact
        def __call__(self, x):
            return layer("own_0")(self.helper(x))

    refused(Parts(), "own_0")


@every_transform
def test_setup_runs_inside_as_outside(name):
    class Parts(nn.Module):
        def setup(self):
            self.own = [nn.Dense(2)]

        @TRANSFORMS[name]
        def helper(self, x):
            return layer("inside")(self.own[0](x))

        @nn.compact
        def __call__(self, x):
            return layer("outside")(self.helper(x))

    found = Parts().init(KEY, X)["params"]
    assert sorted(found) == ["inside", "outside", "own_0"]


def test_parameters_may_be_declared_inside_and_outside():
    def program(mdl, x):
        scale = lambda mdl: mdl.param("scale", nn.initializers.ones, (2,))  # noqa: E731
        return nn.remat(lambda mdl, x: x * scale(mdl))(mdl, x * scale(mdl))

    assert list(Net(program).init(KEY, X)["params"]) == ["scale"]


def test_compiled_code_of_another_call_is_told_too():
    def block(mdl, held, x):
        return layer("b")(held(x))

    run = nn.jit(block)

    def program(mdl, x):
        x = run(mdl, nn.Dense(2, name="c"), x)
        return run(mdl, nn.Dense(2, name="b"), x)

    refused(Net(program), "b")


def test_what_functions_find():
    def program(mdl, x):
        assert taken_names([mdl], around=True) == {0: {}}
        dense = layer()
        mdl.param("scale", nn.initializers.ones, (2,))
        assert taken_names([mdl], around=False) == {}
        assert taken_names([mdl, dense], around=False) == {0: {"a": "submodule"}}
        found = {"a": "submodule", "scale": "variable"}
        assert taken_names([mdl, dense], around=True) == {0: found}
        assert taken_names([mdl], True, shares=True) == {0: {**found, "a": "shared"}}
        made = (("a", "submodule"), ("scale", "param"))
        assert made_names(mdl, {}) == made
        assert made_names(mdl, {"a": "submodule"}) == made[1:]
        commit_names(mdl, [("b", "submodule"), ("w", "variable")], found)
        found.update(b="shared", w="variable")
        assert taken_names([mdl], around=True) == {0: found}
        with pytest.raises(errors.NameInUseError, match='submodule "b" in module Net'):
            layer("b")
        with pytest.raises(errors.NameInUseError, match='submodule "w" in module Net'):
            layer("w")
        with pytest.raises(errors.NameInUseError, match='submodule "a" in module Net'):
            commit_names(mdl, [("a", "submodule")], found)
        return dense(x)

    Net(program).init(KEY, X)


def test_reserved_names():
    scope = Scope({})
    taken = {"a": "submodule", "b": "variable", "c": "shared", "d": "submodule"}
    scope.reserve("d", "params")
    reserve_names(scope, taken)
    whole = {name: scope.name_reserved(name, "params") for name in taken}
    assert whole == {"a": True, "b": False, "c": True, "d": True}
    assert not scope.name_reserved("d", "state")
    for name in "abd":
        with pytest.raises(ValueError, match="Duplicate use of scope name"):
            scope.push(name)
    scope.push("c")
    with pytest.raises(ValueError, match="Duplicate use of scope name"):
        scope.push("c")


def call(run):
    return lambda fn: lambda mdl: run(lambda mdl, *_: fn(mdl), mdl)


NO_SPLIT = {"split_rngs": {"params": False}}
SHARED = {"variable_axes": {"params": None, "state": None}, **NO_SPLIT}
BROADCAST = {"variable_broadcast": ["params", "state"], **NO_SPLIT}
METHODS = {**TRANSFORMS, "vmap": partial(nn.vmap, **SHARED)}
FUNCTIONS: dict[str, Any] = {
    **{n: TRANSFORMS[n] for n in ("jit", "remat", "fold_rngs", "add_metadata_axis")},
    "map_variables": TRANSFORMS["map_variables"],
    "vmap": lambda fn: lambda mdl: nn.vmap(lambda mdl, x: fn(mdl), **SHARED)(mdl, X),
    "scan": call(
        lambda fn, mdl: nn.scan(lambda mdl, c, x: (c, fn(mdl)), length=2, **BROADCAST)(
            mdl, 0, None
        )
    ),
    "remat_scan": call(
        lambda fn, mdl: nn.remat_scan(
            lambda mdl, c: (fn(mdl), c)[1], lengths=(2,), **BROADCAST
        )(mdl, X)
    ),
    "cond": call(lambda fn, mdl: nn.cond(True, fn, fn, mdl)),
    "switch": call(lambda fn, mdl: nn.switch(0, [fn, fn], mdl)),
    "vjp": call(lambda fn, mdl: nn.vjp(lambda m, x: fn(m), mdl, X)[0]),
    "grad": call(lambda fn, mdl: nn.grad(lambda m, x: fn(m), mdl, X)),
    "value_and_grad": call(
        lambda fn, mdl: nn.value_and_grad(lambda m, x: fn(m), mdl, X)
    ),
    "jvp": call(lambda fn, mdl: nn.jvp(lambda m, x: fn(m), mdl, (X,), (X,), {})[0]),
    "custom_vjp": call(
        lambda fn, mdl: nn.custom_vjp(
            lambda m, x: fn(m),
            lambda m, x: nn.vjp(lambda m, x: fn(m), m, x),
            lambda vjp, y: vjp(y),
        )(mdl, X)
    ),
}


def use(kind):
    """A function that makes a thing named `a` of a kind in a module."""

    def fn(mdl):
        if kind == "submodule":
            return layer()(X).sum()
        if kind == "param":
            return mdl.param("a", nn.initializers.ones, ())
        return mdl.variable("state", "a", jnp.zeros, ()).value

    return fn


def clash(lift, first, second, order):
    """Whether a program with two things named `a` gets a `NameInUseError`."""
    first, second = use(first), use(second)
    if order != "outside first":
        first = lift(first)
    if order != "inside first":
        second = lift(second)

    def program(mdl, x):
        first(mdl)
        second(mdl)
        return x

    with pytest.raises(errors.NameInUseError, match='"a" in module Net'):
        Net(program).init(KEY, X)


every_order = pytest.mark.parametrize(
    "order", ["inside first", "outside first", "both inside"]
)
every_pair = pytest.mark.parametrize(
    ("first", "second"),
    [
        ("param", "submodule"),
        ("submodule", "param"),
        ("variable", "submodule"),
        ("submodule", "variable"),
    ],
)


@pytest.fixture(params=[True, False])
def relaxed(request):
    """Whether variables of different collections may have one name."""
    with config.temp_flip_flag("relaxed_naming", request.param):
        yield request.param


@pytest.mark.usefixtures("relaxed")
@pytest.mark.parametrize("name", FUNCTIONS)
@every_order
@every_pair
def test_variable_and_submodule_of_one_name(name, first, second, order):
    clash(FUNCTIONS[name], first, second, order)


@pytest.mark.usefixtures("relaxed")
@every_transform
@every_order
@every_pair
def test_variable_and_submodule_of_one_name_with_a_method(name, first, second, order):
    first, second = use(first), use(second)

    class Twice(nn.Module):
        @METHODS[name]
        def one(self, x):
            return first(self) + x

        @METHODS[name]
        def other(self, x):
            return second(self) + x

        @nn.compact
        def __call__(self, x):
            _ = first(self) if order == "outside first" else self.one(x)
            _ = second(self) if order == "inside first" else self.other(x)
            return x

    with pytest.raises(errors.NameInUseError, match='"a" in module Twice'):
        Twice().init(KEY, X)


@pytest.mark.usefixtures("relaxed")
@pytest.mark.parametrize("name", [n for n in FUNCTIONS if n != "remat_scan"])
@pytest.mark.parametrize("inside_first", [True, False])
def test_variables_of_one_name_share(name, inside_first):
    inside, outside = FUNCTIONS[name](use("param")), use("param")

    def program(mdl, x):
        for fn in (inside, outside) if inside_first else (outside, inside):
            fn(mdl)
        return x

    assert list(Net(program).init(KEY, X)["params"]) == ["a"]


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("order", ["inside first", "outside first", "both inside"])
@pytest.mark.usefixtures("as_released")
def test_a_submodule_replaces_no_parameter_as_released(name, order):
    lift = FUNCTIONS[name]
    first, second = use("param"), use("submodule")
    first = first if order == "outside first" else lift(first)
    second = second if order == "inside first" else lift(second)
    program = Net(lambda mdl, x: (first(mdl), second(mdl), x)[2])
    with pytest.raises(TypeError, match='"a" in "/.*" is a variable of the collection'):
        program.init(KEY, X)


@pytest.mark.usefixtures("as_released")
@pytest.mark.parametrize("order", ["inside first", "outside first", "both inside"])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_other_collections_have_names_of_their_own_as_released(name, order):
    lift = FUNCTIONS[name]
    first, second = use("variable"), use("submodule")
    first = first if order == "outside first" else lift(first)
    second = second if order == "inside first" else lift(second)
    program = Net(lambda mdl, x: (first(mdl), second(mdl), x)[2])
    assert jax.tree.map(jnp.shape, nn.unbox(program.init(KEY, X))) == {
        "params": {"a": {"kernel": (2, 2), "bias": (2,)}},
        "state": {"a": ()},
    }
