"""How a module declares, reads and changes its variables, and draws keys."""

from typing import Any

import jax
import numpy as np
import pytest
from jax import numpy as jnp

import batiste.linen as nn
from batiste.core import FrozenDict, meta
from batiste.core import errors as core_errors
from batiste.linen import errors

KEY = jax.random.key(0)
X = jnp.ones((2, 3))
ones = nn.initializers.ones


class Method(nn.Module):
    """Runs a function of itself as a compact method."""

    fn: Any

    @nn.compact
    def __call__(self, *args):
        return self.fn(self, *args)


class Nest(nn.Module):
    """Puts a module at `inner`."""

    module: Any

    @nn.compact
    def __call__(self, *args):
        return self.module.copy(name="inner")(*args)


def run(fn, *args, variables=None, mutable: Any = True, rngs=KEY):
    """Runs `fn` on a bound compact module at the path /inner."""
    model = Nest(Method(fn))
    rngs = {"params": rngs} if rngs is not None else {}
    return model.apply(variables or {}, *args, rngs=rngs, mutable=mutable)


# Declaring.


def test_param():
    def fn(m):
        p = m.param("p", lambda key, n, scale: scale * jnp.ones(n), 2, scale=3.0)
        tree = m.param("tree", lambda key: {"a": jnp.ones(2), "b": (jnp.zeros(3),)})
        return p, tree["a"], m.param("number", lambda key: 3.0)

    y, variables = run(fn)
    assert jax.tree.map(np.shape, variables["params"].unfreeze()) == {
        "inner": {"p": (2,), "tree": {"a": (2,), "b": ((3,),)}, "number": ()}
    }
    again = run(fn, variables=variables, mutable=False, rngs=None)
    assert jax.tree.all(jax.tree.map(lambda a, b: np.array_equal(a, b), y, again))


def test_boxed_param():
    class Box(meta.AxisMetadata):
        def __init__(self, value):
            self.value = value

        def unbox(self):
            return self.value

        def replace_boxed(self, val):
            return Box(val)

        def add_axis(self, index, params):
            return self

        def remove_axis(self, index, params):
            return self

    jax.tree_util.register_pytree_node(
        Box, lambda box: ((box.value,), None), lambda _, children: Box(*children)
    )

    def fn(m):
        v = m.variable("state", "v", lambda: Box(jnp.zeros(2)))
        v.value += 1
        boxed = m.variable("state", "w", lambda: Box(jnp.zeros(2)), unbox=False)
        return (
            m.param("a", lambda key: Box(jnp.ones(2))),
            m.param("b", lambda key: Box(jnp.ones(2)), unbox=False),
            v.value,
            boxed.value,
        )

    (a, b, v, w), variables = run(fn)
    assert not isinstance(a, Box)
    assert isinstance(b, Box)
    assert (v == 1).all()
    assert isinstance(w, Box)
    assert isinstance(variables["params"]["inner"]["a"], Box)
    assert isinstance(variables["state"]["inner"]["v"], Box)
    assert isinstance(nn.unbox(variables)["params"]["inner"]["a"], jax.Array)


@pytest.mark.parametrize(
    ("variables", "error", "message"),
    [
        (
            {},
            core_errors.ScopeCollectionNotFound,
            '"/inner" has no collection "params"',
        ),
        (
            {"params": {"inner": {"q": X}}},
            core_errors.ScopeParamNotFoundError,
            'No parameter "p" in scope "/inner". It has "q"',
        ),
        (
            {"params": {"inner": {"p": X}}},
            core_errors.ScopeParamShapeError,
            r'"p" in scope "/inner" has shape \(2, 3\), .* gives shape \(2,\)',
        ),
    ],
)
def test_param_errors(variables, error, message):
    with pytest.raises(error, match=message):
        run(lambda m: m.param("p", ones, (2,)), variables=variables, mutable=False)


def test_param_without_a_key():
    with pytest.raises(core_errors.InvalidRngError, match='"/inner" needs a PRNG key'):
        run(lambda m: m.param("p", ones, (2,)), rngs=None)


def test_variable():
    def fn(m):
        before = m.has_variable("state", "v"), m.get_variable("state", "v", 7)
        v = m.variable("state", "v", lambda n, step: step * jnp.ones(n), 2, step=3)
        if v.is_mutable():
            v.value += 1
        return before, v.value, m.get_variable("state", "v"), v

    (before, value, read, handle), variables = run(fn, mutable=["state"])
    assert before == (False, 7)
    assert value.tolist() == read.tolist() == [4, 4]
    assert repr(handle) == "Variable(state:/inner/v)"
    before, value, *_ = run(fn, variables=variables, mutable=False)
    assert before[0]
    assert value.tolist() == [4, 4]


