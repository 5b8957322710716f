"""What a lifted transform does not pass on, and the errors that say so."""

import jax
import pytest
from jax import numpy as jnp

import batiste.linen as nn
from batiste.core import errors, lift
from batiste.core.config import config

KEY = jax.random.key(0)
X = jnp.ones((4, 2, 3))


class Cell(nn.Module):
    """Does what its name says, as the body of a scan and of other transforms."""

    does: str = "sow"

    @nn.compact
    def __call__(self, carry, x):
        if self.does == "sow":
            self.sow("intermediates", "h", x)
        elif self.does == "sow deep":
            nn.jit(Cell)("sow")(carry, x)
        elif self.does == "put":
            self.put_variable("intermediates", "h", x)
        elif self.does == "variable":
            self.variable("intermediates", "h", jnp.ones, (1,))
        elif self.does == "param":
            self.param("w", nn.initializers.ones, (1,))
        elif self.does == "key":
            self.make_rng("dropout")
        return carry, x


SCAN = 'scan variable_axes={"intermediates": 0} (or variable_carry="intermediates", or'
TRANSFORMS = {
    "scan": (lambda: nn.scan(Cell), SCAN),
    "remat_scan": (
        lambda: nn.scan(nn.remat(Cell), variable_axes={"params": 0}),
        SCAN,
    ),
    "vmap": (
        lambda: nn.vmap(Cell, variable_axes={}, split_rngs={}, in_axes=(None, 0)),
        'vmap variable_axes={"intermediates": 0}',
    ),
    "jit": (
        lambda: nn.jit(Cell, variables="params", rngs="params"),
        'jit `variables`, a filter that selects "intermediates"',
    ),
    "remat": (
        lambda: nn.remat(Cell, variables="params", rngs="params"),
        'remat `variables`, a filter that selects "intermediates"',
    ),
}


@pytest.mark.parametrize("transform", TRANSFORMS)
@pytest.mark.parametrize("does", ["sow", "sow deep", "put"])
def test_what_is_sown_and_dropped_is_an_error(transform, does):
    make, argument = TRANSFORMS[transform]
    layer = make()(does)
    with pytest.raises(errors.ModifyScopeVariableError) as raised:
        layer.apply({}, 0.0, X, mutable=["intermediates"])
    assert f"Give the {argument}" in str(raised.value)
    assert '"h"' in str(raised.value)
    # Outside it is not mutable either: nobody asks for it.
    if does != "put":
        layer.apply({}, 0.0, X)
        layer.apply({}, 0.0, X, mutable=["state"])


def test_sowing_in_a_while_loop():
    class Loop(nn.Module):
        @nn.compact
        def __call__(self, x):
            def body(module, x):
                module.sow("intermediates", "h", x)
                return x + 1

            return nn.while_loop(lambda _, x: x < 3, body, self, x)

    with pytest.raises(
        errors.ModifyScopeVariableError, match='while_loop carry_variables="interm'
    ):
        Loop().apply({}, 0, mutable=["intermediates"])


def test_sowing_with_an_axis():
    layer = nn.scan(Cell, variable_axes={"intermediates": 0})()
    _, state = layer.apply({}, 0.0, X, mutable=["intermediates"])
    assert state["intermediates"]["h"][0].shape == X.shape


@pytest.mark.parametrize("transform", TRANSFORMS)
def test_without_documented_checks_it_is_a_warning(transform):
    layer = TRANSFORMS[transform][0]()("sow")
    with (
        config.temp_flip_flag("documented_checks", False),
        pytest.warns(UserWarning, match='is dropped.*"h".*"intermediates"'),
    ):
        _, state = layer.apply({}, 0.0, X, mutable=["intermediates"])
    assert not state


def test_who_captures_results_has_asked_for_none_in_particular():
    layer = nn.RNN(nn.GRUCell(3))
    variables = layer.init(KEY, X)
    _, state = layer.apply(variables, X, capture_intermediates=True)
    assert list(state["intermediates"]) == ["__call__"]


