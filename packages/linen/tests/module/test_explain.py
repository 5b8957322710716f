"""Wrong arguments of layers: each field and each wrong kind has a typed error."""

import dataclasses
import pickle

import jax
import numpy as np
import pytest
from jax import numpy as jnp

from batiste import linen as nn
from batiste.core.errors import FlaxError, InvalidArgumentError
from batiste.linen.module.explain import explained_failure

KEY = jax.random.key(0)
KEYS = {"params": KEY, "dropout": KEY}
X = jnp.ones((2, 4))
IMAGES = jnp.ones((2, 4, 4, 4))
SEQUENCES = jnp.ones((2, 5, 8))
IDS = jnp.ones((2, 3), int)
H = jnp.ones((2, 3))
FRAME = jnp.ones((2, 4, 4, 3))

# Each layer: what it is made with, and what it is called with.
LAYERS = {
    nn.Dense: ({"features": 3}, (X,), {}),
    nn.DenseGeneral: ({"features": (3, 2)}, (X,), {}),
    nn.Einsum: ({"shape": (4, 3), "einsum_str": "ab,bc->ac"}, (X,), {}),
    nn.Embed: ({"num_embeddings": 5, "features": 3}, (IDS,), {}),
    nn.Conv: ({"features": 4, "kernel_size": (3, 3)}, (IMAGES,), {}),
    nn.ConvLocal: ({"features": 4, "kernel_size": (3, 3)}, (IMAGES,), {}),
    nn.ConvTranspose: ({"features": 4, "kernel_size": (3, 3)}, (IMAGES,), {}),
    nn.MultiHeadDotProductAttention: ({"num_heads": 2}, (SEQUENCES,), {}),
    nn.MultiHeadAttention: ({"num_heads": 2}, (SEQUENCES,), {}),
    nn.SelfAttention: ({"num_heads": 2}, (SEQUENCES,), {}),
    nn.BatchNorm: ({"use_running_average": False}, (X,), {}),
    nn.LayerNorm: ({}, (X,), {}),
    nn.RMSNorm: ({}, (X,), {}),
    nn.GroupNorm: ({"num_groups": 2}, (IMAGES,), {}),
    nn.InstanceNorm: ({}, (IMAGES,), {}),
    nn.SpectralNorm: (
        {"layer_instance": nn.Dense(3)},
        (X,),
        {"update_stats": True},
    ),
    nn.WeightNorm: ({"layer_instance": nn.Dense(3)}, (X,), {}),
    nn.Dropout: ({"rate": 0.5, "deterministic": False}, (X,), {}),
    nn.PReLU: ({}, (X,), {}),
    nn.LSTMCell: ({"features": 3}, ((H, H), X), {}),
    nn.OptimizedLSTMCell: ({"features": 3}, ((H, H), X), {}),
    nn.GRUCell: ({"features": 3}, (H, X), {}),
    nn.MGUCell: ({"features": 3}, (H, X), {}),
    nn.SimpleCell: ({"features": 3}, (H, X), {}),
    nn.ConvLSTMCell: (
        {"features": 3, "kernel_size": (3, 3)},
        ((FRAME, FRAME), IMAGES),
        {},
    ),
    nn.RNN: ({"cell": nn.GRUCell(3)}, (SEQUENCES,), {}),
    nn.Bidirectional: (
        {
            "forward_rnn": nn.RNN(nn.GRUCell(3)),
            "backward_rnn": nn.RNN(nn.GRUCell(3)),
        },
        (SEQUENCES,),
        {},
    ),
    nn.Sequential: ({"layers": [nn.Dense(3)]}, (X,), {}),
}


class Thing:
    """Something that no layer can use."""

    def __repr__(self):
        return "Thing()"


def other_shape(*_):
    return jnp.ones((7, 7))


def empty_arrays_have_initializers():
    """Whether JAX's own initializers make arrays of size 0, as they do since 0.11."""
    try:
        return nn.initializers.lecun_normal()(KEY, (3, 0)).shape == (3, 0)
    except ZeroDivisionError:
        return False


