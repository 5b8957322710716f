"""Tests of batiste.linen.transforms.named_call."""

import jax
from jax import numpy as jnp

import batiste.linen as nn

KEY = jax.random.key(0)
X = jnp.ones((3, 2))


def lowered(fn):
    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            return fn(self, x)

    def run(x):
        return Net().init_with_output(KEY, x)[0]

    return jax.jit(run).lower(X).as_text(debug_info=True)


def test_names_in_profiles():
    def layer(mdl, x):
        return jnp.sin(x)

    assert "Net.layer" in lowered(nn.named_call(layer))
    with nn.override_named_call(False):
        assert "Net.layer" in lowered(nn.named_call(layer))
        assert "Net.layer" not in lowered(nn.named_call(layer, force=False))
    assert "checkpoint/CheckpointDense_0" in lowered(
        lambda m, x: nn.remat(nn.Dense)(2)(x)
    )
    vmapped = nn.vmap(nn.Dense, {"params": 0}, {"params": True})
    assert "VmapDense_0" in lowered(lambda mdl, x: vmapped(2)(x))
