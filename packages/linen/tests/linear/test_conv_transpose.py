"""ConvTranspose."""

import jax
import numpy as np
import pytest
from jax import lax
from jax import numpy as jnp

from batiste.linen.linear.conv_transpose import ConvTranspose

KEY = jax.random.key(0)
normal = jax.nn.initializers.normal(1.0)


def x_of(*shape):
    return jax.random.normal(jax.random.key(1), shape)


@pytest.mark.parametrize("padding", ["SAME", "VALID", 1, ((0, 2), 1)])
@pytest.mark.parametrize("flip", [False, True])
def test_as_lax_does(padding, flip):
    x = x_of(2, 5, 6, 3)
    layer = ConvTranspose(
        4, (3, 2), (2, 1), padding, bias_init=normal, transpose_kernel=flip
    )
    y, variables = layer.init_with_output(KEY, x)
    kernel, bias = variables["params"]["kernel"], variables["params"]["bias"]
    assert kernel.shape == ((3, 2, 4, 3) if flip else (3, 2, 3, 4))
    pads = {1: ((1, 1), (1, 1)), ((0, 2), 1): ((0, 2), (1, 1))}.get(padding, padding)
    expected = lax.conv_transpose(x, kernel, (2, 1), pads, transpose_kernel=flip) + bias
    np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize(("kernel", "stride"), [(3, 1), (3, 2), (4, 2), (5, 3)])
def test_circular(kernel, stride, flip):
    layer = ConvTranspose(
        4, kernel, (stride,), padding="CIRCULAR", transpose_kernel=flip
    )
    x = x_of(1, 6, 3)
    y, variables = layer.init_with_output(KEY, x)
    assert y.shape == (1, 6 * stride, 4)
    # What is shifted around goes on in the same way.
    shifted = layer.apply(variables, jnp.roll(x, 2, axis=1))
    np.testing.assert_allclose(
        shifted, jnp.roll(y, 2 * stride, axis=1), rtol=1e-4, atol=1e-5
    )


def test_batch_axes():
    layer = ConvTranspose(4, 3, (2,))
    variables = layer.init(KEY, x_of(5, 3))
    for batch in [(), (2,), (2, 1, 2), (0,)]:
        assert layer.apply(variables, x_of(*batch, 5, 3)).shape == (*batch, 10, 4)


def test_mask_and_dtypes():
    x = x_of(1, 5, 3)
    layer = ConvTranspose(
        4,
        3,
        mask=np.zeros((3, 3, 4)),
        dtype=jnp.bfloat16,
        preferred_element_type=jnp.float32,
        use_bias=False,
    )
    y, variables = layer.init_with_output(KEY, x)
    assert y.dtype == jnp.float32
    assert not y.any()
    assert variables["params"]["kernel"].dtype == jnp.float32


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"padding": "CAUSAL"}, "unknown padding 'CAUSAL'; use one of SAME"),
        ({"padding": (1, 2)}, r"padding \(1, 2\) does not say how much"),
        ({"strides": (1, 2)}, "strides="),
        ({"mask": np.ones(3)}, r"mask of shape \(3,\) .* kernel of shape \(3, 3, 4\)"),
        ({"kernel_size": (3, 3, 3)}, "needs an input of shape"),
    ],
)
def test_errors(fields, message):
    layer = ConvTranspose(4, 3).clone(**fields)
    with pytest.raises(ValueError, match=message):
        layer.init(KEY, x_of(2, 5, 3))
