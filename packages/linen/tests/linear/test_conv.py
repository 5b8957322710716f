"""Conv and ConvLocal."""

import jax
import numpy as np
import pytest
from jax import lax
from jax import numpy as jnp

from batiste import linen as nn
from batiste.linen.linear.conv import Conv, ConvLocal

KEY = jax.random.key(0)
normal = jax.nn.initializers.normal(1.0)


def x_of(*shape, dtype=jnp.float32):
    return jax.random.normal(jax.random.key(1), shape).astype(dtype)


def test_conv_by_hand():
    x = x_of(1, 5, 3)
    layer = Conv(2, (3,), padding="VALID", bias_init=normal)
    y, variables = layer.init_with_output(KEY, x)
    kernel, bias = variables["params"]["kernel"], variables["params"]["bias"]
    assert kernel.shape == (3, 3, 2)
    expected = [jnp.einsum("kc,kcf->f", x[0, i : i + 3], kernel) for i in range(3)]
    np.testing.assert_allclose(y[0], jnp.stack(expected) + bias, rtol=1e-4, atol=1e-5)


def test_a_local_conv_with_equal_kernels_is_a_conv():
    x = x_of(2, 6, 7, 3)
    fields = dict(strides=(1, 2), kernel_dilation=(2, 1), padding=((1, 0), 2))
    shared, local = Conv(4, (2, 3), **fields), ConvLocal(4, (2, 3), **fields)
    variables = shared.init(KEY, x)
    kernel = variables["params"]["kernel"]
    y, local_variables = local.init_with_output(KEY, x)
    params = local_variables["params"]
    assert params["kernel"].shape == (*y.shape[1:3], 2 * 3 * 3, 4)
    assert params["bias"].shape == (*y.shape[1:3], 4)
    # The window's features come channels first.
    window = jnp.transpose(kernel, (2, 0, 1, 3)).reshape(18, 4)
    params = {
        "kernel": jnp.broadcast_to(window, params["kernel"].shape),
        "bias": params["bias"],
    }
    np.testing.assert_allclose(
        local.apply({"params": params}, x),
        shared.apply(variables, x),
        rtol=1e-4,
        atol=1e-5,
    )


@pytest.mark.parametrize("layer", [Conv, ConvLocal])
@pytest.mark.parametrize(
    ("padding", "mode"), [("CIRCULAR", "wrap"), ("REFLECT", "reflect")]
)
def test_paddings_that_look_at_the_input(layer, padding, mode):
    x = x_of(2, 6, 7, 3)
    variables = layer(4, (3, 4), padding=padding).init(KEY, x)
    y = layer(4, (3, 4), padding=padding).apply(variables, x)
    padded = jnp.pad(x, ((0, 0), (1, 1), (1, 2), (0, 0)), mode=mode)
    expected = layer(4, (3, 4), padding="VALID").apply(variables, padded)
    assert y.shape == (2, 6, 7, 4)
    np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("layer", [Conv, ConvLocal])
@pytest.mark.parametrize("dilation", [1, 2])
def test_causal(layer, dilation):
    layer = layer(4, (3,), padding="CAUSAL", kernel_dilation=dilation)
    x = x_of(1, 8, 3)
    y, variables = layer.init_with_output(KEY, x)
    assert y.shape == (1, 8, 4)
    later = layer.apply(variables, x.at[:, 5:].set(0))
    assert np.array_equal(later[:, :5], y[:, :5])
    assert not np.array_equal(later[:, 5:], y[:, 5:])


@pytest.mark.parametrize("shape", [(6, 3), (2, 6, 3), (2, 1, 4, 6, 3), (0, 6, 3)])
@pytest.mark.parametrize("layer", [Conv, ConvLocal])
def test_batch_axes(layer, shape):
    y, variables = layer(4, 3).init_with_output(KEY, x_of(*shape))
    assert y.shape == (*shape[:-1], 4)
    one = layer(4, 3).apply(variables, x_of(6, 3))
    assert one.shape == (6, 4)


def test_groups():
    x = x_of(1, 6, 4)
    layer = Conv(6, (3,), feature_group_count=2)
    y, variables = layer.init_with_output(KEY, x)
    assert variables["params"]["kernel"].shape == (3, 2, 6)
    changed = layer.apply(variables, x.at[..., 2:].set(0))
    assert np.array_equal(changed[..., :3], y[..., :3])


def test_mask():
    mask = np.zeros((3, 3, 4), bool)
    mask[1] = True
    layer = Conv(4, (3,), mask=mask)
    x = x_of(1, 6, 3)
    y, variables = layer.init_with_output(KEY, x)
    expected = jnp.einsum("nsc,cf->nsf", x, variables["params"]["kernel"][1])
    np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("dtype", "param_dtype", "expected"),
    [
        (None, jnp.bfloat16, jnp.float32),
        (jnp.float16, jnp.float32, jnp.float16),
        (None, jnp.complex64, jnp.complex64),
    ],
)
def test_dtypes(dtype, param_dtype, expected):
    layer = Conv(4, (3,), dtype=dtype, param_dtype=param_dtype)
    assert layer.init_with_output(KEY, x_of(1, 6, 3))[0].dtype == expected


