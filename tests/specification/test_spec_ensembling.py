"""The programs of the guide "Ensembling on multiple devices"."""

import functools

import jax
import numpy as np
import optax
from jax import numpy as jnp

from batiste import linen as nn
from batiste.training import jax_utils, train_state

LEARNING_RATE, MOMENTUM, BATCH_SIZE = 0.1, 0.9, 8


class CNN(nn.Module):
    """The MNIST example's CNN, narrower, for images of 8 by 8."""

    @nn.compact
    def __call__(self, x):
        x = nn.Conv(features=4, kernel_size=(3, 3))(x)
        x = nn.relu(x)
        x = nn.avg_pool(x, window_shape=(2, 2), strides=(2, 2))
        x = x.reshape((x.shape[0], -1))
        return nn.Dense(features=10)(x)


def get_datasets():
    image = jax.random.normal(jax.random.PRNGKey(3), (32, 8, 8, 1))
    ds = {"image": image, "label": jnp.arange(32) % 10}
    return ds, jax.tree.map(lambda x: x[:8], ds)


def create_train_state(rng, learning_rate, momentum):
    cnn = CNN()
    params = cnn.init(rng, jnp.ones([1, 8, 8, 1]))["params"]
    tx = optax.sgd(learning_rate, momentum)
    return train_state.TrainState.create(apply_fn=cnn.apply, params=params, tx=tx)


def apply_model(state, images, labels, ensemble):
    def loss_fn(params):
        logits = CNN().apply({"params": params}, images)
        one_hot = jax.nn.one_hot(labels, 10)
        loss = optax.softmax_cross_entropy(logits=logits, labels=one_hot).mean()
        return loss, logits

    grad_fn = jax.value_and_grad(loss_fn, has_aux=True)
    (loss, logits), grads = grad_fn(state.params)
    probs = jax.nn.softmax(logits)
    if ensemble:
        probs = jax.lax.pmean(probs, axis_name="ensemble")
    accuracy = jnp.mean(jnp.argmax(probs, -1) == labels)
    return grads, loss, accuracy


def train_epoch(apply_model, update_model, state, train_ds, batch_size, rng, ensemble):
    train_ds_size = len(train_ds["image"])
    steps_per_epoch = train_ds_size // batch_size
    perms = jax.random.permutation(rng, len(train_ds["image"]))
    perms = perms[: steps_per_epoch * batch_size]
    perms = perms.reshape((steps_per_epoch, batch_size))
    epoch_loss, epoch_accuracy = [], []
    for perm in perms:
        batch = [train_ds["image"][perm, ...], train_ds["label"][perm, ...]]
        if ensemble:
            batch = [jax_utils.replicate(x) for x in batch]
        grads, loss, accuracy = apply_model(state, *batch)
        state = update_model(state, grads)
        if ensemble:
            loss, accuracy = jax_utils.unreplicate((loss, accuracy))
        epoch_loss.append(loss)
        epoch_accuracy.append(accuracy)
    return state, np.mean(epoch_loss), np.mean(epoch_accuracy)


def single():
    jitted = jax.jit(functools.partial(apply_model, ensemble=False))
    update_model = jax.jit(lambda state, grads: state.apply_gradients(grads=grads))
    train_ds, test_ds = get_datasets()
    rng, init_rng = jax.random.split(jax.random.PRNGKey(0))
    # The first member of the ensemble has the first of its keys.
    init_rng = jax.random.split(init_rng, jax.device_count())[0]
    state = create_train_state(init_rng, LEARNING_RATE, MOMENTUM)
    losses = []
    for _ in range(2):
        rng, input_rng = jax.random.split(rng)
        state, train_loss, _ = train_epoch(
            jitted, update_model, state, train_ds, BATCH_SIZE, input_rng, False
        )
        _, test_loss, _ = jitted(state, test_ds["image"], test_ds["label"])
        losses.append((train_loss, test_loss))
    return state, losses


def test_an_ensemble_has_a_member_for_each_device(eight_devices):
    pmapped = jax.pmap(
        functools.partial(apply_model, ensemble=True), axis_name="ensemble"
    )
    update_model = jax.pmap(lambda state, grads: state.apply_gradients(grads=grads))
    create = jax.pmap(create_train_state, static_broadcasted_argnums=(1, 2))

    train_ds, test_ds = get_datasets()
    test_ds = jax_utils.replicate(test_ds)
    rng, init_rng = jax.random.split(jax.random.PRNGKey(0))
    keys = jax.random.split(init_rng, jax.device_count())
    state = create(keys, LEARNING_RATE, MOMENTUM)
    kernel = state.params["Dense_0"]["kernel"]
    assert kernel.shape == (jax.device_count(), 64, 10)
    assert not np.array_equal(kernel[0], kernel[1])

    losses = []
    for _ in range(2):
        rng, input_rng = jax.random.split(rng)
        state, train_loss, _ = train_epoch(
            pmapped, update_model, state, train_ds, BATCH_SIZE, input_rng, True
        )
        _, test_loss, test_accuracy = jax_utils.unreplicate(
            pmapped(state, test_ds["image"], test_ds["label"])
        )
        losses.append((train_loss, test_loss))
    assert 0 <= test_accuracy <= 1

    # Each member is trained as it would be alone.
    single_state, single_losses = single()
    np.testing.assert_allclose(losses, single_losses, rtol=1e-4)
    member = jax_utils.unreplicate(state.params)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5),
        member,
        single_state.params,
    )
    assert losses[1][0] < losses[0][0]
