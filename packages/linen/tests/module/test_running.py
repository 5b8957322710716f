"""`init`, `apply`, `bind` and the like, as methods and of functions."""

from typing import Any

import jax
import pytest
from jax import numpy as jnp

import batiste.linen as nn
from batiste.core import DenyList, FrozenDict, config
from batiste.core import errors as core_errors
from batiste.linen import errors

KEY = jax.random.key(0)
X = jnp.ones((2, 3))


class Pair(nn.Module):
    def setup(self):
        self.a = nn.Dense(4)
        self.b = nn.Dense(3)

    def __call__(self, x):
        return self.b(self.encode(x))

    def encode(self, x):
        return self.a(x)

    @property
    def encoder(self):
        return self.a

    @property
    def number(self):
        return 3


class Count(nn.Module):
    @nn.compact
    def __call__(self):
        count = self.variable("state", "count", lambda: jnp.zeros((), int))
        if self.is_mutable_collection("state"):
            count.value += 1
        return count.value


def same(a, b):
    assert jax.tree.structure(a) == jax.tree.structure(b)
    return jax.tree.all(jax.tree.map(lambda x, y: bool((x == y).all()), a, b))


def test_init_is_apply_with_nothing_given():
    y, variables = Pair().init_with_output(KEY, X)
    z, again = Pair().apply({}, X, rngs={"params": KEY}, mutable=True)
    assert same((y, variables), (z, again))
    assert same(variables, Pair().init(KEY, X))
    assert same(variables, Pair().init({"params": KEY}, X))
    assert same(variables, jax.jit(Pair().init)(KEY, X))
    assert same(y, Pair().apply(variables, X))
    assert same(y, Pair().apply(variables.unfreeze(), X))


@pytest.mark.parametrize(
    "method",
    [
        Pair.encode,
        Pair().encode,
        "encode",
        "encoder",
        "a",
        lambda m, x: m.a(x),
        lambda m, *args: m.encode(*args),
    ],
)
def test_method(method):
    variables = Pair().init(KEY, X)
    expected = nn.Dense(4).apply({"params": variables["params"]["a"]}, X)
    assert same(Pair().apply(variables, X, method=method), expected)
    assert set(Pair().init(KEY, X, method=method)["params"]) == {"a"}
    assert Pair().init_with_output(KEY, X, method=method)[0].shape == (2, 4)


@pytest.mark.parametrize(
    ("method", "error", "message"),
    [
        (3, errors.ApplyModuleInvalidMethodError, "Cannot call method 3 of Pair"),
        (lambda: 3, errors.ApplyModuleInvalidMethodError, "first argument is the mod"),
        ("missing", AttributeError, 'no attribute "missing"'),
        ("number", TypeError, "number.* of Pair that is of type int and cannot be"),
    ],
)
def test_wrong_method(method, error, message):
    with pytest.raises(error, match=message):
        Pair().apply({}, X, method=method)


def test_no_call_method():
    class Model(nn.Module):
        pass

    with pytest.raises(AttributeError, match='"Model" object has no .* "__call__"'):
        Model().apply({}, X)


def test_mutable():
    given = Count().init(KEY)
    assert Count().apply(given) == 1
    for mutable in (True, "state", ["state"], nn.DenyList("params")):
        y, changed = Count().apply(given, mutable=mutable)
        assert y == 2
        assert changed["state"]["count"] == 2
    y, changed = Count().apply(given, mutable=["params"])
    assert y == 1
    assert changed == FrozenDict({})
    with pytest.raises(core_errors.InvalidFilterError, match="3 .* is no filter"):
        Count().apply(given, mutable=3)  # type: ignore[arg-type]


def test_capture():
    variables = Pair().init(KEY, X)

    def captured(choice, **kwargs):
        _, state = Pair().apply(variables, X, capture_intermediates=choice, **kwargs)
        return jax.tree.map(jnp.shape, state["intermediates"].unfreeze())

    calls = {"__call__": ((2, 3),), "a": {"__call__": ((2, 4),)}}
    assert captured(True) == {**calls, "b": {"__call__": ((2, 3),)}}
    assert captured(lambda m, name: name == "encode") == {"encode": ((2, 4),)}
    assert captured(lambda m, name: m.name == "a", mutable=["intermediates"]) == {
        "a": {"__call__": ((2, 4),)}
    }
    assert "intermediates" not in Pair().init(KEY, X)
    assert "intermediates" in Pair().init(KEY, X, capture_intermediates=True)


@pytest.mark.parametrize("name", ["init", "init_with_output", "apply", "bind"])
def test_on_the_class(name):
    with pytest.raises(
        errors.InvalidInstanceModuleError, match="`init`.* need an instance"
    ):
        getattr(nn.Dense, name)(KEY, X)


@pytest.mark.parametrize("variables", [[1], None, {"params": 3}, {3: {}}])
def test_variables_of_a_wrong_type(variables):
    with pytest.raises(
        core_errors.ApplyScopeInvalidVariablesTypeError, match="dictionary"
    ):
        nn.Dense(2).apply(variables, X)


