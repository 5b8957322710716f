"""Variables whose keys hold separators come back from flat dictionaries."""

import jax
import jax.numpy as jnp
import pytest

from batiste import linen as nn
from batiste.core import unfreeze
from batiste.traverse import flatten_dict, unflatten_dict


class Normalized(nn.Module):
    kind: type

    @nn.compact
    def __call__(self, x):
        layer = self.kind(nn.Dense(3))
        x = layer(x, update_stats=True) if self.kind is nn.SpectralNorm else layer(x)
        return nn.BatchNorm(use_running_average=False)(x)


@pytest.mark.parametrize("kind", [nn.SpectralNorm, nn.WeightNorm])
@pytest.mark.parametrize("sep", ["/", "."])
def test_own_keys_come_back(kind, sep):
    variables = unfreeze(Normalized(kind).init(jax.random.key(0), jnp.ones((2, 4))))
    assert any("/" in key for path in flatten_dict(variables) for key in path)
    flat = flatten_dict(variables, sep=sep)
    back = unflatten_dict(flat, sep=sep)
    assert jax.tree.structure(back) == jax.tree.structure(variables)
    assert flatten_dict(back).keys() == flatten_dict(variables).keys()