EMPTY = empty_arrays_have_initializers()
SIZES = [-1, 0, 2.5, "abc", None, Thing(), (0,), (-1,), ("a",), 2**62]
NUMBERS = ["abc", Thing(), {}]
DTYPES = ["abc", 7, Thing(), (1, 2)]
FUNCTIONS = ["abc", 3, Thing(), (1, 2), np.ones(3)]
INITIALIZERS = [
    *FUNCTIONS,
    nn.initializers.lecun_normal,
    nn.initializers.zeros_init,
    nn.initializers.constant,
    other_shape,
]
AXES = ["abc", 2.5, Thing(), ("a",), (2.5,), 17]
MAPPINGS = [["params"], "params", 3]
MODULES = ["abc", 3, Thing(), nn.relu]
WINDOWS = [-1, 0, 2.5, "abc", Thing(), (2.5, 2), (0, 1), (-1, 1), 2**62]
WRONG = {
    "features": [size for size in SIZES if not (EMPTY and size in (0, (0,)))],
    "num_embeddings": SIZES,
    "num_heads": SIZES,
    "qkv_features": [-1, 2.5, "abc", Thing(), 3],
    "out_features": [-1, 2.5, "abc", Thing(), 2**62],
    "num_groups": [-1, 0, 2.5, "abc", Thing(), 3],
    "kernel_size": [*WINDOWS, None],
    "strides": WINDOWS[:-1],
    "input_dilation": WINDOWS[:-1],
    "kernel_dilation": WINDOWS[:-1],
    "feature_group_count": [-1, 0, 2.5, "abc", None, Thing(), 3],
    "padding": ["abc", 2.5, Thing(), (1, 2, 3), None],
    "shape": [3, "abc", None, (-1, 3), (2.5, 3), Thing()],
    "einsum_str": [3, "abc", "ab,bc", Thing()],
    "dtype": DTYPES,
    "param_dtype": DTYPES,
    "preferred_element_type": DTYPES,
    "precision": ["abc", 3, Thing()],
    "epsilon": [*NUMBERS, None],
    "rate": [*NUMBERS, -0.5, 1.5, float("nan"), None],
    "negative_slope_init": [*NUMBERS, None],
    "axis": AXES,
    "reduction_axes": AXES,
    "feature_axes": AXES,
    "batch_dims": ["abc", 2.5, Thing(), ("a",), 1],
    "broadcast_dims": [0, "abc", 2.5, Thing(), (7,)],
    "promote_dtype": FUNCTIONS,
    "dot_general": FUNCTIONS,
    "dot_general_cls": FUNCTIONS,
    "qkv_dot_general": FUNCTIONS,
    "qkv_dot_general_cls": FUNCTIONS,
    "out_dot_general": FUNCTIONS,
    "out_dot_general_cls": FUNCTIONS,
    "attention_fn": FUNCTIONS,
    "gate_fn": FUNCTIONS,
    "activation_fn": FUNCTIONS,
    "merge_fn": FUNCTIONS,
    "cell": [*MODULES, nn.Dense(3), nn.GRUCell],
    "layer_instance": MODULES,
    "forward_rnn": MODULES,
    "backward_rnn": MODULES,
    "layers": [3, "abc", None, (3,), ("a",), ()],
    "unroll": [-1, 2.5, "abc", Thing()],
    "n_steps": ["abc", 2.5, Thing()],
    "variable_axes": MAPPINGS,
    "split_rngs": MAPPINGS,
    "cell_size": [2.5, "abc", Thing()],
    "collection_name": [np.ones(3)],
    "name": [3, 2.5, Thing(), ("a",), {}, True],
}
# Fields for which the two have other things to say, or that only matter elsewhere.
ELSEWHERE = {
    (nn.ConvLocal, "conv_general_dilated"),
    (nn.ConvLocal, "conv_general_dilated_cls"),
    # The carry is made by `initialize_carry`.
    *((cls, "carry_init") for cls in LAYERS),
}


