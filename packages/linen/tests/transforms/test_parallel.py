"""Tests of batiste.linen.transforms.parallel."""

import jax
import numpy as np
from jax import numpy as jnp
from jax.sharding import PartitionSpec as P

import batiste.linen as nn

KEY = jax.random.key(0)
X = jnp.arange(6.0).reshape(3, 2)


def test_pmap():
    devices = nn.pmap(nn.Dense, {"params": 0}, {"params": True}, axis_name="i")(4)
    y, variables = devices.init_with_output(KEY, X[None])
    assert y.shape == (1, 3, 4)
    assert variables["params"]["kernel"].shape == (1, 2, 4)
    assert type(devices).__name__ == "PmapDense"


def test_shard_map():
    mesh = jax.sharding.Mesh(jax.devices()[:1], ("data",))
    sharded = nn.shard_map(
        nn.Dense, mesh, {"params": P()}, {"params": False}, P("data"), P("data")
    )(4)
    y, variables = sharded.init_with_output(KEY, X)
    assert type(sharded).__name__ == "Shard_mapDense"
    np.testing.assert_allclose(y, nn.Dense(4).apply(variables, X), rtol=1e-5)
