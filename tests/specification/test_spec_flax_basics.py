"""The programs of the guide "Flax Basics", with the values that it prints."""

from collections.abc import Callable, Sequence
from functools import partial

import jax
import numpy as np
import optax
import pytest
from jax import lax, random
from jax import numpy as jnp

from batiste import linen as nn
from batiste import serialization
from batiste.core import FrozenDict, freeze, unfreeze

BIAS = "[-1.4555765 -2.027799   2.0790975  1.2186143 -0.9980974]"
KERNEL = """
[[ 1.0098808   0.18934363  0.0445502  -0.92802227  0.34784004]
 [ 1.7298454   0.98793703  1.1640465   1.1006079  -0.10653931]
 [-1.2029461   0.28635228  1.4155982   0.11870936 -1.3141482 ]
 [-1.1941488  -0.18958506  0.0341386   1.3169425   0.08060396]
 [ 0.13852414  1.3713043  -1.3187186   0.5315267  -2.2404995 ]
 [ 0.5629401   0.8122313   0.31752002  0.5345511   0.90500367]
 [-0.37926018  1.7410394   1.0790286  -0.5039833   0.92830586]
 [ 0.9706487  -1.3153405   0.33681527  0.80993414 -1.2018455 ]
 [ 1.0194311  -0.6202478   1.081883   -1.8389739  -0.4580503 ]
 [-0.6436537   0.456667   -1.1329138  -0.68538654  0.16829044]]
"""


def initialized():
    model = nn.Dense(features=5)
    key1, key2 = random.split(random.PRNGKey(0))
    x = random.normal(key1, (10,))
    return model, model.init(key2, x), x


def regression_problem():
    n_samples, x_dim, y_dim = 20, 10, 5
    k1, k2 = random.split(random.PRNGKey(0))
    W = random.normal(k1, (x_dim, y_dim))
    b = random.normal(k2, (y_dim,))
    true_params = freeze({"params": {"bias": b, "kernel": W}})
    key_sample, key_noise = random.split(k1)
    x_samples = random.normal(key_sample, (n_samples, x_dim))
    noise = 0.1 * random.normal(key_noise, (n_samples, y_dim))
    return true_params, x_samples, jnp.dot(x_samples, W) + b + noise


def mean_squared_error(model):
    @jax.jit
    def mse(params, x_batched, y_batched):
        def squared_error(x, y):
            pred = model.apply(params, x)
            return jnp.inner(y - pred, y - pred) / 2.0

        return jnp.mean(jax.vmap(squared_error)(x_batched, y_batched), axis=0)

    return mse


@pytest.fixture(scope="module")
def trained():
    """The guide's two trainings in a row: the losses of each, and the parameters."""
    before = jax.config.jax_threefry_partitionable
    jax.config.update("jax_threefry_partitionable", False)
    model, params, _ = initialized()
    true_params, x_samples, y_samples = regression_problem()
    mse = mean_squared_error(model)
    losses = {"true": mse(true_params, x_samples, y_samples), "sgd": [], "adam": []}
    learning_rate = 0.3
    loss_grad_fn = jax.value_and_grad(mse)

    @jax.jit
    def update_params(params, learning_rate, grads):
        return jax.tree_util.tree_map(lambda p, g: p - learning_rate * g, params, grads)

    for i in range(101):
        loss_val, grads = loss_grad_fn(params, x_samples, y_samples)
        params = update_params(params, learning_rate, grads)
        if i % 10 == 0:
            losses["sgd"].append(loss_val)

    tx = optax.adam(learning_rate=learning_rate)
    opt_state = tx.init(params)
    for i in range(101):
        loss_val, grads = loss_grad_fn(params, x_samples, y_samples)
        updates, opt_state = tx.update(grads, opt_state)
        params = optax.apply_updates(params, updates)
        if i % 10 == 0:
            losses["adam"].append(loss_val)
    jax.config.update("jax_threefry_partitionable", before)
    return losses, params


