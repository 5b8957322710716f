"""The programs of the guides "Model surgery" and "Transfer learning"."""

import dataclasses

import jax
import numpy as np
import optax
import pytest
from jax import numpy as jnp

from batiste import linen as nn
from batiste import traverse
from batiste.core import FrozenDict, freeze
from batiste.training.train_state import TrainState


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


FLAT = {
    "Conv_0/bias": (32,),
    "Conv_0/kernel": (3, 3, 1, 32),
    "Conv_1/bias": (64,),
    "Conv_1/kernel": (3, 3, 32, 64),
    "Dense_0/bias": (256,),
    "Dense_0/kernel": (3136, 256),
    "Dense_1/bias": (10,),
    "Dense_1/kernel": (256, 10),
}
PRINTED = """FrozenDict({
    Conv_0: {
        bias: (32,),
        kernel: (3, 3, 1, 32),
    },
    Conv_1: {
        bias: (64,),
        kernel: (3, 3, 32, 64),
    },
    Dense_0: {
        bias: (256,),
        kernel: (3136, 256),
    },
    Dense_1: {
        bias: (10,),
        kernel: (256, 10),
    },
})"""


@pytest.fixture(scope="module")
def params():
    init_shape = jnp.ones((1, 28, 28, 1), jnp.float32)
    return CNN().init(jax.random.PRNGKey(0), init_shape)["params"]


def shapes(tree):
    return jax.tree_util.tree_map(jnp.shape, tree)


def test_surgery_with_modules(params):
    assert repr(shapes(params)) == PRINTED
    flat_params = traverse.flatten_dict(params, sep="/")
    assert shapes(flat_params) == FLAT

    dense_kernel = flat_params["Dense_1/kernel"]
    flat_params["Dense_1/kernel"] = dense_kernel / jnp.linalg.norm(dense_kernel)
    unflat_params = traverse.unflatten_dict(flat_params, sep="/")
    unflat_params = freeze(unflat_params)
    assert repr(shapes(unflat_params)) == PRINTED
    changed = np.asarray(unflat_params["Dense_1"]["kernel"])
    np.testing.assert_allclose(np.linalg.norm(changed), 1.0, rtol=1e-5)
    assert unflat_params["Dense_0"]["kernel"] is params["Dense_0"]["kernel"]
    output = CNN().apply({"params": unflat_params}, jnp.ones((1, 28, 28, 1)))
    assert output.shape == (1, 10)


def test_surgery_with_optimizers(params):
    tx = optax.adam(1.0)
    opt_state = tx.init(params)
    assert repr(shapes(opt_state)) == (
        f"(ScaleByAdamState(count=(), mu={PRINTED}, nu={PRINTED}), EmptyState())"
    )
    flat_mu = traverse.flatten_dict(opt_state[0].mu, sep="/")
    flat_nu = traverse.flatten_dict(opt_state[0].nu, sep="/")
    assert shapes(flat_mu) == FLAT
    opt_state = (
        opt_state[0]._replace(
            mu=traverse.unflatten_dict(flat_mu, sep="/"),
            nu=traverse.unflatten_dict(flat_nu, sep="/"),
        ),
    ) + opt_state[1:]
    text = repr(shapes(opt_state))
    nested = repr(traverse.unflatten_dict(FLAT, sep="/"))
    expected = f"(ScaleByAdamState(count=(), mu={nested}, nu={nested}), EmptyState())"
    assert text == expected


@jax.tree_util.register_dataclass
@dataclasses.dataclass
class Output:
    pooler_output: jax.Array


class Embeddings(nn.Module):
    @nn.compact
    def __call__(self, x):
        cls = self.param("class_embedding", nn.initializers.normal(), (4,))
        x = nn.Conv(4, (4, 4), strides=(4, 4), use_bias=False, name="patch_embedding")(
            x
        )
        return x.reshape((x.shape[0], -1, 4)) + cls


class VisionModel(nn.Module):
    """A small stand-in for the guide's pretrained vision model."""

    def setup(self):
        self.embeddings = Embeddings()
        self.head = nn.Dense(8)

    def __call__(self, x):
        return Output(self.head(self.embeddings(x).mean(axis=1)))


class CLIP(nn.Module):
    def setup(self):
        self.text_model = nn.Dense(8)
        self.vision_model = VisionModel()

    def __call__(self, text, image):
        return self.text_model(text) @ self.vision_model(image).pooler_output.T


class Classifier(nn.Module):
    num_classes: int
    backbone: nn.Module

    @nn.compact
    def __call__(self, x):
        x = self.backbone(x).pooler_output
        # nn.zeros is an initializer itself.
        return nn.Dense(self.num_classes, name="head", kernel_init=nn.zeros)(x)


def test_transfer_learning():
    # transformers' FlaxCLIPModel and its weights are replaced by a small CLIP.
    x = jax.random.normal(jax.random.PRNGKey(2), (2, 8, 8, 3))
    clip = CLIP()
    clip_variables = clip.init(jax.random.PRNGKey(0), jnp.ones((2, 5)), x)
    vision_model, vision_model_vars = clip.bind(clip_variables).vision_model.unbind()
    assert vision_model == VisionModel()

    model = Classifier(num_classes=3, backbone=vision_model)
    variables = model.init(jax.random.PRNGKey(1), x)
    params = variables["params"]
    assert sorted(params) == ["backbone", "head"]

    params = params.unfreeze()
    params["backbone"] = vision_model_vars["params"]
    params = freeze(params)
    pretrained = clip_variables["params"]["vision_model"]
    jax.tree.map(np.testing.assert_array_equal, params["backbone"], pretrained)

    partition_optimizers = {
        "trainable": optax.adam(5e-3),
        "frozen": optax.set_to_zero(),
    }
    param_partitions = freeze(
        traverse.path_aware_map(
            lambda path, v: "frozen" if "backbone" in path else "trainable", params
        )
    )
    tx = optax.multi_transform(partition_optimizers, param_partitions)
    flat = list(traverse.flatten_dict(param_partitions).items())
    shown = [item for item in flat if "embeddings" in item[0] or item[0][0] == "head"]
    text = freeze(traverse.unflatten_dict(dict(shown))).pretty_repr()
    assert text == (
        "FrozenDict({\n"
        "    backbone: {\n"
        "        embeddings: {\n"
        "            class_embedding: 'frozen',\n"
        "            patch_embedding: {\n"
        "                kernel: 'frozen',\n"
        "            },\n"
        "        },\n"
        "    },\n"
        "    head: {\n"
        + "".join(
            f"        {name}: 'trainable',\n" for name in param_partitions["head"]
        )
        + "    },\n"
        "})"
    )

    state = TrainState.create(apply_fn=model.apply, params=params, tx=tx)

    def loss(params):
        logits = state.apply_fn({"params": params}, x)
        labels = jnp.array([0, 1])
        return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()

    before = loss(state.params)
    for _ in range(3):
        state = state.apply_gradients(grads=jax.grad(loss)(state.params))
    assert isinstance(state.params, FrozenDict)
    jax.tree.map(np.testing.assert_array_equal, state.params["backbone"], pretrained)
    assert np.any(state.params["head"]["kernel"])
    assert loss(state.params) < before
