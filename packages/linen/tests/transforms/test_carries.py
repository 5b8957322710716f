"""Carries and results of branches that have other types, in modules of all kinds."""

import jax
import pytest
from jax import numpy as jnp

import batiste.linen as nn
from batiste.core.errors import InvalidArgumentError

KEY = jax.random.key(0)
X = {"h": jnp.zeros((2, 3)), "n": jnp.int32(0)}

# What a body returns, or one of the branches, and what is then said of it.
CHANGES = {
    "shape": (lambda c: {**c, "h": c["h"][1:]}, r"\['h'\].*float32\[2,3\].*\[1,3\]"),
    "dtype": (lambda c: {**c, "n": c["n"] / 2}, r"\['n'\].*int32\[\].*float32\[\]"),
    "structure": (lambda c: {"n": c["n"]}, r"\['h'\] \(float32\[2,3\]\) and .*nothing"),
}


class Layer(nn.Module):
    """Has a parameter, and changes what it is given."""

    kind: str

    @nn.compact
    def __call__(self, carry, _=None):
        w = self.param("w", nn.initializers.ones, (3,))
        carry = {**carry, "h": carry["h"] * w}
        return CHANGES[self.kind][0](carry), None


class OneLayer(Layer):
    @nn.compact
    def __call__(self, carry, _=None):
        return Layer.__call__(self, carry)[0]


def scanned(kind, **options):
    return nn.scan(Layer, split_rngs={"params": True}, length=2, **options)(kind)


def run_while(layer, carry):
    if layer.is_initializing():
        layer(carry)
    return nn.while_loop(
        lambda mdl, c: c["n"] < 3, lambda mdl, c: mdl(c)[0], layer, carry
    )


def branches_of(layer):
    return [lambda mdl, c: mdl(c) and c, lambda mdl, c: mdl(c)[0]]


# How a layer is made, how it is called, and what the message begins with.
TRANSFORMS = {
    "scan": (
        lambda kind: scanned(kind, variable_axes={"params": 0}),
        lambda layer, x: layer(x, None)[0],
        'scan of scope "/net/layer"',
    ),
    "scan of a shared layer": (
        lambda kind: scanned(kind, variable_broadcast="params"),
        lambda layer, x: layer(x, None)[0],
        'scan of scope "/net/layer"',
    ),
    "scan of carried parameters": (
        lambda kind: scanned(kind, variable_carry="params"),
        lambda layer, x: layer(x, None)[0],
        'scan of scope "/net/layer"',
    ),
    "scan of a function": (
        Layer,
        lambda layer, x: nn.scan(
            lambda mdl, c, _: mdl(c),
            variable_broadcast="params",
            split_rngs={"params": False},
            length=2,
        )(layer, x, None)[0],
        'scan of scope "/net/layer"',
    ),
    "remat_scan": (
        lambda kind: nn.remat_scan(OneLayer, (2, 2))(kind),
        lambda layer, x: layer(x),
        r'remat_scan of scope "/net/.*layer.*"',
    ),
    "while_loop": (Layer, run_while, 'while_loop of scope "/net/layer"'),
    "cond": (
        Layer,
        lambda layer, x: nn.cond(x["n"] > 0, *branches_of(layer), layer, x),
        'cond of scope "/net/layer"',
    ),
    "switch": (
        Layer,
        lambda layer, x: nn.switch(x["n"], branches_of(layer), layer, x),
        'switch of scope "/net/layer"',
    ),
}


def net(kind, transform, style):
    make, call, _ = TRANSFORMS[transform]

    class Compact(nn.Module):
        @nn.compact
        def __call__(self, x):
            layer = make(kind)
            return call(layer.clone(name="layer", parent=self), x)

    class WithSetup(nn.Module):
        def setup(self):
            self.layer = make(kind)

        def __call__(self, x):
            return call(self.layer, x)

    class Outer(nn.Module):
        @nn.compact
        def __call__(self, x):
            return (Compact if style == "compact" else WithSetup)(name="net")(x)

    return Outer()