def test_variable_that_must_be_there():
    def fn(m):
        return m.variable("state", "v").value

    assert run(fn, variables={"state": {"inner": {"v": 3}}}, mutable=False) == 3
    with pytest.raises(
        core_errors.ScopeCollectionNotFound, match='no collection "state"'
    ):
        run(fn)
    with pytest.raises(
        core_errors.ScopeVariableNotFoundError, match='"v" .* "state" .*inn'
    ):
        run(fn, variables={"state": {"inner": {"w": 3}}})


def test_writing_immutable_collections():
    def put(m):
        m.put_variable("state", "v", 1)

    def assign(m):
        m.variable("state", "v").value = 1

    for fn in (put, assign):
        with pytest.raises(
            core_errors.ModifyScopeVariableError,
            match='write variable "v" of .*"/inner"',
        ):
            run(fn, variables={"state": {"inner": {"v": 0}}}, mutable=["params"])


def test_input_is_not_changed():
    given = {"state": {"inner": {"v": jnp.zeros(())}}}

    def fn(m):
        v = m.variable("state", "v")
        v.value = v.value + 1

    _, changed = run(fn, variables=given)
    assert given["state"]["inner"]["v"] == 0
    assert changed["state"]["inner"]["v"] == 1


@pytest.mark.parametrize("purpose", ["param", "variable"])
def test_declaring_outside(purpose):
    class Model(nn.Module):
        def __call__(self):
            if purpose == "param":
                return self.param("p", ones, (2,))
            return self.variable("state", "p", lambda: 1)

    with pytest.raises(
        ValueError, match=rf'{purpose[:5]}.* "p" of Model is declared neither in `setup'
    ):
        Model().init(KEY)


@pytest.mark.parametrize(
    "use",
    [
        lambda m: m.param("p", ones, (2,)),
        lambda m: m.variable("s", "v"),
        lambda m: m.make_rng("params"),
        lambda m: m.has_rng("params"),
        lambda m: m.has_variable("s", "v"),
        lambda m: m.get_variable("s", "v"),
        lambda m: m.put_variable("s", "v", 1),
        lambda m: m.is_mutable_collection("s"),
        lambda m: m.is_initializing(),
        lambda m: m.sow("s", "v", 1),
        lambda m: m.perturb("s", 1),
        lambda m: m.variables,
        lambda m: m.path,
    ],
)
def test_unbound(use):
    with pytest.raises(
        ValueError, match="Dense is not bound .* can't .* by Dense.init"
    ):
        use(nn.Dense(2))


def test_after_the_call():
    kept: list[Any] = []

    def fn(m):
        kept.extend([m, m.variable("s", "v", lambda: 1), nn.Dense(2)])
        kept[-1](X)

    run(fn)
    for use in (
        lambda: kept[0].make_rng(),
        lambda: setattr(kept[1], "value", 3),
        lambda: kept[2](X),
    ):
        with pytest.raises(core_errors.InvalidScopeError, match='"/inner.*" is closed'):
            use()


# Names.


def _param(m):
    m.param("n", ones, (2,))


def _variable(m):
    m.variable("state", "n", lambda: 1)


def _module(m):
    nn.Dense(2, name="n")


def _sow(m):
    m.sow("seen", "n", 1)


@pytest.mark.parametrize(
    ("first", "second", "what"),
    [
        (_param, _param, "param"),
        (_param, _module, "submodule"),
        (_module, _param, "param"),
        (_module, _module, "submodule"),
        (_module, _variable, "variable"),
        (_module, _sow, "variable"),
        (_variable, _module, "submodule"),
        (_variable, _variable, "variable"),
        (_param, _variable, None),
        (_sow, _sow, None),
    ],
)
def test_name_clashes(first, second, what):
    def fn(m):
        first(m)
        second(m)

    if what is None:
        run(fn)
        return
    with pytest.raises(
        errors.NameInUseError, match=f'create {what} "n" in module Method at "/inner"'
    ):
        run(fn)


def test_names_are_free_in_the_next_call():
    class Model(nn.Module):
        @nn.compact
        def __call__(self, x):
            layer = Method(lambda m, x: x * m.param("p", ones, (1,)))
            return layer(layer(x))

    assert list(Model().init(KEY, X)["params"]) == ["Method_0"]


# What a module knows.


def test_questions():
    def fn(m):
        child = Method(lambda m: (m.path, m.variables), name="child")
        return (
            m.path,
            m.is_initializing(),
            m.is_mutable_collection("state"),
            m.is_mutable_collection("params"),
            m.has_rng("params"),
            m.has_rng("dropout"),
            child(),
        )

    given = {"state": {"inner": {"child": {"v": 1}}, "other": 2}}
    assert run(fn, variables=given, mutable=["state"])[0] == (
        ("inner",),
        False,
        True,
        False,
        True,
        False,
        (("inner", "child"), FrozenDict({"state": {"v": 1}})),
    )
    assert Nest(Method(fn)).init_with_output(KEY)[0][1] is True