def wrong_values(cls, field):
    if field in WRONG:
        return WRONG[field]
    if field == "embedding_init":
        return INITIALIZERS[:-1]  # a table of another shape can be read, too
    if field.endswith("_init"):
        return INITIALIZERS
    return []


CASES = [
    pytest.param(cls, field.name, value, id=f"{cls.__name__}-{field.name}-{index}")
    for cls in LAYERS
    for field in dataclasses.fields(cls)
    if (cls, field.name) not in ELSEWHERE
    for index, value in enumerate(wrong_values(cls, field.name))
]


def run(cls, field, value):
    made, args, kwargs = LAYERS[cls]

    class Model(nn.Module):
        @nn.compact
        def __call__(self, *args, **kwargs):
            options = {**made, "name": "inner", field: value}
            layer = cls(**options)
            if field == "features" and issubclass(cls, nn.RNNCellBase):
                # A carry that is given has a width of its own.
                return nn.RNN(layer)(args[1][None])
            return layer(*args, **kwargs)

    return Model().init(KEYS, *args, **kwargs)


@pytest.mark.parametrize(("cls", "field", "value"), CASES)
def test_a_wrong_field_is_named(cls, field, value):
    with pytest.raises(InvalidArgumentError) as caught:
        run(cls, field, value)
    text = str(caught.value)
    assert isinstance(caught.value, FlaxError)
    assert isinstance(caught.value, TypeError)
    assert isinstance(caught.value, ValueError)
    assert field.removesuffix("s") in text or field in text, text
    if field not in ("name", "layers"):
        assert "'inner" in text, text
    assert "must" in text or ";" in text, text
    assert pickle.loads(pickle.dumps(caught.value)).args == (text,)


def test_the_message_has_path_value_type_and_what_is_accepted():
    with pytest.raises(InvalidArgumentError) as caught:
        run(nn.Dense, "features", -1)
    assert str(caught.value) == (
        "Dense 'inner': features=-1 (of type int) cannot be used; it must be a "
        "positive integer."
    )
    assert caught.value.where == "Dense 'inner'"
    assert caught.value.argument == "features"
    # What JAX said is there, too.
    assert caught.value.__cause__ is not None


@pytest.mark.parametrize("factory", ["lecun_normal", "zeros_init", "constant"])
@pytest.mark.parametrize("field", ["kernel_init", "bias_init"])
def test_an_initializer_that_was_not_made(factory, field):
    make = getattr(nn.initializers, factory)
    layer = nn.Dense(3, **{field: make})
    variables = nn.Dense(3).init(KEY, X)
    words = rf"{field}=.*call it.*{factory}\(\)"
    with pytest.raises(InvalidArgumentError, match=words):
        layer.init(KEY, X)
    with pytest.raises(InvalidArgumentError, match=words):
        layer.apply(variables, X)


def test_the_outer_layer_says_what_is_wrong_with_it():
    with pytest.raises(InvalidArgumentError, match="^SelfAttention: num_heads=-2"):
        nn.SelfAttention(-2).init(KEY, SEQUENCES)
    with pytest.raises(InvalidArgumentError, match="^SelfAttention: kernel_init='a'"):
        nn.SelfAttention(2, kernel_init="a").init(KEY, SEQUENCES)
    with pytest.raises(InvalidArgumentError, match="^GRUCell 'cell': features=-1"):
        nn.RNN(nn.GRUCell(-1)).init(KEY, SEQUENCES)


@pytest.mark.parametrize(
    "size", [3, np.int64(3), np.int8(3), jnp.int32(3), np.array(3)]
)
def test_integers_of_every_kind_are_sizes(size):
    variables = nn.Dense(size).init(KEY, X)
    assert variables["params"]["kernel"].shape == (4, 3)


def test_sizes_of_a_convolution_may_be_arrays_and_numbers_of_numpy():
    for size in (np.int64(3), [3], np.array([3]), (jnp.int32(3),)):
        layer = nn.Conv(2, size, strides=np.int64(2))
        assert layer.init(KEY, SEQUENCES)["params"]["kernel"].shape == (3, 8, 2)