def test_the_initial_parameters_shapes_are_printed_as_documented():
    _, params, _ = initialized()
    shapes = jax.tree_util.tree_map(lambda x: x.shape, params)
    assert repr(shapes) == (
        "FrozenDict({\n"
        "    params: {\n"
        "        bias: (5,),\n"
        "        kernel: (10, 5),\n"
        "    },\n"
        "})"
    )


def test_parameters_cannot_be_assigned_to():
    _, params, _ = initialized()
    with pytest.raises(ValueError, match="FrozenDict is immutable."):
        params["new_key"] = jnp.ones((2, 2))


def test_the_output_of_a_dense_layer_is_the_documented_one(check_printed):
    model, params, x = initialized()
    printed = "[-1.3721193 ,  0.61131495,  0.6442836 ,  2.2192965 , -1.1271116 ]"
    check_printed(model.apply(params, x), printed, roundings=4)


def test_the_loss_of_gradient_descent_is_the_documented_one(trained, check_printed):
    losses, _ = trained
    check_printed(losses["true"], "0.023639796", roundings=4)
    printed = """35.343872 0.5143469 0.11384161 0.039326727 0.019916186 0.014209134
    0.012425641 0.011850389 0.011661778 0.011599404 0.011578696"""
    check_printed(losses["sgd"], printed, relative=1e-5)


def test_the_loss_with_optax_is_the_documented_one(trained, check_printed):
    losses, _ = trained
    printed = """0.011577619 0.26143155 0.07675066 0.036440928 0.022013078 0.01617866
    0.013002755 0.012026124 0.011764515 0.011646035 0.011585519"""
    # Adam divides by small second moments, so the last bits' differences grow.
    check_printed(losses["adam"], printed, relative=1e-4)


def test_the_trained_parameters_are_the_documented_ones(trained, check_printed):
    _, params = trained
    state = serialization.to_state_dict(params)
    assert list(state) == ["params"]
    assert list(state["params"]) == ["bias", "kernel"]
    check_printed(state["params"]["bias"], BIAS, relative=1e-5)
    check_printed(state["params"]["kernel"], KERNEL, roundings=8)


def test_the_trained_parameters_bytes_begin_as_documented(trained):
    _, params = trained
    data = serialization.to_bytes(params)
    # The document's lines are cut at the margin; what it shows whole are these parts.
    head = b"\x81\xa6params\x82\xa4bias\xc7!\x01\x93\x91\x05\xa7float32\xc4\x14"
    middle = b"\xa6kernel\xc7\xd6\x01\x93\x92\n\x05\xa7float32\xc4\xc8"
    assert data.startswith(head)
    assert data[len(head) + 20 :].startswith(middle)
    assert len(data) == len(head) + 20 + len(middle) + 200


def test_documented_arrays_give_the_documented_bytes():
    """A float32's shortest name is its own, so the printed arrays' bytes are known."""
    bias = np.array([float(n) for n in BIAS.strip("[]").split()], np.float32)
    numbers = KERNEL.replace("[", " ").replace("]", " ").split()
    kernel = np.array([float(n) for n in numbers], np.float32).reshape(10, 5)
    data = serialization.to_bytes(freeze({"params": {"bias": bias, "kernel": kernel}}))
    assert b"\xc4\x14UP\xba\xbfu\xc7\x01" in data
    assert b"\xef\x0f\x05@\x8e\xfb\x9b?P\x83\x7f\xbf\xa6kernel\xc7\xd6\x01" in data
    # Between these two parts stands 0.0445502, which printing cut at eight digits.
    assert b"\xc4\xc8\xc6C\x81?L\xe3A>" in data
    assert b"z6=\xde\x92m\xbf\x17\x18\xb2>\x93k\xdd?" in data
    assert data.endswith(b"\xc6$\xbfB\xd0\xe9>R\x03\x91\xbf~u/\xbfTT,>")


