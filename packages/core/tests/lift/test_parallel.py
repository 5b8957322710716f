"""Tests of batiste.core.lift.parallel."""

import os
import subprocess
import sys
import textwrap

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh, PartitionSpec

from batiste.core import apply, init, lift, nn

KEY = jax.random.key(0)


def test_pmap_on_one_device():
    def fn(scope, x):
        return nn.dense(scope, x, 4)

    model = lift.pmap(fn, {"params": 0}, {"params": True}, axis_name="i")
    y, variables = init(model)(KEY, jnp.ones((1, 2)))
    assert y.shape == (1, 4)
    assert variables["params"]["kernel"].shape == (1, 2, 4)


def test_pmap_of_no_size():
    with pytest.raises(ValueError, match="lifted pmap.*axis_size"):
        init(lift.pmap(lambda s: 1, {}, {}))(KEY)


def test_shard_map_on_one_device():
    mesh = Mesh(jax.devices()[:1], ("data",))
    data = PartitionSpec("data")
    model = lift.shard_map(
        lambda scope, x: nn.dense(scope, x, 4),
        mesh,
        {"params": PartitionSpec()},
        {"params": False},
        data,
        data,
    )
    x = jnp.ones((3, 2))
    y, variables = init(model)(KEY, x)
    expected, same = init(nn.dense)(KEY, x, 4)
    jax.tree.map(np.testing.assert_array_equal, variables, same)
    np.testing.assert_allclose(y, expected)
    np.testing.assert_allclose(apply(model)(variables, x), expected)


SEVERAL_DEVICES = """
    import jax, jax.numpy as jnp, numpy as np
    from jax.sharding import Mesh, PartitionSpec as P
    from batiste.core import apply, init, lift

    def fn(scope, x):
        w = scope.param("w", jax.random.normal, (2,))
        noise = jax.random.normal(scope.make_rng("noise"))
        return x * w[0] + jax.lax.psum(x, "i"), noise

    key = jax.random.key(0)
    rngs = {"params": key, "noise": key}
    x = jnp.arange(4.0)
    pmapped = lift.pmap(
        fn, {"params": None}, {"params": False, "noise": True}, axis_name="i",
        out_axes=0)
    (y, noise), variables = init(pmapped)(rngs, x)
    assert variables["params"]["w"].shape == (2,)
    w = variables["params"]["w"][0]
    assert jnp.allclose(y, x * w + 6), y
    assert len(set(noise.tolist())) == 4
    again, _ = apply(pmapped)(variables, x, rngs=rngs)
    assert jnp.allclose(again, y)

    mesh = Mesh(jax.devices(), ("i",))
    sharded = lift.shard_map(
        lambda s, x: jax.tree.map(jnp.atleast_1d, fn(s, x)), mesh, {"params": P()},
        {"params": False, "noise": True}, P("i"), P("i"))
    (y, noise), variables = init(sharded)(rngs, x)
    assert jnp.allclose(y, x * variables["params"]["w"][0] + 6), y
    assert len(set(noise.tolist())) == 4

    mesh = Mesh(np.array(jax.devices()).reshape(2, 2), ("i", "j"))
    split = lift.shard_map(
        lambda s: jax.random.normal(s.make_rng("noise"), (1, 1)), mesh, {},
        {"noise": "j"}, (), P("i", "j"), check_vma=False)
    noise = apply(split)({}, rngs=rngs)
    assert noise.shape == (2, 2)
    assert (noise[0] == noise[1]).all() and noise[0, 0] != noise[0, 1]
    own = lift.shard_map(
        lambda s: s.param("w", jax.random.normal, (1,)), mesh,
        {"params": P(("i", "j"))}, {"params": True}, (), P(("i", "j")))
    w, variables = init(own)(rngs)
    assert len(set(w.tolist())) == 4 and (variables["params"]["w"] == w).all()
"""


def test_on_several_devices():
    flags = "--xla_force_host_platform_device_count=4"
    code = textwrap.dedent(SEVERAL_DEVICES)
    env = {**os.environ, "XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"}
    run = subprocess.run(
        [sys.executable, "-c", code], env=env, capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr[-2000:]