@pytest.mark.parametrize("transform", TRANSFORMS)
def test_a_stream_that_is_not_passed_on_is_not_called_missing(transform):
    layer = TRANSFORMS[transform][0]()("key")
    argument = {
        "jit": 'jit `rngs`, a filter that selects "dropout"',
        "remat": 'remat `rngs`, a filter that selects "dropout"',
        "vmap": 'vmap split_rngs={"dropout": True}',
    }.get(transform, 'scan split_rngs={"dropout": True}')
    with pytest.raises(errors.InvalidRngError) as raised:
        layer.apply({}, 0.0, X, rngs={"dropout": KEY})
    text = str(raised.value)
    assert text.endswith(f"Give the {argument}.")
    assert "which the call was given" in text
    # A stream that was not given at all is, with those that were.
    with pytest.raises(errors.InvalidRngError, match=r"the call was given \['other'\]"):
        layer.apply({}, 0.0, X, rngs={"other": KEY})
    with pytest.raises(errors.InvalidRngError, match="the call was given no streams"):
        layer.apply({}, 0.0, X)


def test_the_fallback_is_not_passed_on_either():
    with pytest.raises(
        errors.InvalidRngError, match='scan split_rngs={"params": True}'
    ):
        nn.scan(Cell)("key").init(KEY, 0.0, X)


@pytest.mark.parametrize("does", ["param", "variable"])
def test_a_collection_that_is_not_passed_on_is_not_called_missing(does):
    col = {"param": "params", "variable": "intermediates"}[does]
    layer = nn.scan(Cell)(does)
    with pytest.raises(errors.ScopeCollectionNotFound) as raised:
        layer.init(KEY, 0.0, X, mutable=True)
    assert f'Give the scan variable_axes={{"{col}": 0}}' in str(raised.value)
    assert "apply" not in str(raised.value)
    name = {"param": "w", "variable": "h"}[does]
    with pytest.raises(errors.ScopeCollectionNotFound, match="does not let it in"):
        layer.apply({col: {name: jnp.ones(1)}}, 0.0, X)


@pytest.mark.parametrize("does", ["param", "variable"])
def test_new_variables_that_are_not_let_out(does):
    """Collections that only go in."""
    col = {"param": "params", "variable": "intermediates"}[does]
    layer = nn.scan(Cell, variable_axes={col: lift.In(0)})(does)
    kinds = (errors.ScopeParamNotFoundError, errors.ScopeVariableNotFoundError)
    with pytest.raises(kinds, match="does not let new ones out.*give the scan"):
        layer.apply({col: {"other": jnp.ones(4)}}, 0.0, X, mutable=[col])


def test_a_closure_over_a_module_from_outside_is_told_of():
    class Model(nn.Module):
        @nn.compact
        def __call__(self, x):
            dense = nn.Dense(3)

            def body(module, carry, x):
                return carry, dense(x)

            return nn.scan(body, split_rngs={"params": False})(self, 0.0, x)

    with pytest.raises(errors.JaxTransformError) as raised:
        Model().init(KEY, X)
    text = str(raised.value)
    assert 'scope "/Dense_0"' in text
    assert "first argument" in text
    assert "nn.scan" not in text


class Net(nn.Module):
    does: str

    @nn.compact
    def __call__(self, x):
        if self.does == "param":
            return x * self.param("w", nn.initializers.ones, (3,))
        if self.does == "variable":
            return x * self.variable("state", "w", jnp.ones, (3,)).value
        if self.does == "key":
            return x * jax.random.normal(self.make_rng("params"))
        return nn.Dense(3)(x)


def scan_of(step, **options):
    loop = nn.scan(lambda m, c, _: (step(m, c), None), length=2, **options)
    return lambda net, x: loop(net, x, None)[0]


def custom_vjp_of(step):
    return nn.custom_vjp(step, lambda m, x: nn.vjp(step, m, x), lambda back, g: back(g))


CLOSURES = {
    "scan": lambda f: scan_of(f, split_rngs={"params": False}),
    "scan carry": lambda f: scan_of(f, variable_carry="state", split_rngs={}),
    "vmap": lambda f: nn.vmap(f, variable_axes={}, split_rngs={"params": False}),
    "jit": nn.jit,
    "remat": nn.remat,
    "checkpoint": nn.checkpoint,
    "cond": lambda f: lambda net, x: nn.cond(True, f, f, net, x),
    "switch": lambda f: lambda net, x: nn.switch(0, [f, f], net, x),
    "while_loop": lambda f: (
        lambda net, x: nn.while_loop(
            lambda m, c: c[0] < 1, lambda m, c: (c[0] + 1, f(m, c[1])), net, (0, x)
        )[1]
    ),
    "vjp": lambda f: lambda net, x: nn.vjp(f, net, x)[0],
    "jvp": lambda f: lambda net, x: nn.jvp(f, net, (x,), (x,), {})[0],
    "linearize": lambda f: lambda net, x: nn.linearize(f, net, x)[0],
    "grad": lambda f: lambda net, x: nn.grad(lambda m, x: f(m, x).sum(), net, x)[0],
    "value_and_grad": lambda f: (
        lambda net, x: nn.value_and_grad(lambda m, x: f(m, x).sum(), net, x)[0]
    ),
    "custom_vjp": custom_vjp_of,
    "custom_jvp": lambda f: nn.custom_jvp(f, lambda *args: None),
    "map_variables": lambda f: nn.map_variables(f, "params", init=True),
    "add_metadata_axis": lambda f: nn.add_metadata_axis(f, {"params": 0}),
    "fold_rngs": nn.fold_rngs,
}


