"""The programs of the API pages of layers: initializers, combinators, cells."""

import inspect
from collections.abc import Sequence

import jax
import numpy as np
import pytest
from jax import numpy as jnp
from jax import random

from batiste import linen as nn

# The arguments of the signatures that the pages show, and their plain defaults.
SIGNATURES = {
    "Dense": "features, use_bias=True, dtype=None, param_dtype, precision=None, "
    "kernel_init, bias_init, dot_general",
    "DenseGeneral": "features, axis=-1, batch_dims=(), use_bias=True, dtype=None, "
    "param_dtype, kernel_init, bias_init, precision=None, dot_general",
    "Conv": "features, kernel_size, strides=1, padding='SAME', input_dilation=1, "
    "kernel_dilation=1, feature_group_count=1, use_bias=True, mask=None, dtype=None, "
    "param_dtype, precision=None, kernel_init, bias_init, conv_general_dilated",
    "ConvTranspose": "features, kernel_size, strides=None, padding='SAME', "
    "kernel_dilation=None, use_bias=True, mask=None, dtype=None, param_dtype, "
    "precision=None, kernel_init, bias_init, transpose_kernel=False",
    "ConvLocal": "features, kernel_size, strides=1, padding='SAME', input_dilation=1, "
    "kernel_dilation=1, feature_group_count=1, use_bias=True, mask=None, dtype=None, "
    "param_dtype, precision=None, kernel_init, bias_init, conv_general_dilated",
    "Embed": "num_embeddings, features, dtype=None, param_dtype, embedding_init",
    "BatchNorm": "use_running_average=None, axis=-1, momentum=0.99, epsilon=1e-05, "
    "dtype=None, param_dtype, use_bias=True, use_scale=True, bias_init, scale_init, "
    "axis_name=None, axis_index_groups=None",
    "LayerNorm": "epsilon=1e-06, dtype=None, param_dtype, use_bias=True, "
    "use_scale=True, bias_init, scale_init, reduction_axes=-1, feature_axes=-1, "
    "axis_name=None, axis_index_groups=None",
    "GroupNorm": "num_groups=32, group_size=None, epsilon=1e-06, dtype=None, "
    "param_dtype, use_bias=True, use_scale=True, bias_init, scale_init, "
    "axis_name=None, axis_index_groups=None",
    "PReLU": "param_dtype, negative_slope_init=0.01",
    "SelfAttention": "num_heads, dtype=None, param_dtype, qkv_features=None, "
    "out_features=None, broadcast_dropout=True, dropout_rate=0.0, deterministic=None, "
    "precision=None, kernel_init, bias_init, use_bias=True, attention_fn, "
    "decode=False, qkv_dot_general, out_dot_general",
    "MultiHeadDotProductAttention": "num_heads, dtype=None, param_dtype, "
    "qkv_features=None, out_features=None, broadcast_dropout=True, dropout_rate=0.0, "
    "deterministic=None, precision=None, kernel_init, bias_init, use_bias=True, "
    "attention_fn, decode=False, qkv_dot_general, out_dot_general",
    "Dropout": "rate, broadcast_dims=(), deterministic=None, rng_collection='dropout'",
    "LSTMCell": "gate_fn, activation_fn, kernel_init, recurrent_kernel_init, "
    "bias_init, dtype=None, param_dtype",
    "OptimizedLSTMCell": "gate_fn, activation_fn, kernel_init, "
    "recurrent_kernel_init, bias_init, dtype=None, param_dtype",
    "GRUCell": "gate_fn, activation_fn, kernel_init, recurrent_kernel_init, "
    "bias_init, dtype=None, param_dtype",
    "RNN": "cell, cell_size, time_major=False, return_carry=False, reverse=False, "
    "keep_order=False, unroll=1, variable_axes, variable_broadcast='params', "
    "variable_carry=False, split_rngs",
    "Bidirectional": "forward_rnn, backward_rnn, merge_fn, time_major=False, "
    "return_carry=False",
    "Sequential": "layers",
}
# What a later release put first among the arguments of a cell, and may be left out.
ADDED_FIRST = {"LSTMCell": 1, "OptimizedLSTMCell": 1, "GRUCell": 1}


@pytest.mark.parametrize("name", SIGNATURES)
def test_signatures(name):
    """Arguments and defaults of the page, in its order; others may be between them."""
    parameters = inspect.signature(getattr(nn, name)).parameters
    documented = [part.partition("=") for part in SIGNATURES[name].split(", ")]
    names = [argument for argument, _, _ in documented]
    assert [p for p in parameters if p in names] == names
    # Positional use reaches as far as the page's first arguments.
    first = list(parameters)[ADDED_FIRST.get(name, 0) :][: min(2, len(names))]
    assert first == names[:2]
    for argument, equals, default in documented:
        if equals:
            assert parameters[argument].default == eval(default), argument
    assert parameters["parent"].kind is parameters["name"].kind
    assert parameters["name"].default is None


