"""TrainState: creation, updates, subclasses, and collections that overwrite."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from batiste import serialization
from batiste.core import freeze
from batiste.core.frozen_dict import FrozenDict
from batiste.training.train_state import OVERWRITE_WITH_GRADIENT, TrainState


def loss(params, x):
    return jnp.sum((x @ params["w"]) ** 2)


def test_create_starts_at_step_0_with_the_optimizers_state():
    params, tx = {"w": jnp.ones(2)}, optax.adam(0.1)
    state = TrainState.create(apply_fn=loss, params=params, tx=tx)
    assert state.step == 0
    assert type(state.step) is int
    assert state.apply_fn is loss
    assert state.tx is tx
    assert state.params is params
    assert jax.tree.structure(state.opt_state) == jax.tree.structure(tx.init(params))


def test_the_fields_are_in_the_documented_order():
    tx = optax.sgd(0.1)
    state = TrainState(3, loss, {"w": 1.0}, tx, tx.init({"w": 1.0}))
    assert (state.step, state.apply_fn, state.params, state.tx) == (
        3,
        loss,
        {"w": 1.0},
        tx,
    )


def test_apply_gradients_is_an_optax_step_and_leaves_self():
    tx = optax.adam(0.1)
    state = TrainState.create(apply_fn=loss, params={"w": jnp.ones(2)}, tx=tx)
    grads = jax.grad(state.apply_fn)(state.params, jnp.ones((1, 2)))
    updates, opt_state = tx.update(grads, state.opt_state, state.params)
    after = state.apply_gradients(grads=grads)
    expected = optax.apply_updates(state.params, updates)
    np.testing.assert_array_equal(after.params["w"], expected["w"])
    assert jax.tree.all(
        jax.tree.map(lambda a, b: bool((a == b).all()), after.opt_state, opt_state)
    )
    assert (after.step, state.step) == (1, 0)
    np.testing.assert_array_equal(state.params["w"], jnp.ones(2))


class WithStats(TrainState):
    batch_stats: Any = None


def test_a_subclass_carries_more():
    state = WithStats.create(
        apply_fn=None, params={"w": jnp.ones(1)}, tx=optax.sgd(1.0), batch_stats=1
    )
    after = state.apply_gradients(grads={"w": jnp.ones(1)}, batch_stats=2)
    assert type(after) is WithStats
    assert (state.batch_stats, after.batch_stats) == (1, 2)


@pytest.mark.parametrize("name", ["step", "params", "opt_state"])
def test_what_the_update_sets_cannot_be_given(name):
    state = TrainState.create(apply_fn=None, params=1.0, tx=optax.sgd(0.1))
    with pytest.raises(TypeError, match=rf"sets '{name}' itself.*replace\({name}="):
        state.apply_gradients(grads=1.0, **{name: 3})
    if name != "params":
        with pytest.raises(TypeError, match=f"create.. sets '{name}' itself"):
            TrainState.create(apply_fn=None, params=1, tx=optax.sgd(1.0), **{name: 3})


def test_unknown_fields_are_errors():
    with pytest.raises(TypeError, match="nonsense"):
        TrainState.create(apply_fn=None, params=1.0, tx=optax.sgd(0.1), nonsense=1)
    state = TrainState.create(apply_fn=None, params=1.0, tx=optax.sgd(0.1))
    with pytest.raises(TypeError, match="nonsense"):
        state.apply_gradients(grads=1.0, nonsense=1)


@pytest.mark.parametrize("params", [2.0, jnp.ones(3), [jnp.ones(1), jnp.ones(2)]])
def test_params_can_be_any_pytree(params):
    state = TrainState.create(apply_fn=None, params=params, tx=optax.sgd(0.5))
    after = state.apply_gradients(grads=params)
    for got, was in zip(
        jax.tree.leaves(after.params), jax.tree.leaves(params), strict=True
    ):
        np.testing.assert_array_equal(got, 0.5 * np.asarray(was))


@pytest.mark.parametrize("container", [dict, FrozenDict, freeze])
def test_a_collection_is_overwritten_with_its_gradient(container):
    params = container(
        {
            "params": {"w": jnp.ones(2)},
            "other": {"o": jnp.ones(1)},
            OVERWRITE_WITH_GRADIENT: {"scale": jnp.ones(3)},
        }
    )
    grads = jax.tree.map(lambda x: jnp.full_like(x, 7.0), params)
    state = TrainState.create(apply_fn=None, params=params, tx=optax.adam(0.5))
    assert jax.tree.leaves(state.opt_state)[1].shape == (2,)

    def step(state, _):
        return state.apply_gradients(grads=grads), None

    after = step(state, None)[0].params
    np.testing.assert_allclose(after["params"]["w"], 0.5, rtol=1e-5)
    np.testing.assert_array_equal(after[OVERWRITE_WITH_GRADIENT]["scale"], [7, 7, 7])
    np.testing.assert_array_equal(after["other"]["o"], 1)
    # The structure stays, so the step can be compiled into a loop.
    assert jax.tree.structure(after) == jax.tree.structure(params)
    start = state.replace(step=jnp.int32(0))
    last, _ = jax.lax.scan(step, start, length=3)
    assert last.step == 3


def test_the_state_passes_through_jit_and_state_dicts():
    state = TrainState.create(
        apply_fn=loss, params={"w": jnp.ones(2)}, tx=optax.adam(0.1)
    )

    @jax.jit
    def step(state, x):
        grads = jax.grad(state.apply_fn)(state.params, x)
        return state.apply_gradients(grads=grads)

    after = step(step(state, jnp.ones((1, 2))), jnp.ones((1, 2)))
    assert after.step == 2
    assert after.apply_fn is loss
    states = serialization.to_state_dict(after)
    assert sorted(states) == ["opt_state", "params", "step"]
    restored = serialization.from_bytes(state, serialization.to_bytes(after))
    np.testing.assert_array_equal(restored.params["w"], after.params["w"])
    assert restored.tx is state.tx


def test_notebooks_show_a_state_as_a_tree():
    params = freeze({"<b>": jnp.ones((2, 3))})
    state = TrainState.create(apply_fn=len, params=params, tx=optax.sgd(0.1))
    shown = state._repr_html_()
    assert "float32[2,3]" in shown
    assert "apply_fn: len" in shown
    assert "step: 0" in shown
    assert "&lt;b&gt;" in shown
    assert "<b>" not in shown
    assert "<details open" in shown
    state.params["<b>"].delete()
    assert state._repr_html_() == shown
