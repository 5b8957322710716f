"""Gradients by inputs and parameters: the order of arithmetic is the same."""

from __future__ import annotations

from typing import Any

import flax.linen as theirs
import jax
import numpy as np
import pytest
from jax import numpy as jnp

import batiste.linen as ours

LAYERS: dict[str, Any] = {
    "layer_norm": lambda nn: nn.LayerNorm(),
    "slow layer_norm": lambda nn: nn.LayerNorm(use_fast_variance=False),
    "batch_norm": lambda nn: nn.BatchNorm(use_running_average=False),
    "slow batch_norm": lambda nn: nn.BatchNorm(False, use_fast_variance=False),
    "running batch_norm": lambda nn: nn.BatchNorm(use_running_average=True),
    "rms_norm": lambda nn: nn.RMSNorm(),
    "group_norm": lambda nn: nn.GroupNorm(num_groups=4),
    "instance_norm": lambda nn: nn.InstanceNorm(),
    "mlp": lambda nn: nn.Sequential(
        [nn.Dense(8), nn.gelu, nn.LayerNorm(), nn.Dense(5), nn.softmax]
    ),
    "attention": lambda nn: nn.MultiHeadDotProductAttention(num_heads=2),
}


def loss_and_gradients(nn: Any, layer: Any, x: Any, jit: bool) -> Any:
    """The loss of a layer, and its gradients by parameters and input."""
    module = layer(nn)
    variables = dict(module.init(jax.random.key(0), x))
    params = dict(variables.pop("params", {}))

    def loss(params, x):
        all_variables = {"params": params, **variables}
        y, _ = module.apply(all_variables, x, mutable=["batch_stats"])
        return jnp.sum(y**2 * jnp.cos(x.sum(-1, keepdims=True)))

    run = jax.value_and_grad(loss, argnums=(0, 1))
    return (jax.jit(run) if jit else run)(params, x)


@pytest.mark.parametrize("jit", [False, True])
@pytest.mark.parametrize("name", LAYERS)
def test_same_gradients(name, jit):
    x = jax.random.normal(jax.random.key(1), (3, 16, 32))
    a, b = (
        jax.tree.leaves(loss_and_gradients(nn, LAYERS[name], x, jit))
        for nn in (theirs, ours)
    )
    assert len(a) > 1
    for one, other in zip(a, b, strict=True):
        np.testing.assert_array_equal(one, other)