def params(transform):
    shape = (2, 3) if transform in ("scan",) else (3,)
    if transform == "remat_scan":
        shape = (2, 2, 3)
    return {"params": {"net": {"layer": {"w": jnp.ones(shape)}}}}


RUNS = {
    "init": lambda module, _: module.init(KEY, X),
    "apply": lambda module, variables: module.apply(variables, X),
    "jit": lambda module, variables: jax.jit(module.apply)(variables, X),
}


@pytest.mark.parametrize("run", RUNS)
@pytest.mark.parametrize("style", ["compact", "setup"])
@pytest.mark.parametrize("transform", TRANSFORMS)
@pytest.mark.parametrize("kind", CHANGES)
def test_the_leaf_and_the_module_are_named(kind, transform, style, run):
    module = net(kind, transform, style)
    of = "branches" if transform in ("cond", "switch") else "body"
    words = f"The {of} of the {TRANSFORMS[transform][2]} must .*{CHANGES[kind][1]}"
    with pytest.raises(InvalidArgumentError, match=words) as caught:
        RUNS[run](module, params(transform))
    assert isinstance(caught.value, TypeError)
    # Where the loop makes its variables, its first step is looked at before JAX is.
    if (transform, run) != ("scan of carried parameters", "init"):
        assert type(caught.value.__cause__) is TypeError


@pytest.mark.parametrize("style", ["compact", "setup"])
@pytest.mark.parametrize("transform", TRANSFORMS)
def test_an_error_of_the_users_is_raised_as_it_is(transform, style, monkeypatch):
    error = TypeError("of the user")

    def fail(carry):
        raise error

    monkeypatch.setitem(CHANGES, "fail", (fail, ""))
    with pytest.raises(TypeError) as caught:
        net("fail", transform, style).init(KEY, X)
    assert caught.value is error
    assert error.__cause__ is None


class GrowingCell(nn.RNNCellBase):
    """A cell whose carry becomes longer, or has another dtype or structure."""

    kind: str = "shape"

    @nn.compact
    def __call__(self, carry, x):
        y = nn.Dense(3)(x)
        new = {
            "shape": lambda: jnp.concatenate([carry, y], axis=-1),
            "structure": lambda: (carry, y),
            "dtype": lambda: carry.astype(jnp.float16),
        }
        return new[self.kind](), y

    def initialize_carry(self, rng, input_shape):
        return jnp.zeros((*input_shape[:-1], 3))

    @property
    def num_feature_axes(self):
        return 1


@pytest.mark.parametrize("run", ["init", "apply"])
@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("shape", r"carry as float32\[2,3\] and returns it as float32\[2,6\]"),
        ("structure", r"carry \(float32\[2,3\]\) and returns carry\[0\]"),
    ],
)
def test_a_cell_whose_carry_has_another_type(kind, words, run):
    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            return nn.RNN(GrowingCell(kind, name="cell"), name="rnn")(x)

    x = jnp.ones((2, 5, 4))
    dense = {"kernel": jnp.ones((4, 3)), "bias": jnp.ones(3)}
    variables = {"params": {"cell": {"Dense_0": dense}}}
    message = f'The body of the scan of scope "/cell" must .*{words}'
    with pytest.raises(InvalidArgumentError, match=message):
        if run == "init":
            Net().init(KEY, x)
        else:
            Net().apply(variables, x)


def test_a_given_carry_that_a_cell_converts():
    cell = GrowingCell("dtype")
    layer, x = nn.RNN(cell), jnp.ones((2, 5, 4))
    variables = layer.init(KEY, x)
    with pytest.raises(InvalidArgumentError, match=r"carry as float32.*float16"):
        layer.apply(variables, x, initial_carry=jnp.zeros((2, 3)))
