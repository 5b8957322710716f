"""Interceptors of method calls, and names of calls in profiles."""

import threading

import jax
import pytest
from jax import numpy as jnp

import batiste.linen as nn
from batiste.core import config

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

    @nn.nowrap
    def free(self):
        return 3

    @property
    def prop(self):
        return 4


def recorder(log, label=""):
    def interceptor(next_fun, args, kwargs, context):
        log.append((label, context.module.name, context.method_name))
        return next_fun(*args, **kwargs)

    return interceptor


def test_every_method_is_intercepted_and_helpers_are_not():
    log = []
    model = Pair()
    variables = model.init(KEY, X)
    with nn.intercept_methods(recorder(log)):
        model.apply(variables, X)
        assert model.free() + model.prop == 7
    model.apply(variables, X)
    assert [entry[1:] for entry in log] == [
        (None, "__call__"),
        (None, "setup"),
        (None, "encode"),
        ("a", "__call__"),
        ("b", "__call__"),
    ] or [entry[1:] for entry in log] == [
        (None, "setup"),
        (None, "__call__"),
        (None, "encode"),
        ("a", "__call__"),
        ("b", "__call__"),
    ]


def test_order_and_results():
    log = []

    def double(next_fun, args, kwargs, context):
        log.append(("double", context.module.name, context.method_name))
        return 2 * next_fun(*args, **kwargs)

    model = nn.Dense(2)
    variables = model.init(KEY, X)
    y = model.apply(variables, X)
    with nn.intercept_methods(recorder(log, "outer")), nn.intercept_methods(double):
        assert (model.apply(variables, X) == 2 * y).all()
    assert [entry[0] for entry in log] == ["outer", "double"]
    assert (model.apply(variables, X) == y).all()


def test_arguments_can_be_changed_and_calls_left_out():
    model = nn.Dense(2)
    variables = model.init(KEY, X)

    def zero(next_fun, args, kwargs, context):
        return next_fun(0 * args[0], **kwargs)

    def skip(next_fun, args, kwargs, context):
        return "skipped"

    def direct(next_fun, args, kwargs, context):
        return context.orig_method(*args, **kwargs)

    with nn.intercept_methods(zero):
        assert not model.apply(variables, X).any()
    with nn.intercept_methods(skip):
        assert model.apply(variables, X) == "skipped"
    with nn.intercept_methods(direct), nn.intercept_methods(skip):
        assert model.apply(variables, X).shape == (2, 2)


def test_an_interceptor_that_fails():
    def fail(next_fun, args, kwargs, context):
        raise KeyError(context.method_name)

    model = nn.Dense(2)
    with pytest.raises(KeyError, match="__call__"), nn.intercept_methods(fail):
        model.init(KEY, X)
    assert model.init(KEY, X)


def test_other_threads_are_not_intercepted():
    log = []
    with nn.intercept_methods(recorder(log)):
        thread = threading.Thread(target=nn.Dense(2).init, args=(KEY, X))
        thread.start()
        thread.join()
    assert log == []


def _names():
    variables = Pair().init(KEY, X)
    jaxpr = jax.make_jaxpr(Pair().apply)(variables, X)
    return {str(eqn.source_info.name_stack) for eqn in jaxpr.eqns}


def test_named_calls():
    assert _names() == {"Pair/Pair.encode/a", "Pair/b"}
    with nn.override_named_call(False):
        assert _names() == {""}
        with nn.override_named_call():
            assert _names() != {""}
    nn.disable_named_call()
    assert _names() == {""}
    nn.enable_named_call()
    assert _names() != {""}


def test_an_eager_call_has_no_program_to_name(monkeypatch):
    named, named_scope = [], jax.named_scope

    def note(name):
        named.append(name)
        return named_scope(name)

    variables = Pair().init(KEY, X)
    monkeypatch.setattr(jax, "named_scope", note)
    Pair().apply(variables, X)
    assert named == []
    jax.eval_shape(Pair().apply, variables, X)
    assert named == ["Pair", "Pair.encode", "a", "b"]


@pytest.mark.parametrize(
    "trace",
    [
        jax.make_jaxpr,
        lambda fn: lambda x: jax.jit(fn).trace(x).jaxpr,
        lambda fn: lambda x: jax.make_jaxpr(jax.linearize(fn, x)[1])(x),
    ],
)
def test_names_in_programs_that_are_traced_within_an_eager_call(trace):
    found = []

    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            layer = nn.Dense(3)
            y = layer(x)
            found.append(trace(lambda x: layer(x))(x))
            with jax.named_scope("outer"):
                # JAX leaves out the names around, and so a module need give none.
                found.append(trace(jnp.sin)(x))
            return y

    Net().apply(Net().init(KEY, X), X)
    names = [{str(e.source_info.name_stack) for e in p.jaxpr.eqns} for p in found]
    assert all("Dense_0" in str(name) for name in names[0])
    assert not any("outer" in str(name) for name in names[1])


def test_named_calls_by_configuration():
    names = []

    def run():
        names.append(_names())

    before = config.profile
    config.update("profile", False)
    try:
        # In a thread that has made no choice of its own.
        thread = threading.Thread(target=run)
        thread.start()
        thread.join()
    finally:
        config.update("profile", before)
    assert names == [{""}]
