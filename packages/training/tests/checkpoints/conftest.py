"""Trees that several test files save, restore and compare."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from batiste.core import freeze
from batiste.training import train_state

TX = optax.adam(0.5)


def _make_state(cls=train_state.TrainState, **fields):
    params = freeze(
        {
            "dense": {
                "kernel": jnp.arange(6.0, dtype=jnp.float32).reshape(2, 3),
                "bias": jnp.array([1, 2, 3], jnp.bfloat16),
            }
        }
    )
    return cls.create(apply_fn=None, params=params, tx=TX, **fields)


def _assert_trees_equal(got, want):
    assert jax.tree.structure(got) == jax.tree.structure(want)
    for g, w in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
        if isinstance(w, str):
            assert g == w
        else:
            assert np.asarray(g).dtype == np.asarray(w).dtype
            np.testing.assert_array_equal(np.asarray(g), np.asarray(w))


@pytest.fixture
def make_state():
    """Makes the train state at step 0, of a class and with the fields that it adds."""
    return _make_state


@pytest.fixture
def assert_trees_equal():
    """Compares two trees: structure, dtypes, and values to the bit."""
    return _assert_trees_equal


@pytest.fixture
def recorded():
    """The tree in the checkpoints of the folder `data`, which flax wrote."""
    state = _make_state()
    return {
        "model": state.apply_gradients(grads=jax.tree.map(jnp.ones_like, state.params)),
        "config": {"dimensions": np.array([5, 3]), "name": "dense"},
        "data": [np.array([0.5, 0.25], np.float32), (1, 2.5)],
        "none": None,
        "empty": {},
    }


@pytest.fixture
def target():
    """A tree of the structure of `recorded`, with other values."""
    return {
        "model": _make_state(),
        "config": {"dimensions": np.array([0, 0]), "name": ""},
        "data": [np.zeros(2, np.float32), (0, 0.0)],
        "none": None,
        "empty": {},
    }