def test_variables_one_level_too_deep():
    variables = nn.Dense(2).init(KEY, X)
    with pytest.raises(
        core_errors.ApplyScopeInvalidVariablesStructureError, match="params"
    ):
        nn.Dense(2).apply({"params": variables}, X)


@pytest.mark.parametrize("rngs", [3, "text", {"params": 3}, {3: KEY}, None])
def test_wrong_keys(rngs):
    with pytest.raises(core_errors.InvalidRngError, match="PRNG key"):
        nn.Dense(2).init(rngs, X)


def test_bind():
    model = Pair()
    variables = model.init(KEY, X)
    bound = model.bind(variables)
    y = model.apply(variables, X)
    assert same(bound(X), y)
    assert same(bound.b(bound.a(X)), y)
    assert same(bound.variables, variables)
    assert bound.a.path == ("a",)
    assert bound.path == ()
    assert model.scope is None


def test_bind_keeps_its_state():
    bound = Count().bind(Count().init(KEY), mutable=["state"])
    assert [int(bound()) for _ in range(3)] == [2, 3, 4]
    assert bound.unbind()[1]["state"]["count"] == 4
    fixed = Count().bind(Count().init(KEY))
    assert [int(fixed()) for _ in range(2)] == [1, 1]


def test_bind_draws_keys():
    class Draw(nn.Module):
        def __call__(self):
            return self.make_rng("noise")

    bound = Draw().bind({}, rngs={"noise": KEY})
    assert bound() != bound()


def test_unbind():
    variables = Pair().init(KEY, X)
    bound = Pair().bind(variables)
    model, same_variables = bound.unbind()
    assert model == Pair()
    assert same(same_variables, variables)
    layer, layer_variables = bound.a.unbind()
    assert layer == nn.Dense(4)
    assert layer.name is None
    assert same(layer.apply(layer_variables, X), bound.a(X))
    with pytest.raises(
        errors.CallUnbindOnUnboundModuleError, match="`unbind` of Pair .* not bound"
    ):
        model.unbind()


def test_unbind_keeps_what_is_shared():
    class Use(nn.Module):
        layer: Any

        def __call__(self, x):
            return self.layer(x)

    class Two(nn.Module):
        one: Any
        two: Any

        def __call__(self, x):
            return self.one(x) + self.two(x)

    layer = nn.Dense(2)
    model = Two(Use(layer), Use(layer))
    bound = model.bind(model.init(KEY, X))
    unbound = bound.unbind()[0]
    assert unbound.one.layer is unbound.two.layer
    assert unbound == model
    assert len(jax.tree.leaves(unbound.init(KEY, X))) == 2
    assert len(jax.tree.leaves(bound.init(KEY, X))) == 2


def test_bound_modules_can_be_applied_to_other_variables():
    variables = Pair().init(KEY, X)
    other = jax.tree.map(jnp.zeros_like, variables)
    bound = Pair().bind(variables)
    assert not bound.apply(other, X).any()
    assert bound(X).any()
    assert same(bound.init(KEY, X), variables)


def test_lazy_init():
    shape = jax.ShapeDtypeStruct((1024, 3), "float32")
    variables = Pair().lazy_init(KEY, shape)
    assert same(variables, Pair().init(KEY, X))
    assert set(Pair().lazy_init(KEY, shape, method="encode")["params"]) == {"a"}


def test_lazy_init_of_what_depends_on_values():
    class Model(nn.Module):
        @nn.compact
        def __call__(self, x):
            return self.param("k", lambda key: x)

    with pytest.raises(core_errors.LazyInitError, match="params/k"):
        Model().lazy_init(KEY, jax.ShapeDtypeStruct((8, 4), "float32"))


def test_jax_transforms_within_a_module():
    class Draw(nn.Module):
        @nn.compact
        def __call__(self, x):
            return jax.vmap(lambda row: nn.Dense(2)(row))(x)

    class Write(nn.Module):
        @nn.compact
        def __call__(self, x):
            v = self.variable("s", "v", lambda: X)

            def write(x):
                v.value = x
                return x

            return jax.jit(write)(x)

    class Read(nn.Module):
        @nn.compact
        def __call__(self, x):
            kernel = self.param("kernel", nn.initializers.ones, (3, 2))
            return jax.vmap(lambda row: row @ kernel)(x)

    for model in (Draw(), Write()):
        with pytest.raises(
            core_errors.JaxTransformError, match="cannot be mixed: scope .*nn.vmap"
        ):
            model.init(KEY, X)
    assert Read().init_with_output(KEY, X)[0].shape == (2, 2)


# Functions of a module.


def twice(model, x, scale=2):
    return scale * model(x)


def test_functions_of_a_module():
    model = nn.Dense(2)
    y, variables = nn.init_with_output(twice, model)(KEY, X)
    alone = nn.init(twice, model)({"params": KEY}, X, scale=3)
    assert isinstance(variables, FrozenDict)
    assert jax.tree.all(jax.tree.map(lambda a, b: (a == b).all(), variables, alone))
    assert (nn.apply(twice, model)(variables, X) == y).all()
    assert (jax.jit(nn.apply(twice, model))(variables, X) == y).all()
    z, changed = nn.apply(twice, model, mutable=["params"])(variables, X, scale=2)
    assert (z == y).all()
    assert set(changed) == {"params"}
    assert model.scope is None


