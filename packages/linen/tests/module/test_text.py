"""How modules print."""

import dataclasses
import functools
import sys
from typing import Any

import jax
import pytest
from jax import numpy as jnp

import batiste.linen as nn
from batiste.linen import errors
from batiste.linen.module.text import located

KEY = jax.random.key(0)
X = jnp.ones((2, 3))


class Inner(nn.Module):
    width: int
    act: Any = nn.relu
    options: Any = None


class Empty(nn.Module):
    pass


def test_attributes():
    assert repr(Empty()) == repr(Empty(name="n")) == str(Empty()) == "Empty()"
    assert repr(Inner(2, options={"a": (1,)})) == (
        "Inner(\n"
        "    # attributes\n"
        "    width = 2\n"
        "    act = relu\n"
        "    options = {'a': (1,)}\n"
        ")"
    )
    assert "act = functools.partial(<class 'int'>, '3')" in repr(
        Inner(1, functools.partial(int, "3"))
    )


def test_nested():
    class Outer(nn.Module):
        inner: Any
        cls: Any = Empty
        secret: Any = dataclasses.field(default=3, repr=False)

    assert repr(Outer(Inner(2))) == (
        "Outer(\n"
        "    # attributes\n"
        "    inner = Inner(\n"
        "        # attributes\n"
        "        width = 2\n"
        "        act = relu\n"
        "        options = None\n"
        "    )\n"
        "    cls = Empty\n"
        ")"
    )


def test_children():
    class Outer(nn.Module):
        @nn.compact
        def __call__(self):
            Empty(name="first")
            Empty()
            return repr(self)

    assert Outer().apply({}) == (
        "Outer(\n    # children\n    first = Empty()\n    Empty_0 = Empty()\n)"
    )


def test_in_the_middle_of_construction():
    class Model(nn.Module):
        a: int

        def __post_init__(self):
            self.text = repr(self)
            super().__post_init__()

    assert Model(1).text == "Model(\n    # attributes\n    a = 1\n)"


class Says(nn.Module):
    def __call__(self):
        return located(self)


class Contains(nn.Module):
    def setup(self):
        self.inner = Says()

    def __call__(self):
        return located(self), self.inner()


def test_located_is_class_and_path():
    assert Contains().apply({}) == ("Contains", "Says 'inner'")
    assert Contains().init_with_output(jax.random.key(0))[0][1] == "Says 'inner'"


class Deep(nn.Module):
    """`depth` modules, each in the one before."""

    depth: int

    @nn.compact
    def __call__(self, x):
        return Deep(self.depth - 1)(x) if self.depth > 1 else nn.Dense(2)(x)


class DeepSetUp(nn.Module):
    depth: int

    def setup(self):
        self.inner = DeepSetUp(self.depth - 1) if self.depth > 1 else nn.Dense(2)

    def __call__(self, x):
        return self.inner(x)


class Around(nn.Module):
    inner: nn.Module

    def __call__(self, x):
        return self.inner(x)


def fields(depth):
    layer = nn.Dense(2)
    for _ in range(depth):
        layer = Around(layer)
    return layer


def variables_of(layer):
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(20_000)
    try:
        return layer.init(KEY, X)
    finally:
        sys.setrecursionlimit(limit)


@pytest.fixture
def usual_limit():
    """Python's default, as seen from within a test."""
    limit, frame, used = sys.getrecursionlimit(), sys._getframe(), 0
    while frame is not None:
        frame, used = frame.f_back, used + 1
    sys.setrecursionlimit(1000 + used)
    yield 1000
    sys.setrecursionlimit(limit)


DEEP = [Deep, DeepSetUp, fields]
RUNS = {
    "init": lambda layer, variables: layer.init(KEY, X),
    "init in jit": lambda layer, variables: jax.jit(layer.init)(KEY, X),
    "apply": lambda layer, variables: layer.apply(variables, X),
    "apply in jit": lambda layer, variables: jax.jit(layer.apply)(variables, X),
    "bound": lambda layer, variables: layer.bind(variables)(X),
    "tabulate": lambda layer, variables: layer.tabulate(KEY, X),
}


@pytest.mark.parametrize("make", DEEP)
@pytest.mark.parametrize("how", RUNS)
def test_modules_that_are_nested_too_deep_are_told_so(make, how, usual_limit):
    layer = make(700)
    with pytest.raises(errors.ModuleDepthError) as raised:
        RUNS[how](layer, variables_of(layer))
    error = raised.value
    assert isinstance(error, RecursionError)
    assert error.depth > 100
    assert f"within {error.depth} nested modules" in str(error)
    assert len(str(error)) < 600
    assert error.scope_path.count("/") in (error.depth - 1, error.depth)
    # Nothing is left of it, and the limit is the only trouble.
    layer = make(100)
    RUNS[how](layer, variables_of(layer))


@pytest.mark.parametrize("make", DEEP)
@pytest.mark.parametrize("how", ["init", "apply in jit", "bound"])
def test_modules_may_be_nested_deep(make, how, usual_limit):
    layer = make(200)
    RUNS[how](layer, variables_of(layer))


def test_another_recursion_is_no_matter_of_modules(usual_limit):
    class Model(nn.Module):
        def again(self, n):
            return again(n)

        def __call__(self, x):
            return self.again(x)

    def again(n):
        return again(n) + 1

    with pytest.raises(RecursionError) as raised:
        Model().apply({}, 1)
    assert type(raised.value) is RecursionError


def test_a_module_that_calls_itself_is_told_so(usual_limit):
    class Model(nn.Module):
        @nn.compact
        def __call__(self, x):
            return Model()(x)

    with pytest.raises(errors.ModuleDepthError, match="one of them calls itself"):
        Model().apply({}, 1)


def test_deep_modules_print(usual_limit):
    text = repr(fields(400))
    assert text.count("Around(") > 50
    assert "Around(...)" in text