def test_the_trained_parameters_are_read_back(trained, check_printed):
    _, params = trained
    restored = serialization.from_bytes(params, serialization.to_bytes(params))
    assert isinstance(restored, FrozenDict)
    assert isinstance(restored["params"]["bias"], np.ndarray)
    check_printed(restored["params"]["bias"], BIAS, relative=1e-5)
    check_printed(restored["params"]["kernel"], KERNEL, roundings=8)
    assert repr(restored).startswith(
        "FrozenDict({\n    params: {\n        bias: array("
    )


class ExplicitMLP(nn.Module):
    features: Sequence[int]

    def setup(self):
        self.layers = [nn.Dense(feats) for feats in self.features]

    def __call__(self, inputs):
        x = inputs
        for i, lyr in enumerate(self.layers):
            x = lyr(x)
            if i != len(self.layers) - 1:
                x = nn.relu(x)
        return x


class SimpleMLP(nn.Module):
    features: Sequence[int]

    @nn.compact
    def __call__(self, inputs):
        x = inputs
        for i, feat in enumerate(self.features):
            x = nn.Dense(feat, name=f"layers_{i}")(x)
            if i != len(self.features) - 1:
                x = nn.relu(x)
        return x


@pytest.mark.parametrize("mlp", [ExplicitMLP, SimpleMLP])
def test_both_ways_to_write_a_model_give_the_documented_output(mlp, check_printed):
    key1, key2 = random.split(random.PRNGKey(0), 2)
    x = random.uniform(key1, (4, 4))
    model = mlp(features=[3, 4, 5])
    params = model.init(key2, x)
    y = model.apply(params, x)
    assert str(jax.tree_util.tree_map(jnp.shape, unfreeze(params))) == (
        "{'params': {'layers_0': {'bias': (3,), 'kernel': (4, 3)}, "
        "'layers_1': {'bias': (4,), 'kernel': (3, 4)}, "
        "'layers_2': {'bias': (5,), 'kernel': (4, 5)}}}"
    )
    printed = """
    [[ 0.          0.          0.          0.          0.          ]
     [ 0.0072379  -0.00810347 -0.02550939  0.02151716 -0.01261241]
     [ 0.          0.          0.          0.          0.          ]
     [ 0.          0.          0.          0.          0.          ]]"""
    check_printed(y, printed, roundings=4)


def test_a_module_that_is_not_bound_cannot_be_called():
    model = ExplicitMLP(features=[3, 4, 5])
    with pytest.raises(AttributeError) as info:
        model(jnp.ones((4, 4)))
    message = str(info.value)
    assert '"ExplicitMLP" object has no attribute "layers"' in message
    assert "setup()" in message


class SimpleDense(nn.Module):
    features: int
    kernel_init: Callable = nn.initializers.lecun_normal()
    bias_init: Callable = nn.initializers.zeros_init()

    @nn.compact
    def __call__(self, inputs):
        kernel = self.param(
            "kernel", self.kernel_init, (inputs.shape[-1], self.features)
        )
        y = lax.dot_general(inputs, kernel, (((inputs.ndim - 1,), (0,)), ((), ())))
        bias = self.param("bias", self.bias_init, (self.features,))
        return y + bias


def test_a_dense_layer_by_hand_has_the_documented_values(check_printed):
    key1, key2 = random.split(random.PRNGKey(0), 2)
    x = random.uniform(key1, (4, 4))
    model = SimpleDense(features=3)
    params = model.init(key2, x)
    # The text shows the parameters in the order in which the module makes them.
    assert list(params["params"]) == ["kernel", "bias"]
    kernel = """
    [[ 0.61506   , -0.22728713,  0.6054702 ],
     [-0.29617992,  1.1232013 , -0.879759  ],
     [-0.35162622,  0.3806491 ,  0.6893246 ],
     [-0.1151355 ,  0.04567898, -1.091212  ]]"""
    check_printed(params["params"]["kernel"], kernel)
    check_printed(params["params"]["bias"], "[0., 0., 0.]")
    output = """
    [[-0.02996204  1.102088 -0.6660265 ]
     [-0.31092793  0.6323942 -0.53678817]
     [ 0.01424007  0.9424717 -0.6356147 ]
     [ 0.36818963  0.3586519 -0.00459214]]"""
    check_printed(model.apply(params, x), output, roundings=4)


