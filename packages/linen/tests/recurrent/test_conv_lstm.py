"""Tests of batiste.linen.recurrent.conv_lstm."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from batiste.linen.recurrent import ConvLSTMCell, LSTMCell

KEY = jax.random.key(0)


@pytest.mark.parametrize("spatial", [(6,), (6, 5)])
def test_shapes(spatial):
    cell = ConvLSTMCell(features=4, kernel_size=(3,) * len(spatial))
    x = jnp.ones((2, *spatial, 3))
    carry = cell.initialize_carry(KEY, x.shape)
    run = jax.eval_shape(cell.init_with_output, KEY, carry, x)
    ((c, h), y), variables = run
    assert c.shape == h.shape == y.shape == (2, *spatial, 4)
    assert jax.tree.map(jnp.shape, dict(variables["params"])) == {
        "ih": {"kernel": (*cell.kernel_size, 3, 16), "bias": (16,)},
        "hh": {"kernel": (*cell.kernel_size, 4, 16), "bias": (16,)},
    }


def test_with_a_kernel_of_one_pixel_it_is_an_lstm_at_every_pixel():
    cell = ConvLSTMCell(features=4, kernel_size=(1,))
    rng = np.random.default_rng(0)
    x, c, h = (rng.normal(size=(2, 6, n)).astype(np.float32) for n in (3, 4, 4))
    ((new_c, new_h), _), variables = cell.init_with_output(KEY, (c, h), x)
    kernels = {
        name: np.split(np.asarray(variables["params"][name + "h"]["kernel"])[0], 4, -1)
        for name in "ih"
    }
    params = {}
    for k, gate in enumerate("igfo"):
        # The convolutional cell adds 1 to the forget gate.
        bias = np.full(4, float(gate == "f"), np.float32)
        params["i" + gate] = {"kernel": kernels["i"][k]}
        params["h" + gate] = {"kernel": kernels["h"][k], "bias": bias}
    (c, h), _ = LSTMCell(4).apply({"params": params}, (c, h), x)
    np.testing.assert_allclose(new_c, c, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(new_h, h, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("options", [{"padding": "VALID"}, {"strides": (2,)}])
def test_convolutions_must_keep_the_size(options):
    cell = ConvLSTMCell(features=4, kernel_size=(3,), **options)
    x = jnp.ones((2, 6, 3))
    carry = cell.initialize_carry(KEY, x.shape)
    with pytest.raises(ValueError, match="^ConvLSTMCell: .*keep padding='SAME'"):
        jax.eval_shape(cell.init, KEY, carry, x)
