"""The programs of "Extracting intermediate values", gradients among them."""

from collections.abc import Sequence

import jax
import numpy as np
from jax import numpy as jnp

from batiste import linen as nn
from batiste import traverse


class CNN(nn.Module):
    @nn.compact
    def __call__(self, x):
        x = nn.Conv(features=32, kernel_size=(3, 3))(x)
        x = nn.relu(x)
        x = nn.avg_pool(x, window_shape=(2, 2), strides=(2, 2))
        x = nn.Conv(features=64, kernel_size=(3, 3))(x)
        x = nn.relu(x)
        x = nn.avg_pool(x, window_shape=(2, 2), strides=(2, 2))
        x = x.reshape((x.shape[0], -1))
        x = nn.Dense(features=256)(x)
        x = nn.relu(x)
        x = nn.Dense(features=10)(x)
        return nn.log_softmax(x)


class SowCNN(nn.Module):
    @nn.compact
    def __call__(self, x):
        x = nn.Conv(features=32, kernel_size=(3, 3))(x)
        x = nn.relu(x)
        x = nn.avg_pool(x, window_shape=(2, 2), strides=(2, 2))
        x = nn.Conv(features=64, kernel_size=(3, 3))(x)
        x = nn.relu(x)
        x = nn.avg_pool(x, window_shape=(2, 2), strides=(2, 2))
        x = x.reshape((x.shape[0], -1))
        self.sow("intermediates", "features", x)
        x = nn.Dense(features=256)(x)
        x = nn.relu(x)
        x = nn.Dense(features=10)(x)
        return nn.log_softmax(x)


def batch():
    return jnp.ones((1, 28, 28, 1))


def test_sow_is_silent_where_nothing_is_mutable():
    x = batch()
    variables = SowCNN().init(jax.random.PRNGKey(0), x)
    assert list(variables) == ["params"]
    output = SowCNN().apply(variables, x)
    # A value that is sown changes neither names nor parameters nor the output.
    plain = CNN().init(jax.random.PRNGKey(0), x)
    jax.tree.map(np.testing.assert_array_equal, variables, plain)
    np.testing.assert_array_equal(output, CNN().apply(plain, x))


def test_sow_appends_for_each_call():
    class SowCNN2(nn.Module):
        @nn.compact
        def __call__(self, x):
            mod = SowCNN(name="SowCNN")
            return mod(x) + mod(x)

    @jax.jit
    def init(key, x):
        return SowCNN2().init(key, x)

    @jax.jit
    def predict(variables, x):
        output, mod_vars = SowCNN2().apply(variables, x, mutable="intermediates")
        return output, mod_vars["intermediates"]["SowCNN"]["features"]

    x = batch()
    variables = init(jax.random.PRNGKey(0), x)
    assert list(variables) == ["params"]
    assert list(variables["params"]) == ["SowCNN"]
    preds, feats = predict(variables, x)
    assert isinstance(feats, tuple)
    assert len(feats) == 2
    assert preds.shape == (1, 10)
    assert feats[0].shape == (1, 3136)
    np.testing.assert_array_equal(feats[0], feats[1])


class Features(nn.Module):
    @nn.compact
    def __call__(self, x):
        x = nn.Conv(features=32, kernel_size=(3, 3))(x)
        x = nn.relu(x)
        x = nn.avg_pool(x, window_shape=(2, 2), strides=(2, 2))
        x = nn.Conv(features=64, kernel_size=(3, 3))(x)
        x = nn.relu(x)
        x = nn.avg_pool(x, window_shape=(2, 2), strides=(2, 2))
        return x.reshape((x.shape[0], -1))


class Classifier(nn.Module):
    @nn.compact
    def __call__(self, x):
        x = nn.Dense(features=256)(x)
        x = nn.relu(x)
        x = nn.Dense(features=10)(x)
        return nn.log_softmax(x)


class RefactoredCNN(nn.Module):
    def setup(self):
        self.features = Features()
        self.classifier = Classifier()

    def __call__(self, x):
        x = self.features(x)
        return self.classifier(x)


def test_a_submodule_of_setup_is_called_alone():
    @jax.jit
    def init(key, x):
        return RefactoredCNN().init(key, x)["params"]

    @jax.jit
    def features(params, x):
        return RefactoredCNN().apply(
            {"params": params}, x, method=lambda module, x: module.features(x)
        )

    x = batch()
    params = init(jax.random.PRNGKey(0), x)
    assert sorted(params) == ["classifier", "features"]
    alone = Features().apply({"params": params["features"]}, x)
    found = features(params, x)
    assert found.shape == (1, 3136)
    np.testing.assert_allclose(found, alone, rtol=1e-6)


