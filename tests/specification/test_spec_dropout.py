"""The programs of the guide "Dropout" and of "The Sharp Bits"."""

import jax
import numpy as np
import optax
import pytest
from jax import numpy as jnp

from batiste import linen as nn
from batiste.core import errors
from batiste.training import train_state


class PlainModel(nn.Module):
    num_neurons: int

    @nn.compact
    def __call__(self, x):
        return nn.Dense(self.num_neurons)(x)


class MyModel(nn.Module):
    num_neurons: int

    @nn.compact
    def __call__(self, x, training: bool):
        x = nn.Dense(self.num_neurons)(x)
        return nn.Dropout(rate=0.5, deterministic=not training)(x)


class TrainState(train_state.TrainState):
    # jax.random.KeyArray, before it was a dtype.
    key: jax.Array


def keys():
    root_key = jax.random.PRNGKey(seed=0)
    return jax.random.split(key=root_key, num=3)


def test_a_model_without_dropout():
    main_key, params_key = jax.random.split(key=jax.random.PRNGKey(seed=0))
    my_model = PlainModel(num_neurons=3)
    x = jax.random.normal(main_key, (3, 4, 4))
    params = my_model.init(params_key, x)["params"]
    assert my_model.apply({"params": params}, x).shape == (3, 4, 3)


def test_a_model_with_dropout():
    main_key, params_key, dropout_key = keys()
    my_model = MyModel(num_neurons=3)
    x = jax.random.normal(main_key, (3, 4, 4))
    # No key for dropout is needed where training is off.
    params = my_model.init(params_key, x, training=False)["params"]
    y = my_model.apply(
        {"params": params}, x, training=True, rngs={"dropout": dropout_key}
    )
    evaluated = my_model.apply({"params": params}, x, training=False)
    kept = np.asarray(y) != 0
    assert 0.2 < kept.mean() < 0.8
    np.testing.assert_allclose(y[kept], 2 * evaluated[kept], rtol=1e-6)
    with pytest.raises(errors.InvalidRngError, match="dropout"):
        my_model.apply({"params": params}, x, training=True)


def test_a_training_step_without_dropout():
    main_key, params_key = jax.random.split(key=jax.random.PRNGKey(seed=0))
    my_model = PlainModel(num_neurons=3)
    image = jax.random.normal(main_key, (5, 4))
    params = my_model.init(params_key, image)["params"]
    state = train_state.TrainState.create(
        apply_fn=my_model.apply, params=params, tx=optax.adam(1e-3)
    )

    @jax.jit
    def train_step(state, batch):
        def loss_fn(params):
            logits = state.apply_fn({"params": params}, x=batch["image"])
            loss = optax.softmax_cross_entropy_with_integer_labels(
                logits=logits, labels=batch["label"]
            )
            return loss.mean(), logits

        (loss, logits), grads = jax.value_and_grad(loss_fn, has_aux=True)(state.params)
        return state.apply_gradients(grads=grads)

    batch = {"image": image, "label": jnp.array([0, 1, 2, 0, 1])}
    state = train_step(state, batch)
    assert state.step == 1
    moved = jax.tree.map(lambda a, b: bool(np.any(a != b)), state.params, params)
    assert all(jax.tree.leaves(moved))


def test_a_training_step_with_dropout():
    main_key, params_key, dropout_key = keys()
    my_model = MyModel(num_neurons=3)
    image = jax.random.normal(main_key, (5, 4))
    params = my_model.init(params_key, image, training=False)["params"]
    state = TrainState.create(
        apply_fn=my_model.apply, params=params, key=dropout_key, tx=optax.adam(1e-3)
    )

    @jax.jit
    def train_step(state: TrainState, batch, dropout_key):
        dropout_train_key = jax.random.fold_in(key=dropout_key, data=state.step)

        def loss_fn(params):
            logits = state.apply_fn(
                {"params": params},
                x=batch["image"],
                training=True,
                rngs={"dropout": dropout_train_key},
            )
            loss = optax.softmax_cross_entropy_with_integer_labels(
                logits=logits, labels=batch["label"]
            )
            return loss.mean(), logits

        (loss, logits), grads = jax.value_and_grad(loss_fn, has_aux=True)(state.params)
        return state.apply_gradients(grads=grads), logits

    batch = {"image": image, "label": jnp.array([0, 1, 2, 0, 1])}
    state, first = train_step(state, batch, state.key)
    state, second = train_step(state, batch, state.key)
    assert state.step == 2
    # Each step has its own key, and so its own mask.
    assert not np.array_equal(np.asarray(first) == 0, np.asarray(second) == 0)


def test_the_sharp_bit():
    """Dropout with the mode as a field: its key is needed when the model is applied."""

    class MyModel(nn.Module):
        num_neurons: int
        training: bool

        @nn.compact
        def __call__(self, x):
            x = nn.Dense(self.num_neurons)(x)
            return nn.Dropout(rate=0.5, deterministic=not self.training)(x)

    main_key, params_key, dropout_key = keys()
    my_model = MyModel(num_neurons=3, training=False)
    x = jax.random.uniform(key=main_key, shape=(3, 4, 4))
    variables = my_model.init(params_key, x)
    assert list(variables) == ["params"]
    y = my_model.apply(variables, x, rngs={"dropout": dropout_key})
    # As written, the guide's model is not training, so the key is not used.
    np.testing.assert_array_equal(y, my_model.apply(variables, x))
    training = MyModel(num_neurons=3, training=True)
    again = training.apply(variables, x, rngs={"dropout": dropout_key})
    kept = np.asarray(again) != 0
    assert 0.2 < kept.mean() < 0.8
    np.testing.assert_allclose(again[kept], 2 * y[kept], rtol=1e-6)