@pytest.mark.skipif(not EMPTY, reason="These initializers make no array of size 0.")
@pytest.mark.parametrize("cls", [cls for cls in LAYERS if "features" in LAYERS[cls][0]])
def test_layers_without_features_give_arrays_of_size_0(cls):
    assert 0 in {leaf.size for leaf in jax.tree.leaves(run(cls, "features", 0))}


def test_arrays_of_size_0_are_made_where_they_can_be():
    layer = nn.Dense(0, kernel_init=nn.initializers.zeros)
    assert layer.init_with_output(KEY, X)[0].shape == (2, 0)
    # The other argument is at fault.
    with pytest.raises(InvalidArgumentError, match="inputs='abc'"):
        layer.init(KEY, "abc")


@pytest.mark.parametrize("axis_name", ["batch", ("batch", "model")])
@pytest.mark.parametrize("cls", [nn.BatchNorm, nn.LayerNorm, nn.RMSNorm, nn.GroupNorm])
def test_an_axis_name_that_is_not_bound(cls, axis_name):
    options, _, _ = LAYERS[cls]
    variables = cls(**options).init(KEY, IMAGES)
    layer = cls(**options, axis_name=axis_name)
    with pytest.raises(InvalidArgumentError, match=r"axis_name=.*enclosing vmap, pmap"):
        layer.apply(variables, IMAGES, mutable=["batch_stats"])


def test_a_momentum_that_is_no_number():
    layer = nn.BatchNorm(use_running_average=False, momentum="abc")
    variables = layer.init(KEY, X)
    with pytest.raises(InvalidArgumentError, match="momentum='abc'.*a number"):
        layer.apply(variables, X, mutable=["batch_stats"])


@pytest.mark.parametrize("inputs", ["abc", Thing(), [[1, 2], [3]], None, KEY])
@pytest.mark.parametrize(
    "layer",
    [
        nn.Dense(3),
        nn.DenseGeneral(3),
        nn.Conv(3, (3,)),
        nn.ConvTranspose(3, (3,)),
        nn.Embed(3, 4),
        nn.Einsum((4, 3), "ab,bc->ac"),
        nn.SelfAttention(2),
        nn.BatchNorm(use_running_average=False),
        nn.LayerNorm(),
        nn.RMSNorm(),
        nn.GroupNorm(2),
        nn.InstanceNorm(),
        nn.Dropout(0.5, deterministic=False),
        nn.PReLU(),
        nn.RNN(nn.GRUCell(3)),
    ],
    ids=lambda layer: type(layer).__name__,
)
def test_inputs_that_are_no_array(layer, inputs):
    with pytest.raises(InvalidArgumentError, match=f"^{type(layer).__name__}"):
        layer.init(KEYS, inputs)


CARRIES = [None, 3, "abc", (H,), (H, H, H), (None, None), jnp.ones((7, 3)), {"h": H}]


@pytest.mark.parametrize("index", range(len(CARRIES)))
@pytest.mark.parametrize(
    "cell",
    [
        nn.LSTMCell(3),
        nn.OptimizedLSTMCell(3),
        nn.GRUCell(3),
        nn.MGUCell(3),
        nn.SimpleCell(3),
        nn.ConvLSTMCell(3, (3, 3)),
    ],
    ids=lambda cell: type(cell).__name__,
)
def test_a_carry_that_no_step_returns(cell, index):
    carry = CARRIES[index]
    if isinstance(cell, nn.SimpleCell) and isinstance(carry, tuple) and index < 5:
        return  # to JAX, a tuple of arrays is an array
    inputs = IMAGES if isinstance(cell, nn.ConvLSTMCell) else X
    with pytest.raises(InvalidArgumentError):
        cell.init(KEY, carry, inputs)
    if carry is not None and inputs is X:
        with pytest.raises(InvalidArgumentError):
            nn.RNN(cell).init(KEY, SEQUENCES, initial_carry=carry)


