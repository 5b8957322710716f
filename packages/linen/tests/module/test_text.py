"""How modules print."""

import dataclasses
import functools
from typing import Any

import jax
from jax import numpy as jnp

import batiste.linen as nn
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