@pytest.mark.parametrize("used", [False, True], ids=["unused", "used"])
@pytest.mark.parametrize("does", ["param", "variable", "key", "submodule"])
@pytest.mark.parametrize("transform", CLOSURES)
def test_a_module_that_is_closed_over_is_named_and_the_way_out(transform, does, used):
    class Model(nn.Module):
        def setup(self):
            self.net = Net(does)

        def __call__(self, x, right=False):
            if used:
                self.net(x)

            def step(module, x):
                return (module if right else self.net)(x)

            return CLOSURES[transform](step)(self.net, x)

    x = jnp.ones((2, 3))
    with pytest.raises(errors.JaxTransformError) as raised:
        Model().init(KEY, x)
    text = str(raised.value)
    assert (
        "the function uses `net` of the enclosing module; use the module that" in text
    )
    assert "that it gets as its first argument" in text
    assert 'scope "/net' in text


def test_what_a_transform_calls_around_the_function_may_close_over_modules():
    class Model(nn.Module):
        @nn.compact
        def __call__(self, x):
            def scaled(variables):
                scale = self.param("scale", nn.initializers.constant(2.0), ())
                return jax.tree.map(lambda w: scale * w, variables)

            dense = nn.Dense(3, use_bias=False)
            return nn.map_variables(lambda m, x: m(x), "params", scaled)(dense, x)

    x = jnp.ones((2, 3))
    variables = {"params": {"scale": 2.0, "Dense_0": {"kernel": jnp.eye(3)}}}
    assert (Model().apply(variables, x) == 2).all()


class Loop(nn.Module):
    @nn.compact
    def __call__(self, x):
        return nn.while_loop(
            lambda layer, c: c[1] < 3,
            lambda layer, c: (layer(c[0]), c[1] + 1),
            nn.Dense(3),
            (x, 0),
            split_rngs={"params": False},
        )[0]


@pytest.mark.parametrize("how", ["init", "apply"])
def test_a_while_loop_cannot_make_variables_and_says_so(how):
    layer = Loop(name="loop")
    with pytest.raises(errors.ScopeCollectionNotFound) as raised:
        if how == "init":
            layer.init(KEY, X)
        else:
            layer.apply({"params": {"other": {"w": X}}}, X, mutable=["params"])
    text = str(raised.value)
    assert "/while_loop(Dense_0)" in text
    assert "A while_loop cannot make variables: make them before it." in text
    assert "carry = body_fn(module, carry)" in text
    assert "carry_variables" not in text
    variables = {"params": {"Dense_0": nn.Dense(3).init(KEY, X)["params"]}}
    assert layer.apply(variables, X).shape == X.shape


@pytest.mark.parametrize("transform", ["scan", "vmap", "jit", "while_loop"])
def test_what_is_let_in_and_missing_is_not_called_kept_out(transform):
    layer = {
        "scan": lambda: nn.scan(Cell, variable_broadcast="params")("param"),
        "vmap": lambda: nn.vmap(
            Cell, variable_axes={"params": None}, split_rngs={}, in_axes=(None, 0)
        )("param"),
        "jit": lambda: nn.jit(Cell)("param"),
        "while_loop": Loop,
    }[transform]()
    args = (X,) if transform == "while_loop" else (0.0, X)
    given = {"params": {"other": {"w": X}}}
    kinds = (errors.ScopeCollectionNotFound, errors.ScopeParamNotFoundError)
    with pytest.raises(kinds) as raised:
        layer.apply(given, *args)
    assert "does not let" not in str(raised.value)


def test_a_split_stream_that_was_not_given_differs_by_row():
    dropped = nn.vmap(
        nn.Dropout, in_axes=0, variable_axes={}, split_rngs={"dropout": True}
    )(0.5, deterministic=False)
    rows = dropped.apply({}, jnp.ones((8, 64)), rngs=jax.random.key(0)) != 0
    assert len({tuple(row.tolist()) for row in rows}) == 8