class BiasAdderWithRunningMean(nn.Module):
    decay: float = 0.99

    @nn.compact
    def __call__(self, x):
        is_initialized = self.has_variable("batch_stats", "mean")
        ra_mean = self.variable(
            "batch_stats", "mean", lambda s: jnp.zeros(s), x.shape[1:]
        )
        bias = self.param("bias", lambda rng, shape: jnp.zeros(shape), x.shape[1:])
        if is_initialized:
            ra_mean.value = self.decay * ra_mean.value + (1.0 - self.decay) * jnp.mean(
                x, axis=0, keepdims=True
            )
        return x - ra_mean.value + bias


def test_a_running_mean_is_printed_as_documented():
    x = jnp.ones((10, 5))
    model = BiasAdderWithRunningMean()
    variables = model.init(random.split(random.PRNGKey(0), 2)[0], x)
    assert repr(variables) == (
        "FrozenDict({\n"
        "    batch_stats: {\n"
        "        mean: Array([0., 0., 0., 0., 0.], dtype=float32),\n"
        "    },\n"
        "    params: {\n"
        "        bias: Array([0., 0., 0., 0., 0.], dtype=float32),\n"
        "    },\n"
        "})"
    )
    _, updated_state = model.apply(variables, x, mutable=["batch_stats"])
    assert repr(updated_state) == (
        "FrozenDict({\n"
        "    batch_stats: {\n"
        "        mean: Array([[0.01, 0.01, 0.01, 0.01, 0.01]], dtype=float32),\n"
        "    },\n"
        "})"
    )


def test_a_running_mean_follows_its_inputs_as_documented():
    model = BiasAdderWithRunningMean()
    variables = model.init(random.split(random.PRNGKey(0), 2)[0], jnp.ones((10, 5)))
    printed = []
    for val in [1.0, 2.0, 3.0]:
        x = val * jnp.ones((10, 5))
        _, updated_state = model.apply(variables, x, mutable=["batch_stats"])
        old_state, params = variables.pop("params")
        assert list(old_state) == ["batch_stats"]
        variables = freeze({"params": params, **updated_state})
        printed.append(str(updated_state["batch_stats"]["mean"]))
    assert printed == [
        "[[0.01 0.01 0.01 0.01 0.01]]",
        "[[0.0299 0.0299 0.0299 0.0299 0.0299]]",
        "[[0.059601 0.059601 0.059601 0.059601 0.059601]]",
    ]


def test_parameters_and_state_are_trained_together_as_documented():
    model = BiasAdderWithRunningMean()

    @partial(jax.jit, static_argnums=(0, 1))
    def update_step(tx, apply_fn, x, opt_state, params, state):
        def loss(params):
            y, updated_state = apply_fn(
                {"params": params, **state}, x, mutable=list(state.keys())
            )
            return ((x - y) ** 2).sum(), updated_state

        (l, state), grads = jax.value_and_grad(loss, has_aux=True)(params)
        updates, opt_state = tx.update(grads, opt_state)
        params = optax.apply_updates(params, updates)
        return opt_state, params, state

    x = jnp.ones((10, 5))
    variables = model.init(random.PRNGKey(0), x)
    state, params = variables.pop("params")
    tx = optax.sgd(learning_rate=0.02)
    opt_state = tx.init(params)
    printed = []
    for _ in range(3):
        opt_state, params, state = update_step(
            tx, model.apply, x, opt_state, params, state
        )
        assert isinstance(state, FrozenDict)
        printed.append(str(state["batch_stats"]["mean"]))
    assert printed == [
        "[[0.01 0.01 0.01 0.01 0.01]]",
        "[[0.0199 0.0199 0.0199 0.0199 0.0199]]",
        "[[0.029701 0.029701 0.029701 0.029701 0.029701]]",
    ]