def test_every_call_is_captured():
    @jax.jit
    def predict(variables, x):
        y, state = CNN().apply(
            variables, x, capture_intermediates=True, mutable=["intermediates"]
        )
        intermediates = state["intermediates"]
        fin = jax.tree_util.tree_map(
            lambda xs: jnp.all(jnp.isfinite(xs)), intermediates
        )
        return y, fin

    x = batch()
    variables = jax.jit(CNN().init)(jax.random.PRNGKey(0), x)
    y, is_finite = predict(variables, x)
    assert all(jax.tree_util.tree_leaves(is_finite)), (
        "non-finite intermediate detected!"
    )
    assert sorted(traverse.flatten_dict(is_finite, sep="/")) == [
        "Conv_0/__call__",
        "Conv_1/__call__",
        "Dense_0/__call__",
        "Dense_1/__call__",
        "__call__",
    ]
    _, is_finite = predict(variables, x.at[0, 0, 0, 0].set(jnp.nan))
    assert not all(jax.tree_util.tree_leaves(is_finite))


def test_captured_calls_are_filtered():
    x = batch()
    variables = CNN().init(jax.random.PRNGKey(0), x)

    def filter_Dense(mdl, method_name):
        return isinstance(mdl, nn.Dense)

    def filter_encodings(mdl, method_name):
        return method_name == "encode"

    y, state = CNN().apply(
        variables, x, capture_intermediates=filter_Dense, mutable=["intermediates"]
    )
    dense_intermediates = state["intermediates"]
    assert sorted(dense_intermediates) == ["Dense_0", "Dense_1"]
    assert dense_intermediates["Dense_0"]["__call__"][0].shape == (1, 256)
    y, state = CNN().apply(
        variables, x, capture_intermediates=filter_encodings, mutable=["intermediates"]
    )
    assert not jax.tree.leaves(state)


class Model(nn.Module):
    sows: bool = False

    @nn.compact
    def __call__(self, x):
        a = nn.Dense(4)(x)
        b = nn.Dense(4)(x)
        c = a + b
        if self.sows:
            self.sow("intermediates", "c", c)
        return nn.Dense(4)(c)


def test_only_layers_are_captured():
    x = jax.random.uniform(jax.random.PRNGKey(1), (1, 3))
    params = jax.jit(Model().init)(jax.random.PRNGKey(0), x)["params"]

    @jax.jit
    def predict(params, x):
        # With no collection mutable, the intermediates come back all the same.
        return Model().apply({"params": params}, x, capture_intermediates=True)

    preds, feats = predict(params, x)
    assert list(feats) == ["intermediates"]
    assert sorted(feats["intermediates"]) == [
        "Dense_0",
        "Dense_1",
        "Dense_2",
        "__call__",
    ]
    np.testing.assert_array_equal(feats["intermediates"]["__call__"][0], preds)


def test_a_filter_does_not_concern_sown_values():
    x = jax.random.uniform(jax.random.PRNGKey(1), (1, 3))
    params = jax.jit(Model(sows=True).init)(jax.random.PRNGKey(0), x)["params"]

    @jax.jit
    def predict(params, x):
        def filter_fn(mdl, method_name):
            return isinstance(mdl.name, str) and mdl.name in {"Dense_0", "Dense_2"}

        return Model(sows=True).apply(
            {"params": params}, x, capture_intermediates=filter_fn
        )

    preds, feats = predict(params, x)
    assert sorted(feats["intermediates"]) == ["Dense_0", "Dense_2", "c"]
    flattened_dict = traverse.flatten_dict(feats["intermediates"], sep="/")
    (c,) = flattened_dict["c"]
    a = x @ params["Dense_0"]["kernel"]
    b = x @ params["Dense_1"]["kernel"]
    np.testing.assert_allclose(c, a + b, rtol=1e-5, atol=1e-6)


class Sequential(nn.Module):
    layers: Sequence[nn.Module]

    def __call__(self, x):
        for layer in self.layers:
            x = layer(x)
        return x