def test_signatures_of_calls():
    for layer in (nn.RNN, nn.Bidirectional):
        call = inspect.signature(layer.__call__).parameters
        assert list(call)[:2] == ["self", "inputs"]
        for name in (
            "initial_carry",
            "init_key",
            "seq_lengths",
            "return_carry",
            "time_major",
            "reverse",
            "keep_order",
        ):
            assert call[name].kind is inspect.Parameter.KEYWORD_ONLY
            assert call[name].default is None


def test_one_hot(check_printed):
    one_hot = nn.one_hot(jnp.array([0, 1, 2]), 3)
    check_printed(one_hot, "[[1., 0., 0.], [0., 1., 0.], [0., 0., 1.]]")
    one_hot = nn.one_hot(jnp.array([-1, 3]), 3)
    check_printed(one_hot, "[[0., 0., 0.], [0., 0., 0.]]")


GLOROT_NORMAL = """[[ 0.41770416,  0.75262755,  0.7619329 ],
                    [-0.5516644 , -0.6028657 ,  0.08661086]]"""
GLOROT_UNIFORM = """[[ 0.50350785,  0.8088631 ,  0.81566876],
                     [-0.6393332 , -0.6865721 ,  0.11003882]]"""
HE_NORMAL = """[[ 0.6604483 ,  1.1900088 ,  1.2047218 ],
                [-0.87225807, -0.95321447,  0.1369438 ]]"""
HE_UNIFORM = """[[ 0.79611576,  1.2789248 ,  1.2896855 ],
                 [-1.0108745 , -1.0855657 ,  0.17398663]]"""
INITIALIZERS = {
    "constant": ((-7,), "[[-7., -7., -7.], [-7., -7., -7.]]"),
    "glorot_normal": ((), GLOROT_NORMAL),
    "glorot_uniform": ((), GLOROT_UNIFORM),
    "he_normal": ((), HE_NORMAL),
    "he_uniform": ((), HE_UNIFORM),
    "kaiming_normal": ((), HE_NORMAL),
    "kaiming_uniform": ((), HE_UNIFORM),
    "lecun_normal": (
        (),
        """[[ 0.46700746,  0.8414632 ,  0.8518669 ],
            [-0.61677957, -0.67402434,  0.09683388]]""",
    ),
    "lecun_uniform": (
        (),
        """[[ 0.56293887,  0.90433645,  0.9119454 ],
            [-0.71479625, -0.7676109 ,  0.12302713]]""",
    ),
    "normal": (
        (5.0,),
        """[[ 3.0613258 ,  5.6129413 ,  5.6866574 ],
            [-4.063663  , -4.4520254 ,  0.63115686]]""",
    ),
    "orthogonal": (
        (),
        """[[ 3.9026976e-01,  7.2495741e-01, -5.6756169e-01],
            [ 8.8047469e-01, -4.7409311e-01, -1.3157725e-04]]""",
    ),
    "uniform": (
        (10.0,),
        """[[7.298188 , 8.691938 , 8.7230015],
            [2.0818567, 1.8662417, 5.5022564]]""",
    ),
    "xavier_normal": ((), GLOROT_NORMAL),
    "xavier_uniform": ((), GLOROT_UNIFORM),
    "zeros_init": ((), "[[0., 0., 0.], [0., 0., 0.]]"),
    "ones_init": ((), "[[1., 1., 1.], [1., 1., 1.]]"),
}


@pytest.mark.parametrize("name", INITIALIZERS)
def test_initializers(name, check_printed):
    arguments, printed = INITIALIZERS[name]
    initializer = getattr(nn.initializers, name)(*arguments)
    value = initializer(jax.random.PRNGKey(42), (2, 3), jnp.float32)
    assert value.dtype == jnp.float32
    check_printed(value, printed, roundings=2)


def test_delta_orthogonal(check_printed):
    initializer = nn.initializers.delta_orthogonal()
    value = initializer(jax.random.PRNGKey(42), (3, 3, 3), jnp.float32)
    zeros = "0. 0. 0. 0. 0. 0. 0. 0. 0. "
    printed = """[ 0.27858758, -0.7949833 , -0.53887904],
         [ 0.9120717 ,  0.04322892,  0.40774566],
         [-0.30085585, -0.6050892 ,  0.73712474]"""
    check_printed(value, f"{zeros}{printed}{zeros}", roundings=2)


def test_initializers_of_constants():
    key = jax.random.PRNGKey(42)
    np.testing.assert_array_equal(
        nn.initializers.ones(key, (3, 2), jnp.float32), np.ones((3, 2))
    )
    np.testing.assert_array_equal(
        nn.initializers.zeros(key, (2, 3), jnp.float32), np.zeros((2, 3))
    )