def test_a_carry_is_told_by_its_shapes():
    shapes = r"LSTMCell needs one .* \(\(2, 3\), \(2, 3\)\)"
    with pytest.raises(InvalidArgumentError, match=shapes):
        nn.LSTMCell(3).init(KEY, jnp.ones((7, 3)), X)


def test_carries_are_made_with_the_fields_of_the_cell():
    for cell in (nn.LSTMCell(-1), nn.GRUCell("abc")):
        with pytest.raises(InvalidArgumentError, match=r"features=.*positive integer"):
            cell.initialize_carry(KEY, (2, 4))
    cell = nn.LSTMCell(3, carry_init="abc")
    with pytest.raises(InvalidArgumentError, match=r"LSTMCell.*carry_init='abc'"):
        nn.RNN(cell).init(KEY, SEQUENCES)
    with pytest.raises(InvalidArgumentError, match="features=.*no machine can hold"):
        nn.RNN(nn.LSTMCell(2**62)).init(KEY, SEQUENCES)


@pytest.mark.parametrize("query", ["abc", jnp.ones((2, 7)), jnp.ones(()), 3, None])
def test_a_query_that_embed_cannot_attend_with(query):
    layer = nn.Embed(5, 3)
    with pytest.raises(InvalidArgumentError, match="^Embed: query"):
        layer.apply(layer.init(KEY, IDS), query, method="attend")


@pytest.mark.parametrize(
    "mask", ["abc", Thing(), jnp.ones((7, 7)), jnp.ones((2, 2, 5, 9), bool)]
)
def test_a_mask_that_attention_cannot_use(mask):
    with pytest.raises(InvalidArgumentError, match=r"^MultiHeadDotProd.*mask"):
        nn.MultiHeadDotProductAttention(2).init(KEY, SEQUENCES, mask=mask)


@pytest.mark.parametrize("mask", ["abc", Thing(), jnp.ones((7, 7))])
def test_a_mask_that_others_cannot_use(mask):
    norm = nn.BatchNorm(use_running_average=False)
    with pytest.raises(InvalidArgumentError, match=r"^BatchNorm.*mask"):
        norm.init(KEY, X, mask=mask)
    with pytest.raises(InvalidArgumentError, match=r"^Conv.*mask"):
        nn.Conv(4, (3, 3), mask=mask).init(KEY, IMAGES)


class Model(nn.Module):
    @nn.compact
    def __call__(self, x):
        return nn.Dense(3, name="inner")(x)


@pytest.mark.parametrize(
    ("kernel", "words"),
    [
        (jax.ShapeDtypeStruct((4, 3), "float32"), '"kernel".* no numbers.*eval_shape'),
        (None, 'Parameter "kernel".* is None'),
    ],
)
def test_parameters_without_numbers(kernel, words):
    params = {"inner": {"kernel": kernel, "bias": jnp.ones(3)}}
    with pytest.raises(InvalidArgumentError, match=words):
        Model().apply({"params": params}, X)


def test_parameters_that_were_deleted():
    params = Model().init(KEY, X)["params"]
    params["inner"]["kernel"].delete()
    with pytest.raises(InvalidArgumentError, match=r"^Dense 'inner'.*memory was given"):
        Model().apply({"params": params}, X)


def test_errors_of_the_user_pass():
    class MyError(ValueError):
        pass

    def fail(*_, **__):
        raise MyError

    with pytest.raises(MyError):
        nn.Dense(3, dot_general=fail, precision="nonsense").init(KEY, X)

    class Wrong(nn.Module):
        features: int

        def __call__(self):
            raise ValueError("my own")

    with pytest.raises(ValueError, match="^my own$") as caught:
        Wrong(-1).apply({})
    assert not isinstance(caught.value, FlaxError)


def test_what_is_right_is_not_explained():
    layer = nn.Dense(3)
    call = nn.Dense.__call__
    assert explained_failure(layer, call, (layer, X), {}, ValueError()) is None
    assert explained_failure(layer, call, (), {}, RecursionError()) is None