def SeqCNN():
    return Sequential(
        [
            nn.Conv(features=32, kernel_size=(3, 3)),
            nn.relu,
            lambda x: nn.avg_pool(x, window_shape=(2, 2), strides=(2, 2)),
            nn.Conv(features=64, kernel_size=(3, 3)),
            nn.relu,
            lambda x: nn.avg_pool(x, window_shape=(2, 2), strides=(2, 2)),
            lambda x: x.reshape((x.shape[0], -1)),
            nn.Dense(features=256),
            nn.relu,
            nn.Dense(features=10),
            nn.log_softmax,
        ]
    )


def test_layers_of_a_sequence_are_applied_alone():
    @jax.jit
    def init(key, x):
        return SeqCNN().init(key, x)["params"]

    @jax.jit
    def features(params, x):
        return Sequential(SeqCNN().layers[0:7]).apply({"params": params}, x)

    x = batch()
    params = init(jax.random.PRNGKey(0), x)
    assert sorted(params) == ["layers_0", "layers_3", "layers_7", "layers_9"]
    found = features(params, x)
    names = {"Conv_0": "layers_0", "Conv_1": "layers_3"}
    renamed = {name: params[layer] for name, layer in names.items()}
    np.testing.assert_allclose(
        found, Features().apply({"params": renamed}, x), rtol=1e-6
    )


def test_gradients_of_intermediate_values():
    class Model(nn.Module):
        @nn.compact
        def __call__(self, x):
            x = nn.relu(nn.Dense(8)(x))
            x = self.perturb("hidden", x)
            x = nn.Dense(2)(x)
            return self.perturb("logits", x)

    # jnp.empty in the guide: "random data".
    x = jax.random.normal(jax.random.PRNGKey(2), (1, 4))
    y = jax.random.normal(jax.random.PRNGKey(3), (1, 2))
    model = Model()
    variables = model.init(jax.random.PRNGKey(1), x)
    params, perturbations = variables["params"], variables["perturbations"]
    assert perturbations["hidden"].shape == (1, 8)
    assert not np.any(perturbations["hidden"])
    assert not np.any(perturbations["logits"])

    def loss_fn(params, perturbations, x, y):
        y_pred = model.apply({"params": params, "perturbations": perturbations}, x)
        return jnp.mean((y_pred - y) ** 2)

    grads = jax.grad(loss_fn, argnums=1)(params, perturbations, x, y)
    y_pred = model.apply({"params": params}, x)
    np.testing.assert_allclose(grads["logits"], y_pred - y, rtol=1e-5)
    np.testing.assert_allclose(
        grads["hidden"], (y_pred - y) @ params["Dense_1"]["kernel"].T, rtol=1e-5
    )


def test_perturb_has_the_documented_gradients(check_printed):
    class Foo(nn.Module):
        @nn.compact
        def __call__(self, x):
            x = nn.Dense(3)(x)
            x = self.perturb("dense3", x)
            return nn.Dense(2)(x)

    model = Foo()

    def loss(params, perturbations, inputs, targets):
        variables = {"params": params, "perturbations": perturbations}
        preds = model.apply(variables, inputs)
        return jnp.square(preds - targets).mean()

    x = jnp.ones((2, 9))
    y = jnp.ones((2, 2))
    variables = model.init(jax.random.PRNGKey(0), x)
    intm_grads = jax.grad(loss, argnums=1)(
        variables["params"], variables["perturbations"], x, y
    )
    printed = """[[-1.456924  -0.44332537  0.02422847]
                  [-1.456924  -0.44332537  0.02422847]]"""
    check_printed(intm_grads["dense3"], printed, roundings=4)


def test_perturb_does_nothing_where_no_perturbation_is_passed():
    class Foo(nn.Module):
        @nn.compact
        def __call__(self, x):
            x = nn.Dense(3)(x)
            x = self.perturb("dense3", x)
            return nn.Dense(2)(x)

    x = jnp.ones((2, 9))
    model = Foo()
    variables = model.init(jax.random.PRNGKey(0), x)
    params, perturbations = variables["params"], variables["perturbations"]
    with_them = model.apply({"params": params, "perturbations": perturbations}, x)
    np.testing.assert_array_equal(with_them, model.apply({"params": params}, x))
    shifted = jax.tree.map(lambda p: p + 1.0, perturbations)
    moved = model.apply({"params": params, "perturbations": shifted}, x)
    expected = with_them + params["Dense_1"]["kernel"].sum(0)
    np.testing.assert_allclose(moved, expected, rtol=1e-5)