def test_sequential():
    class Foo(nn.Module):
        feature_sizes: Sequence[int]

        @nn.compact
        def __call__(self, x):
            return nn.Sequential([nn.Dense(4), nn.relu, nn.Dense(2), nn.log_softmax])(x)

    x = jnp.ones((3, 5))
    y, variables = Foo((4, 2)).init_with_output(random.PRNGKey(0), x)
    np.testing.assert_allclose(np.exp(y).sum(-1), np.ones(3), rtol=1e-5)
    # The page leaves the names open. The Sequential is itself an unnamed submodule,
    # and its layers, made in the same compact method, are submodules of the method's.
    assert sorted(jax.tree.leaves(jax.tree.map(jnp.size, variables))) == [2, 4, 8, 20]


def test_sequential_with_several_outputs():
    class CrossAttentionBlock(nn.Module):
        num_heads: int = 2
        qkv_features: int = 16

        @nn.compact
        def __call__(self, query, key_value):
            output = nn.MultiHeadDotProductAttention(
                num_heads=self.num_heads, qkv_features=self.qkv_features
            )(query, key_value)
            output = nn.Dense(self.qkv_features)(output)
            return dict(query=output, key_value=key_value)

    class CrossAttentionNetwork(nn.Module):
        num_layers: int

        @nn.compact
        def __call__(self, query, key_value):
            return nn.Sequential(
                [CrossAttentionBlock() for _ in range(self.num_layers)]
            )(query, key_value)

    query = random.normal(random.PRNGKey(1), (3, 5, 16))
    key_value = random.normal(random.PRNGKey(2), (3, 7, 16))
    out, variables = CrossAttentionNetwork(3).init_with_output(
        random.PRNGKey(0), query, key_value
    )
    assert sorted(out) == ["key_value", "query"]
    assert out["query"].shape == (3, 5, 16)
    np.testing.assert_array_equal(out["key_value"], key_value)


def test_dropouts_stream():
    class Model(nn.Module):
        @nn.compact
        def __call__(self, inputs, train):
            return nn.Dropout(0.5)(nn.Dense(8)(inputs), deterministic=not train)

    model = Model()
    inputs = jnp.ones((2, 4))
    params = model.init(random.PRNGKey(0), inputs, train=False)["params"]
    y = model.apply(
        {"params": params},
        inputs=inputs,
        train=True,
        rngs={"dropout": random.PRNGKey(1)},
    )
    assert 0 < (np.asarray(y) == 0).sum() < 16


def test_rnn():
    x = jnp.ones((10, 50, 32))
    lstm = nn.RNN(nn.LSTMCell(), cell_size=64)
    variables = lstm.init(jax.random.PRNGKey(0), x)
    y = lstm.apply(variables, x)
    assert y.shape == (10, 50, 64)

    # The other axis first, with the same parameters.
    lstm = nn.RNN(nn.LSTMCell(), cell_size=64, time_major=True)
    x_time = jnp.ones((50, 10, 32))
    y_time = lstm.apply(lstm.init(jax.random.PRNGKey(0), x_time), x_time)
    assert y_time.shape == (50, 10, 64)
    np.testing.assert_allclose(y_time, jnp.swapaxes(y, 0, 1), rtol=1e-5)

    lstm = nn.RNN(nn.LSTMCell(), cell_size=64, return_carry=True)
    carry, y_again = lstm.apply(variables, x)
    assert jax.tree.map(jnp.shape, carry) == ((10, 64), (10, 64))
    np.testing.assert_allclose(y_again, y, rtol=1e-6)
    np.testing.assert_allclose(carry[1], y[:, -1], rtol=1e-6)


def test_rnn_over_images():
    # Eight pixels a side and five steps, where the page has 32 and 50.
    x = jnp.ones((2, 5, 8, 8, 3))
    conv_lstm = nn.RNN(nn.ConvLSTMCell(6, kernel_size=(3, 3)), cell_size=(8, 8, 6))
    y, variables = conv_lstm.init_with_output(jax.random.PRNGKey(0), x)
    assert y.shape == (2, 5, 8, 8, 6)


def test_rnn_with_lengths():
    x = random.normal(random.PRNGKey(1), (3, 5, 4))
    seq_lengths = jnp.array([3, 2, 5])
    lstm = nn.RNN(nn.LSTMCell(), cell_size=6, return_carry=True)
    variables = lstm.init(random.PRNGKey(0), x)
    (_, h), y = lstm.apply(variables, x, seq_lengths=seq_lengths)
    for i, length in enumerate((3, 2, 5)):
        np.testing.assert_allclose(h[i], y[i, length - 1], rtol=1e-6)
    # Padding is computed like the rest.
    assert np.all(np.any(np.asarray(y), axis=-1))


def test_rnn_with_arguments_for_scan():
    lstm = nn.RNN(
        nn.LSTMCell(),
        cell_size=64,
        unroll=1,
        variable_axes={},
        variable_broadcast="params",
        variable_carry=False,
        split_rngs={"params": False},
    )
    plain = nn.RNN(nn.LSTMCell(), cell_size=64)
    x = jnp.ones((2, 5, 4))
    jax.tree.map(
        np.testing.assert_array_equal,
        lstm.init(random.PRNGKey(0), x),
        plain.init(random.PRNGKey(0), x),
    )
