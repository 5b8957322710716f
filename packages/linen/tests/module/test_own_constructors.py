"""Tests of batiste.linen.module.own_constructors."""

import jax
import pytest
from jax import numpy as jnp

import batiste.linen as nn
from batiste.linen import errors
from batiste.linen.module.own_constructors import construct, not_set

KEY = jax.random.key(0)
X = jnp.ones((3, 2))


def test_a_constructor_that_sets_no_parent():
    class Plain(nn.Module):
        def __init__(self, width):
            self.width = width

        @nn.compact
        def __call__(self, x):
            return nn.Dense(self.width)(x)

    for use in (
        lambda: Plain(3).init(KEY, X),
        lambda: Plain(3).apply({}, X),
        lambda: Plain(3).bind({}),
        lambda: Plain(3).copy(),
    ):
        with pytest.raises(
            errors.InvalidConstructorError,
            match=r"`__init__` of Plain does not set the attribute 'parent'.*as fields",
        ):
            use()


def test_a_constructor_that_takes_no_parent():
    class Plain(nn.Module):
        width: int

        def __init__(self, width):
            self.width = width
            super().__post_init__()

        @nn.compact
        def __call__(self, x):
            return nn.Dense(self.width)(x)

    with pytest.raises(
        errors.InvalidConstructorError, match=r"does not take '(name|parent)'"
    ):
        Plain(3).init(KEY, X)


def test_a_constructor_that_does_it_right():
    class Own(nn.Module):
        width: int

        def __init__(self, width, *, parent=None, name=None):
            self.width, self.parent, self.name = width, parent, name
            assert self.scope is None
            assert self.double() == self.twice == 2 * width
            super().__post_init__()

        def double(self):
            return 2 * self.width

        @property
        def twice(self):
            return 2 * self.width

        @nn.compact
        def __call__(self, x):
            return nn.Dense(self.double())(x)

    assert Own(3).init(KEY, X)["params"]["Dense_0"]["kernel"].shape == (2, 6)

    class Sub(Own):
        depth: int = 1

    # It has the constructor of a dataclass again.
    assert Sub(3, depth=2).init(KEY, X)["params"]["Dense_0"]["kernel"].shape == (2, 6)


def test_what_functions_do():
    assert construct(nn.Dense, {"features": 3, "name": "a"}).name == "a"
    assert "'width'" in str(not_set(nn.Dense(3), "width"))
