"""What every module object carries."""

import jax
from jax import numpy as jnp

import batiste.linen as nn
from batiste.linen.module.state import (
    ModuleBase,
    SetupState,
    own_fields,
    state_of,
    try_setup,
)

KEY = jax.random.key(0)
X = jnp.ones((2, 3))


class Model(nn.Module):
    width: int = 2

    def setup(self):
        self.layer = nn.Dense(self.width)

    @nn.compact
    def __call__(self, x):
        return nn.Dense(self.width)(self.layer(x)), state_of(self).in_compact


def test_state_of_an_unbound_module():
    state = state_of(Model())
    assert isinstance(Model(), ModuleBase)
    assert (state.setup, state.attached) == (SetupState.NEW, False)
    assert not state.in_compact
    assert not state.in_setup
    assert not state.shares_scope
    assert state.children == state.cursors == {}
    assert state_of(nn.Dense(2)).setup is SetupState.DONE


def test_state_while_methods_run():
    bound = Model().bind(Model().init(KEY, X))
    assert state_of(bound).attached
    assert not state_of(bound).children
    try_setup(bound)
    assert state_of(bound).setup is SetupState.DONE
    assert list(state_of(bound).children) == ["layer"]
    assert bound(X)[1] is True
    assert state_of(bound).in_compact is False
    assert list(state_of(bound).children) == ["layer", "Dense_0"]
    assert state_of(bound).cursors == {}


def test_states_share_nothing():
    one, two = Model(), Model()
    state_of(one).children["layer"] = two
    assert state_of(two).children == {}


def test_own_fields():
    assert own_fields(Model()) == ("width",)
