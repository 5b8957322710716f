"""Two modules with one place for their variables."""

from typing import Any

import jax
import pytest
from jax import numpy as jnp

import batiste.linen as nn
from batiste.linen import errors

KEY = jax.random.key(0)
X = jnp.ones((2, 3))


class Shift(nn.Module):
    """Adds a parameter to a layer, beside the layer's own."""

    layer: Any

    def setup(self):
        nn.share_scope(self, self.layer)

    @nn.compact
    def __call__(self, x):
        shift = self.param("shift", nn.initializers.ones, (1,))
        return self.layer(x) + shift


def test_wrapper_takes_the_place_of_what_it_wraps():
    class Model(nn.Module):
        wrap: bool

        @nn.compact
        def __call__(self, x):
            layer = nn.Dense(4)
            return (Shift(layer) if self.wrap else layer)(x)

    plain = Model(False).init(KEY, X)
    wrapped = Model(True).init(KEY, X)
    assert set(wrapped["params"]) == {"Dense_0"}
    assert set(wrapped["params"]["Dense_0"]) == {"kernel", "bias", "shift"}
    together = jax.tree.map(jnp.ones_like, wrapped)
    alone = jax.tree.map(jnp.ones_like, plain)
    y = Model(False).apply(alone, X)
    assert (Model(True).apply(together, X) == y + 1).all()


def test_a_submodule_moves_up():
    class Model(nn.Module):
        def setup(self):
            self.inner = nn.Sequential([nn.Dense(2), nn.Dense(2)])
            nn.share_scope(self, self.inner)

        def __call__(self, x):
            return self.inner(x)

    assert set(Shift(nn.Dense(4)).init(KEY, X)["params"]) == {"kernel", "bias", "shift"}
    variables = Model().init(KEY, X)
    assert set(variables["params"]) == {"layers_0", "layers_1"}
    assert (Model().apply(variables, X) == Model().bind(variables)(X)).all()


def test_called_twice():
    class Model(nn.Module):
        @nn.compact
        def __call__(self, x):
            layer = Shift(nn.Dense(3))
            return layer(layer(x))

    assert list(Model().init(KEY, X)["params"]) == ["Dense_0"]


def test_the_same_scope_again():
    class Model(nn.Module):
        def setup(self):
            self.layer = nn.Dense(2)
            nn.share_scope(self, self.layer)
            nn.share_scope(self, self.layer)
            nn.share_scope(self.layer, self)

        def __call__(self, x):
            return self.layer(x)

    assert set(Model().init(KEY, X)["params"]) == {"kernel", "bias"}


def test_clash():
    class Model(nn.Module):
        layer: Any

        def setup(self):
            nn.share_scope(self, self.layer)

        @nn.compact
        def __call__(self, x):
            return self.layer(x) + self.param("kernel", nn.initializers.ones, (1,))

    with pytest.raises(errors.NameInUseError, match='param "kernel" in module Model'):
        Model(nn.Dense(2)).init(KEY, X)


def test_unbound():
    with pytest.raises(
        errors.CallShareScopeOnUnboundModuleError, match="unbound module of Dense"
    ):
        nn.share_scope(nn.Dense(2), nn.Dense(2))