def test_keys():
    def fn(m):
        return [m.make_rng("noise"), m.make_rng("noise"), m.make_rng(), m.make_rng("x")]

    keys = run(fn)[0]
    again = run(fn)[0]
    assert keys == again
    assert len({tuple(jax.random.key_data(k).tolist()) for k in keys}) == 4
    with pytest.raises(core_errors.InvalidRngError, match='stream "noise".*no streams'):
        run(fn, rngs=None)


# Collecting values.


def test_sow():
    def fn(m, x):
        stored = m.sow("seen", "x", x), m.sow("seen", "x", x + 1)
        m.sow("seen", "sum", x, reduce_fn=lambda a, b: a + b, init_fn=lambda: 0)
        m.sow("seen", "sum", x, reduce_fn=lambda a, b: a + b, init_fn=lambda: 0)
        return stored

    stored, variables = run(fn, 1, mutable=["seen"])
    assert stored == (True, True)
    assert variables["seen"]["inner"] == FrozenDict({"x": (1, 2), "sum": 2})
    assert run(fn, 1, mutable=False) == (False, False)
    _, more = run(fn, 5, variables=variables, mutable=["seen"])
    assert more["seen"]["inner"] == FrozenDict({"x": (1, 2, 5, 6), "sum": 12})


class Perturbed(nn.Module):
    """The documentation's example."""

    @nn.compact
    def __call__(self, x):
        x = nn.Dense(3)(x)
        x = self.perturb("dense3", x)
        return nn.Dense(2)(x)


def test_perturb_gives_the_documented_gradient():
    before = jax.config.jax_threefry_partitionable
    jax.config.update("jax_threefry_partitionable", False)
    try:
        x, y = jnp.ones((2, 9)), jnp.ones((2, 2))
        variables = Perturbed().init(jax.random.PRNGKey(0), x)

        def loss(params, perturbations):
            given = {"params": params, "perturbations": perturbations}
            return jnp.square(Perturbed().apply(given, x) - y).mean()

        grads = jax.grad(loss, argnums=1)(
            variables["params"], variables["perturbations"]
        )
    finally:
        jax.config.update("jax_threefry_partitionable", before)
    row = [-1.456924, -0.44332537, 0.02422847]
    np.testing.assert_allclose(grads["dense3"], [row, row], rtol=1e-6)


@pytest.mark.parametrize(
    ("batch", "other"),
    [((2,), (5,)), ((2,), (1,)), ((2,), ()), ((3, 2), (3, 4)), ((2,), (0,))],
)
def test_perturbations_of_another_batch(batch, other):
    model = nn.Sequential([nn.Dense(2), Perturbed()])
    variables = model.init(KEY, jnp.ones((*batch, 3)))
    with pytest.raises(ValueError, match="was made for a value of shape") as raised:
        model.apply(variables, jnp.ones((*other, 3)))
    text = str(raised.value)
    assert '"dense3" at "/layers_1"' in text
    assert str((*batch, 3)) in text
    assert str((*other, 3)) in text
    assert 'init(key, inputs)["perturbations"]' in text
    # One that is broadcast is of all of them.
    one = model.init(KEY, jnp.ones(3))
    assert model.apply(one, jnp.ones((*other, 3))).shape[:-1] == other


def test_perturbations_of_trees():
    class Model(nn.Module):
        @nn.compact
        def __call__(self, x):
            return self.perturb("tree", {"a": x, "b": (2 * x, None)})

    variables = Model().init(KEY, X)
    found = Model().apply(variables, X)
    assert jax.tree.map(jnp.shape, found) == {"a": X.shape, "b": (X.shape, None)}
    with pytest.raises(ValueError, match="was made for a value of shape"):
        Model().apply(variables, X[:1])


def test_perturb_is_nothing_unless_it_is_given():
    variables = Perturbed().init(KEY, X)
    params = {"params": variables["params"]}
    y = Perturbed().apply(variables, X)
    assert (Perturbed().apply(params, X) == y).all()
    jaxpr = jax.make_jaxpr(Perturbed().apply)(params, X)
    names = [eqn.primitive.name for eqn in jaxpr.eqns]
    # Per layer a product and its bias; no zeros are made or added.
    assert names.count("add") == 2
    assert "broadcast_in_dim" not in names
    with pytest.raises(ValueError, match='"perturbations" was given but .*"dense3"'):
        Perturbed().apply({**params, "perturbations": {"other": X}}, X)