def test_injected_convolution():
    calls = []

    def conv(*args, **kwargs):
        calls.append(set(kwargs))
        return lax.conv_general_dilated(*args, **kwargs)

    x = x_of(1, 6, 3)
    variables = Conv(4, (3,)).init(KEY, x)
    y = Conv(4, (3,)).apply(variables, x)
    for fields in (
        {"conv_general_dilated": conv},
        {"conv_general_dilated_cls": lambda: conv},
    ):
        assert np.array_equal(Conv(4, (3,), **fields).apply(variables, x), y)
    names = {"lhs_dilation", "rhs_dilation", "dimension_numbers", "precision"}
    assert calls == [names | {"feature_group_count"}] * 2


def test_jaxpr():
    layer = Conv(4, (3, 3))
    x = x_of(2, 6, 6, 3)
    jaxpr = jax.make_jaxpr(layer.apply)(layer.init(KEY, x), x)
    names = [e.primitive.name for e in jaxpr.eqns]
    assert names == ["conv_general_dilated", "reshape", "add"]


@pytest.mark.parametrize("groups", [1, 2, 4])
def test_local_groups_with_equal_kernels_are_a_grouped_convolution(groups):
    x = jax.random.normal(jax.random.key(0), (2, 6, 5, 4))
    fields = dict(features=8, kernel_size=(3, 2), feature_group_count=groups)
    conv, local = Conv(**fields), ConvLocal(**fields)
    shared = conv.init(jax.random.key(1), x)["params"]
    shapes = jax.tree.map(jnp.shape, local.init(jax.random.key(1), x)["params"])
    window = 3 * 2 * 4 // groups
    assert shapes == {"kernel": (6, 5, window, 8), "bias": (6, 5, 8)}
    # A window's elements are ordered by their feature first.
    kernel = jnp.moveaxis(shared["kernel"], 2, 0).reshape(window, 8)
    params = {
        "kernel": jnp.broadcast_to(kernel, shapes["kernel"]),
        "bias": jnp.broadcast_to(shared["bias"], shapes["bias"]),
    }
    np.testing.assert_allclose(
        local.apply({"params": params}, x),
        conv.apply({"params": shared}, x),
        rtol=1e-5,
        atol=1e-5,
    )


@pytest.mark.parametrize(
    ("layer", "error", "message"),
    [
        (Conv(4, (3, 3, 3)), ValueError, r"needs an input of shape .*got shape \(2, 6"),
        (Conv(4, (3,), (1, 1)), ValueError, r"strides=\(1, 1\) must be an int or"),
        (Conv(4, (3,), input_dilation=(1, 1)), ValueError, "input_dilation="),
        (Conv(4, (3,), kernel_dilation=(1, 1)), ValueError, "kernel_dilation="),
        (Conv(4, (3,), padding="FULL"), ValueError, "unknown padding 'FULL'; use one"),
        (Conv(4, (3, 3), padding="CAUSAL"), ValueError, "'CAUSAL' needs one spatial"),
        (Conv(4, (3,), feature_group_count=2), ValueError, "number of input features"),
        (Conv(4, (3,), feature_group_count=3), ValueError, "number of output features"),
        (Conv(4, (3,), feature_group_count=0), ValueError, "must divide"),
        (
            Conv(4, (3,), mask=jnp.ones((3, 1, 4))),
            ValueError,
            r"mask of shape \(3, 1, 4\) .* kernel of shape \(3, 3, 4",
        ),
        (
            ConvLocal(4, (3,), mask=jnp.ones(3)),
            ValueError,
            r"\(3,\) .* kernel of shape \(6, 9, 4\)",
        ),
        (ConvLocal(4, (3,), feature_group_count=2), ValueError, "of input features"),
        (ConvLocal(4, (3,), feature_group_count=3), ValueError, "of output features"),
    ],
)
def test_errors(layer, error, message):
    class Model(nn.Module):
        @nn.compact
        def __call__(self, x):
            return layer.copy(name="c")(x)

    with pytest.raises(error, match=f"'c': .*{message}"):
        Model().init(KEY, x_of(2, 6, 3))


@pytest.mark.parametrize("base", [Conv, nn.DenseGeneral, nn.Einsum, nn.Dropout])
def test_a_layer_has_no_methods_that_a_subclass_could_hide(base):
    allowed = {"__call__", "__post_init__", "setup", "shared_weights"}
    parents = [cls for cls in base.__mro__ if issubclass(cls, nn.Module)][:-1]
    fields = {name for cls in parents for name in cls.__dataclass_fields__}
    own = {
        name
        for cls in parents
        for name, value in vars(cls).items()
        if callable(value) and not name.startswith("__")
    }
    assert own - fields <= allowed


def spread_by_hand(x, axes, periodic):
    for axis in axes:
        shape = list(x.shape)
        shape[axis] = 2 * shape[axis] - (not periodic)
        wide = np.zeros(shape, x.dtype)
        wide[(slice(None),) * axis + (slice(None, None, 2),)] = x
        x = wide
    return x


@pytest.mark.parametrize("layer", [Conv, ConvLocal])
@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize("strides", [1, 2])
@pytest.mark.parametrize(
    "padding", [None, "SAME", "VALID", "SAME_LOWER", "CIRCULAR", "REFLECT"]
)
def test_a_dilated_input_with_padding_by_name(layer, rank, strides, padding):
    x = np.random.default_rng(0).normal(size=(2, *[4] * rank, 2)).astype(np.float32)
    size = (3,) * rank
    options = {} if padding is None else {"padding": padding}
    dilated = layer(3, size, strides, input_dilation=2, **options)
    y, variables = dilated.init_with_output(KEY, x)
    wide = spread_by_hand(x, range(1, rank + 1), padding == "CIRCULAR")
    expected = layer(3, size, strides, **options).apply(variables, wide)
    np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-5)
