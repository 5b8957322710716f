"""The programs of the guide "Managing Parameters and State"."""

from functools import partial

import jax
import numpy as np
import optax
from jax import numpy as jnp
from jax import random

from batiste import linen as nn
from batiste.core import FrozenDict


class BiasAdderWithRunningMean(nn.Module):
    momentum: float = 0.9

    @nn.compact
    def __call__(self, x):
        is_initialized = self.has_variable("batch_stats", "mean")
        mean = self.variable("batch_stats", "mean", jnp.zeros, x.shape[1:])
        bias = self.param("bias", lambda rng, shape: jnp.zeros(shape), x.shape[1:])
        if is_initialized:
            mean.value = self.momentum * mean.value + (1.0 - self.momentum) * jnp.mean(
                x, axis=0, keepdims=True
            )
        return mean.value + bias


class MLP(nn.Module):
    hidden_size: int
    out_size: int

    @nn.compact
    def __call__(self, x, train=False):
        norm = partial(
            nn.BatchNorm,
            use_running_average=not train,
            momentum=0.9,
            epsilon=1e-5,
            axis_name="batch",
        )
        x = nn.Dense(self.hidden_size)(x)
        x = norm()(x)
        x = nn.relu(x)
        x = nn.Dense(self.hidden_size)(x)
        x = norm()(x)
        x = nn.relu(x)
        return nn.Dense(self.out_size)(x)


def test_parameters_and_state_are_split_and_updated():
    dummy_input = jnp.ones((10, 5))
    tx = optax.sgd(learning_rate=0.02)

    def update_step(apply_fn, x, opt_state, params, state):
        def loss(params):
            y, updated_state = apply_fn(
                {"params": params, **state}, x, mutable=list(state.keys())
            )
            return ((x - y) ** 2).sum(), updated_state

        (l, updated_state), grads = jax.value_and_grad(loss, has_aux=True)(params)
        updates, opt_state = tx.update(grads, opt_state)
        params = optax.apply_updates(params, updates)
        return opt_state, params, updated_state

    model = BiasAdderWithRunningMean()
    variables = model.init(random.PRNGKey(0), dummy_input)
    state, params = variables.pop("params")
    assert isinstance(state, FrozenDict)
    assert list(state) == ["batch_stats"]
    assert not np.any(state["batch_stats"]["mean"])
    opt_state = tx.init(params)
    for _ in range(3):
        opt_state, params, state = update_step(
            model.apply, dummy_input, opt_state, params, state
        )
    # A mean of ones, seen three times with momentum 0.9.
    expected = np.full((1, 5), 1 - 0.9**3, np.float32)
    np.testing.assert_allclose(state["batch_stats"]["mean"], expected, rtol=1e-6)
    # Each step moves the bias by 0.02 * 2 * 10 of what mean and bias lack to one.
    bias = 0.0
    for mean in (1 - 0.9, 1 - 0.9**2, 1 - 0.9**3):
        bias += 0.4 * (1 - mean - bias)
    np.testing.assert_allclose(params["bias"], np.full(5, bias), rtol=1e-5)


def test_state_that_depends_on_the_batch_under_vmap():
    X = random.normal(random.PRNGKey(1), (16, 4))
    Y = X.sum(axis=1, keepdims=True)
    tx = optax.sgd(learning_rate=0.02)

    @partial(jax.jit, static_argnums=0)
    def update_step(apply_fn, x_batch, y_batch, opt_state, params, state):
        def batch_loss(params):
            def loss_fn(x, y):
                # The guide leaves `train` out, and then no statistic would change.
                pred, updated_state = apply_fn(
                    {"params": params, **state},
                    x,
                    train=True,
                    mutable=list(state.keys()),
                )
                return (pred - y) ** 2, updated_state

            loss, updated_state = jax.vmap(
                loss_fn, out_axes=(0, None), axis_name="batch"
            )(x_batch, y_batch)
            return jnp.mean(loss), updated_state

        (loss, updated_state), grads = jax.value_and_grad(batch_loss, has_aux=True)(
            params
        )
        updates, opt_state = tx.update(grads, opt_state)
        params = optax.apply_updates(params, updates)
        return opt_state, params, updated_state, loss

    model = MLP(hidden_size=10, out_size=1)
    variables = model.init(random.PRNGKey(0), X[0])
    state, params = variables.pop("params")
    hidden = X @ params["Dense_0"]["kernel"] + params["Dense_0"]["bias"]
    opt_state = tx.init(params)
    losses = []
    for step in range(30):
        opt_state, params, state, loss = update_step(
            model.apply, X, Y, opt_state, params, state
        )
        losses.append(float(loss))
        if step == 0:
            # One state for the whole batch, from the statistics over the mapped axis.
            stats = state["batch_stats"]["BatchNorm_0"]
            mean, var = 0.1 * hidden.mean(0), 0.9 + 0.1 * hidden.var(0)
            np.testing.assert_allclose(stats["mean"], mean, rtol=1e-4, atol=1e-6)
            np.testing.assert_allclose(stats["var"], var, rtol=1e-4)
    assert losses[-1] < 0.5 * losses[0]


def test_the_guides_update_step_leaves_unused_statistics_alone():
    """As printed, the model is applied with `train=False`: the state comes back."""
    X = random.normal(random.PRNGKey(1), (16, 4))
    model = MLP(hidden_size=10, out_size=1)
    variables = model.init(random.PRNGKey(0), X[0])
    state, params = variables.pop("params")

    def apply_one(x):
        return model.apply({"params": params, **state}, x, mutable=list(state.keys()))

    pred, updated_state = jax.vmap(apply_one, out_axes=(0, None), axis_name="batch")(X)
    assert pred.shape == (16, 1)
    jax.tree.map(np.testing.assert_array_equal, updated_state, state)
