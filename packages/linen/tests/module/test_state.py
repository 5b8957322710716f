"""What every module object carries."""

import jax
from jax import numpy as jnp

import batiste.linen as nn
from batiste.linen.module.state import (
    ModuleBase,
    ModuleState,
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


def test_the_names_that_programs_written_for_flax_use():
    class Asks(nn.Module):
        def setup(self):
            seen["setup"] = flags(self)

        @nn.compact
        def __call__(self, x):
            seen["call"] = flags(self)
            nn.Dense(2)(x)
            assert self._state.autoname_cursor == {"Dense": 1}
            assert list(self._state.children) == ["Dense_0"]
            return x

    def flags(module):
        state = module._state
        return (
            state.setup_called.name,
            state.in_compact_method,
            state.in_setup,
            state.is_initialized,
        )

    seen = {}
    assert flags(Asks()) == ("NEW", False, False, False)
    Asks().init(jax.random.key(0), jnp.ones((1, 2)))
    assert seen["setup"] == ("NEW", False, True, True)
    assert seen["call"] == ("DONE", True, False, True)


def test_a_state_goes_along_with_a_copy_and_comes_back():
    state = ModuleState(
        SetupState.DONE,
        in_compact=True,
        attached=True,
        cursors={"Dense": 2},
        children={"a": nn.Dense(1)},
    )
    copy = state.export()
    assert (copy.setup_called, copy.children) == (SetupState.TRANSFORMED, {})
    assert copy.in_compact_method
    assert copy.is_initialized
    assert copy.autoname_cursor == {"Dense": 2}
    assert copy.autoname_cursor is not state.autoname_cursor
    assert not copy.in_setup
    copy.reset()
    assert (copy.in_compact_method, copy.autoname_cursor) == (False, {})
    copy.cursors["Conv"] = 1
    state.reimport(copy)
    assert not state.in_compact_method
    assert state.autoname_cursor == {"Conv": 1}
    assert state.autoname_cursor is not copy.autoname_cursor
    assert state.setup_called is SetupState.DONE
    assert list(state.children) == ["a"]


def test_a_state_before_and_during_setup():
    assert ModuleState(SetupState.NEW).export().setup_called is SetupState.NEW
    running = ModuleState(SetupState.DONE, in_setup=True)
    copy = running.export()
    assert copy.in_setup
    assert copy.setup_called is SetupState.NEW
    running.reset()
    assert not running.in_setup


def test_programs_ask_a_running_module():
    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            before = self._state.export()
            nn.Dense(1)(x)
            assert self._state.autoname_cursor == {"Dense": 1}
            self._state.reimport(before)
            return self._state.autoname_cursor, self._state.in_compact_method

    assert Net().init_with_output(jax.random.key(0), jnp.ones(2))[0] == ({}, True)
