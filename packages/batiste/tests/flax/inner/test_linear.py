"""A convolution that is written on the helpers of the release's own."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_a_copied_convolution_gives_what_the_layer_gives(flax, rank):
    from flax import linen as nn
    from flax.linen.linear import _conv_dimension_numbers

    class StandardizedConv(nn.Conv):
        @nn.compact
        def __call__(self, inputs):
            shape = (*self.kernel_size, inputs.shape[-1], self.features)
            kernel = self.param("kernel", self.kernel_init, shape)
            return lax.conv_general_dilated(
                inputs,
                kernel,
                (1,) * rank,
                self.padding,
                dimension_numbers=_conv_dimension_numbers(inputs.shape),
            )

    x = jax.random.normal(jax.random.key(1), (2, *(5,) * rank, 3))
    key, size = jax.random.key(0), (3,) * rank
    y, variables = StandardizedConv(4, size).init_with_output(key, x)
    expected = nn.Conv(4, size, use_bias=False).apply(variables, x)
    np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-6)


def test_axes(flax):
    for module in (flax.linen.linear, flax.core.nn.linear):
        assert module._normalize_axes((-1, 0), 3) == (0, 2)
        numbers = module._conv_dimension_numbers((1, 2, 3))
        assert numbers == lax.ConvDimensionNumbers((0, 2, 1), (2, 1, 0), (0, 2, 1))
    assert flax.linen.linear._canonicalize_tuple(3) == (3,)
    assert flax.linen.linear._canonicalize_tuple([1, 2]) == (1, 2)


def test_a_general_product_by_the_helper(flax):
    from flax.linen.linear import _normalize_axes

    x, kernel = jnp.ones((2, 3, 4)), jnp.ones((3, 4, 5))
    axes = _normalize_axes((-1, 1), x.ndim)
    assert lax.dot_general(x, kernel, ((axes, (0, 1)), ((), ()))).shape == (2, 5)