def test_plain_dicts():
    config.update("return_frozendict", False)
    try:
        assert type(nn.Dense(2).init(KEY, X)) is dict
    finally:
        config.update("return_frozendict", True)


def test_capture_of_functions():
    run = nn.apply(twice, nn.Dense(2), capture_intermediates=True)
    variables = nn.Dense(2).init(KEY, X)
    y, state = run(variables, X)
    assert (state["intermediates"]["__call__"][0] * 2 == y).all()
    made = nn.init(twice, nn.Dense(2), capture_intermediates=lambda m, name: True)
    assert set(made(KEY, X)) == {"params", "intermediates"}


def test_wrong_functions():
    with pytest.raises(errors.InvalidInstanceModuleError, match="need an instance"):
        nn.apply(twice, nn.Dense)
    for method in (3, lambda: 3):
        with pytest.raises(
            errors.ApplyModuleInvalidMethodError, match="Cannot call method .* of Dense"
        ):
            nn.init(method, nn.Dense(2))


def test_calls_within_calls_are_separate():
    inner = nn.Dense(2)

    class Model(nn.Module):
        @nn.compact
        def __call__(self, x):
            variables = inner.init(KEY, x)
            assert self.is_initializing()
            assert not inner.bind(variables).is_initializing()
            return inner.apply(variables, x)

    assert not Model().init(KEY, X)


def test_errors_leave_no_trace():
    def fail(model, x):
        model(x)
        raise KeyError

    model = nn.Dense(2)
    before = model.init(KEY, X)
    with pytest.raises(KeyError):
        nn.init(fail, model)(KEY, X)
    with pytest.raises(KeyError):
        nn.apply(fail, model, capture_intermediates=True)(before, X)
    # The stack is empty: a module made now has no parent.
    assert nn.Dense(2).parent is None
    assert jax.tree.all(
        jax.tree.map(lambda a, b: (a == b).all(), before, model.init(KEY, X))
    )
    assert (model.apply(before, X) == model.apply(before, X)).all()


class Later(nn.Module):
    @nn.compact
    def __call__(self, x):
        yield nn.Dense(3)(x)

    async def wait(self, x):
        return x

    async def many(self, x):
        yield x


@pytest.mark.parametrize(
    ("method", "words"),
    [("__call__", "a generator"), ("wait", "asynchronous"), ("many", "asynchronous")],
)
def test_methods_that_run_later_are_refused(method, words):
    with pytest.raises(
        core_errors.InvalidArgumentError, match=rf"^Later\.{method} is {words}"
    ):
        Later().apply({}, jnp.ones(2), method=method)
    with pytest.raises(
        core_errors.InvalidArgumentError, match=rf"^Later\.{method} is {words}"
    ):
        Later().init(jax.random.key(0), jnp.ones(2), method=method)


def test_generators_within_a_call_are_run():
    class Model(nn.Module):
        def parts(self, x):
            yield x
            yield 2 * x

        def __call__(self, x):
            return list(self.parts(x))

    assert Model().apply({}, 3) == [3, 6]


@pytest.mark.parametrize("capture", [3, "abc", ["intermediates"]])
def test_a_capture_that_is_no_filter(capture):
    with pytest.raises(
        core_errors.InvalidArgumentError, match="capture_intermediates="
    ):
        nn.Dense(3).init(
            jax.random.key(0), jnp.ones((1, 2)), capture_intermediates=capture
        )


@pytest.mark.parametrize(
    "mutable", [3, 2.5, None, [1], (None,), [["a"]], b"ab", object(), DenyList([1])]
)
@pytest.mark.parametrize("error", [core_errors.FlaxError, TypeError, ValueError])
def test_mutable_that_is_no_filter(mutable, error):
    layer = nn.Dense(3)
    x = jnp.ones((1, 2))
    variables = layer.init(jax.random.key(0), x)
    with pytest.raises(error, match="no filter"):
        layer.apply(variables, x, mutable=mutable)
    with pytest.raises(error, match="no filter"):
        layer.init(jax.random.key(0), x, mutable=mutable)


def test_a_misspelt_branch_is_named_with_what_is_there():
    class Body(nn.Module):
        @nn.compact
        def __call__(self, x):
            return nn.Dense(3, name="layers_0")(x)

    class Model(nn.Module):
        @nn.compact
        def __call__(self, x):
            return Body(name="body")(x)

    x = jnp.ones((1, 2))
    params = Model().init(jax.random.key(0), x)["params"]
    layer = params["body"]["layers_0"]
    wrong = {"body": {"layer_0": layer}}
    words = 'has no "layers_0" in "/body".*"layer_0".*did you mean "layer_0"'
    with pytest.raises(core_errors.ScopeParamNotFoundError, match=words):
        Model().apply({"params": wrong}, x)
    words = 'has no "body" in "/".*"bodi".*did you mean "bodi"'
    with pytest.raises(core_errors.ScopeParamNotFoundError, match=words):
        Model().apply({"params": {"bodi": params["body"]}}, x)
