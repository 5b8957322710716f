"""The programs of the guide "Convert PyTorch models to Flax".

PyTorch is not installed for a test: its operations are written in NumPy as its
documentation defines them, with its layouts [N, C, H, W] and [outC, inC, kH, kW].
"""

import jax
import numpy as np
from jax import numpy as jnp
from jax import random

from batiste import linen as nn

RNG = np.random.default_rng(0)


def drawn(*shape):
    return RNG.uniform(-0.5, 0.5, shape).astype(np.float32)


def torch_linear(x, weight, bias):
    return x @ weight.T + bias


def torch_conv2d(x, weight, bias):
    """`torch.nn.Conv2d` with stride 1 and padding 'valid'."""
    windows = np.lib.stride_tricks.sliding_window_view(x, weight.shape[2:], (2, 3))
    return np.einsum("nihwkl,oikl->nohw", windows, weight) + bias[:, None, None]


def test_dense_layers():
    weight, bias = drawn(4, 3), drawn(4)
    kernel = jnp.transpose(weight, (1, 0))
    x = random.normal(random.PRNGKey(0), (1, 3))
    variables = {"params": {"kernel": kernel, "bias": bias}}
    j_out = nn.Dense(features=4).apply(variables, x)
    t_out = torch_linear(np.array(x), weight, bias)
    np.testing.assert_almost_equal(j_out, t_out, decimal=6)


def test_convolutions():
    weight, bias = drawn(4, 3, 2, 2), drawn(4)
    kernel = jnp.transpose(weight, (2, 3, 1, 0))
    x = random.normal(random.PRNGKey(0), (1, 6, 6, 3))
    variables = {"params": {"kernel": kernel, "bias": bias}}
    j_conv = nn.Conv(features=4, kernel_size=(2, 2), padding="valid")
    j_out = j_conv.apply(variables, x)
    t_out = torch_conv2d(np.transpose(np.array(x), (0, 3, 1, 2)), weight, bias)
    t_out = np.transpose(t_out, (0, 2, 3, 1))
    np.testing.assert_almost_equal(j_out, t_out, decimal=6)


def test_convolutions_and_dense_layers():
    class JModel(nn.Module):
        @nn.compact
        def __call__(self, x):
            x = nn.Conv(features=4, kernel_size=(2, 2), padding="valid", name="conv")(x)
            x = jnp.transpose(x, (0, 3, 1, 2))
            x = jnp.reshape(x, (x.shape[0], -1))
            return nn.Dense(features=2, name="fc")(x)

    conv_weight, conv_bias = drawn(4, 3, 2, 2), drawn(4)
    fc_weight, fc_bias = drawn(2, 100), drawn(2)
    variables = {
        "params": {
            "conv": {
                "kernel": jnp.transpose(conv_weight, (2, 3, 1, 0)),
                "bias": conv_bias,
            },
            "fc": {"kernel": jnp.transpose(fc_weight, (1, 0)), "bias": fc_bias},
        }
    }
    x = random.normal(random.PRNGKey(0), (1, 6, 6, 3))
    j_out = JModel().apply(variables, x)
    t_x = np.transpose(np.array(x), (0, 3, 1, 2))
    t_hidden = torch_conv2d(t_x, conv_weight, conv_bias).reshape(1, -1)
    t_out = torch_linear(t_hidden, fc_weight, fc_bias)
    # Sums of a hundred products in another order.
    np.testing.assert_almost_equal(j_out, t_out, decimal=5)


def test_batch_norm():
    scale, bias, mean = drawn(3) + 1, drawn(3), drawn(3)
    var = drawn(3) + 1
    variables = {
        "params": {"scale": scale, "bias": bias},
        "batch_stats": {"mean": mean, "var": var},
    }
    x = random.normal(random.PRNGKey(0), (1, 6, 6, 3))
    j_bn = nn.BatchNorm(momentum=0.9, use_running_average=True)
    j_out = j_bn.apply(variables, x)
    t_x = np.transpose(np.array(x), (0, 3, 1, 2))

    def of(channel):
        return channel[:, None, None]

    # torch.nn.BatchNorm2d in evaluation, with its default eps.
    t_out = (t_x - of(mean)) / np.sqrt(of(var) + 1e-5) * of(scale) + of(bias)
    t_out = np.transpose(t_out, (0, 2, 3, 1))
    np.testing.assert_almost_equal(j_out, t_out, decimal=6)


def avg_pool(inputs, window_shape, strides=None, padding="VALID"):
    assert len(window_shape) == 2
    y = nn.pool(inputs, 0.0, jax.lax.add, window_shape, strides, padding)
    counts = nn.pool(
        jnp.ones_like(inputs), 0.0, jax.lax.add, window_shape, strides, padding
    )
    return y / counts


def test_average_pooling():
    x = random.normal(random.PRNGKey(0), (1, 6, 6, 3))
    j_out = avg_pool(x, window_shape=(2, 2), strides=(1, 1), padding=((1, 1), (1, 1)))
    # torch.nn.AvgPool2d(2, stride=1, padding=1, count_include_pad=False): means over
    # what of the window lies inside.
    padded = np.pad(
        np.array(x), ((0, 0), (1, 1), (1, 1), (0, 0)), constant_values=np.nan
    )
    windows = np.lib.stride_tricks.sliding_window_view(padded, (2, 2), (1, 2))
    t_out = np.nanmean(windows, axis=(-2, -1))
    np.testing.assert_almost_equal(j_out, t_out, decimal=6)
