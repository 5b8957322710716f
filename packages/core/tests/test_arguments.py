"""Wrong arguments of functional layers and transforms: each has a typed error."""

import jax
import pytest
from jax import numpy as jnp

from batiste.core import Scope, apply, arguments, init, lift, nn
from batiste.core.errors import InvalidArgumentError

KEY = jax.random.key(0)
X = jnp.ones((2, 4))
IMAGES = jnp.ones((2, 4, 4, 4))
SEQUENCES = jnp.ones((2, 5, 8))


def test_defaults_are_accepted():
    assert arguments.wrong_argument("f", {"features": (None, None)}) is None
    assert arguments.with_default(None, 3, "int | None") == (None, None)


def test_only_errors_of_internals_are_explained():
    class MyError(ValueError):
        pass

    assert arguments.is_explainable(ZeroDivisionError())
    assert not arguments.is_explainable(MyError())
    assert not arguments.is_explainable(RecursionError())
    assert not arguments.is_explainable(KeyboardInterrupt())


LAYERS = {
    nn.dense: ((X,), {"features": 3}),
    nn.dense_general: ((X,), {"features": (3, 2)}),
    nn.conv: ((IMAGES,), {"features": 3, "kernel_size": (3, 3)}),
    nn.conv_transpose: ((IMAGES,), {"features": 3, "kernel_size": (3, 3)}),
    nn.embedding: ((), {"num_embeddings": 5, "features": 3}),
    nn.batch_norm: ((X,), {}),
    nn.layer_norm: ((X,), {}),
    nn.group_norm: ((IMAGES,), {"num_groups": 2}),
    nn.dropout: ((X,), {"rate": 0.5}),
    nn.multi_head_dot_product_attention: ((SEQUENCES, None), {"num_heads": 2}),
}
SIZES = [-1, 2.5, "abc", None, {}, (-1,), 2**62]
INITIALIZERS = ["abc", X, 3, jax.nn.initializers.lecun_normal]
WRONG = {
    "features": SIZES,
    "num_embeddings": SIZES,
    "num_heads": [0, *SIZES[:-1]],
    "num_groups": [0, -1, 2.5, "abc", 3],
    "kernel_size": [0, -1, 2.5, "abc", None, (2.5, 3), (0, 0)],
    "strides": [-1, 2.5, "abc", (2.5, 1), (-1, 1), (0, 1)],
    "kernel_dilation": [2.5, "abc", (2.5, 1), (-1, 1), (0, 1)],
    "input_dilation": [2.5, "abc", (2.5, 1), (-1, 1), (0, 1)],
    "feature_group_count": [2.5, "abc", None, 3],
    "padding": [2.5, "abc", (1, 2)],
    "axis": ["abc", 2.5, 17],
    "batch_dims": ["abc", 2.5, (17,)],
    "dtype": ["abc", 7, {}],
    "precision": ["abc", 3],
    "epsilon": ["abc", None, {}],
    "rate": ["abc", -0.5, 1.5, float("nan"), None],
    "kernel_init": INITIALIZERS,
    "bias_init": INITIALIZERS,
    "scale_init": INITIALIZERS,
    "init_fn": INITIALIZERS,
}
CASES = [
    pytest.param(layer, name, value, id=f"{layer.__name__}-{name}-{index}")
    for layer in LAYERS
    for name in layer.__wrapped__.__code__.co_varnames[
        : layer.__wrapped__.__code__.co_argcount
    ]
    for index, value in enumerate(WRONG.get(name, []))
    if not (layer is nn.dense_general and isinstance(value, dict))  # no axis is new
]


@pytest.mark.parametrize(("layer", "name", "value"), CASES)
def test_a_wrong_argument_of_a_functional_layer_is_named(layer, name, value):
    args, options = LAYERS[layer]

    def model(scope, *args):
        return layer(scope.push("inner"), *args, **{**options, name: value})

    with pytest.raises(InvalidArgumentError) as caught:
        init(model)({"params": KEY, "dropout": KEY}, *args)
    text = str(caught.value)
    assert '"/inner' in text
    assert name.partition("_")[0] in text
    assert isinstance(caught.value, TypeError)
    assert isinstance(caught.value, ValueError)


@pytest.mark.parametrize("layer", [layer for layer in LAYERS if LAYERS[layer][0]])
@pytest.mark.parametrize("inputs", ["abc", {}, [[1], [1, 2]]])
def test_inputs_that_are_no_array(layer, inputs):
    args, options = LAYERS[layer]
    with pytest.raises((InvalidArgumentError, AttributeError), match=layer.__name__):
        init(layer)({"params": KEY, "dropout": KEY}, inputs, *args[1:], **options)


@pytest.mark.parametrize("deleted", [False, True])
def test_parameters_without_numbers(deleted):
    kernel = jax.ShapeDtypeStruct((4, 3), "float32")
    if deleted:
        kernel = jnp.ones((4, 3))
        kernel.delete()
    params = {"kernel": kernel, "bias": jnp.ones(3)}
    with pytest.raises(InvalidArgumentError, match=r'^dense in "/".*"kernel"'):
        apply(nn.dense)({"params": params}, X, 3)


@pytest.mark.parametrize("value", [["params"], "params", 3, None])
@pytest.mark.parametrize("name", ["variable_axes", "split_rngs"])
@pytest.mark.parametrize("transform", [lift.vmap, lift.scan])
def test_mappings_of_transforms(transform, name, value):
    options = {"variable_axes": {"params": 0}, "split_rngs": {"params": True}}
    with pytest.raises(InvalidArgumentError, match=f"^{name}=.*must be a mapping"):
        transform(nn.dense, **{**options, name: value})


@pytest.mark.parametrize("transform", [lift.vmap, lift.scan])
def test_axes_of_transforms(transform):
    with pytest.raises(
        InvalidArgumentError, match="'params': 'a'.* axis is an integer"
    ):
        transform(nn.dense, {"params": "a"}, split_rngs={"params": True})


def test_mappings_of_loops():
    with pytest.raises(InvalidArgumentError, match="^split_rngs="):
        lift.while_loop(len, len, Scope({}), 0, split_rngs=["params"])
    with pytest.raises(InvalidArgumentError, match="^variable_axes="):
        lift.add_metadata_axis(nn.dense, ["params"])


@pytest.mark.parametrize(
    ("run", "words"),
    [
        (lambda scope: lift.cond(True, 3, len, scope), "true_fun=3"),
        (lambda scope: lift.cond(True, len, None, scope), "false_fun=None"),
        (lambda scope: lift.switch(0, [len, "a"], scope), "branch 1='a'"),
        (lambda scope: lift.switch(0, [], scope), "no branches"),
        (lambda scope: lift.switch(0, None, scope), "branches=None"),
    ],
)
def test_branches_that_are_no_functions(run, words):
    with pytest.raises(InvalidArgumentError, match=words):
        init(run)(KEY)
