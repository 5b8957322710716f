"""Tests of batiste.linen.transforms.scan."""

import jax
import numpy as np
import pytest
from jax import numpy as jnp

import batiste.linen as nn

KEY = jax.random.key(0)
X = jnp.ones((3, 2))
SPLIT = {"params": True}


class Layer(nn.Module):
    @nn.compact
    def __call__(self, x, scale):
        count = self.variable("state", "count", lambda: 0)
        if self.is_mutable_collection("state"):
            count.value += 1
        y = nn.Dense(2)(x) * (1.0 if scale is None else scale)
        return jnp.tanh(y), y


def test_scan_is_a_loop():
    scan = nn.scan(
        Layer, {"params": 0}, variable_carry="state", split_rngs=SPLIT, length=4
    )()
    variables = {**scan.init(KEY, X, None), "state": {"count": jnp.array(0)}}
    (y, ys), state = scan.apply(variables, X, None, mutable=["state"])
    assert state["state"]["count"] == 4
    assert ys.shape == (4, 3, 2)
    expected = X
    for i in range(4):
        params = jax.tree.map(lambda v, i=i: v[i], variables["params"])
        expected, _ = Layer().apply({"params": params, "state": {"count": 0}},
                                    expected, None)  # fmt: skip
    np.testing.assert_allclose(y, expected, rtol=1e-5)


def test_scan_shared_reversed():
    scan = nn.scan(
        Layer,
        variable_broadcast="params",
        variable_axes={"state": 0},
        split_rngs={"params": False},
        in_axes=1,
        out_axes=1,
        reverse=True,
        unroll=2,
    )()
    scales = jnp.arange(12.0).reshape(3, 4)[0:1]
    variables = scan.init(KEY, X, scales)
    assert variables["params"]["Dense_0"]["kernel"].shape == (2, 2)
    assert variables["state"]["count"].shape == (4,)
    y, ys = scan.apply(variables, X, scales)
    expected = X
    layer = {"params": variables["params"], "state": {"count": 0}}
    for i in reversed(range(4)):
        expected, out = Layer().apply(layer, expected, scales[:, i])
        np.testing.assert_allclose(ys[:, i], out, rtol=1e-5)
    np.testing.assert_allclose(y, expected, rtol=1e-5)


def test_scan_data_transform():
    seen = []

    def look(variables, rngs):
        seen.append(len(variables))
        return variables, rngs

    scan = nn.scan(
        Layer, {"params": 0, "state": 0}, split_rngs=SPLIT, length=2,
        data_transform=look)()  # fmt: skip
    scan.init(KEY, X, None)
    assert seen
    assert set(seen) == {4}


def test_scan_without_a_length():
    with pytest.raises(ValueError, match="length"):
        nn.scan(Layer, {"params": 0}, split_rngs=SPLIT)().init(KEY, X, None)
