"""Uses vendored packages under their own names, with `_vendor` on the path.

Run by ``nox -s vendor`` from the root of a made-up project.
"""

import importlib.metadata
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "_vendor"))

import jax
import jax.numpy as jnp
import numpy as np

import batiste.linen as nn
from batiste.core import freeze, unfreeze
from batiste.linen import spmd
from batiste.serialization import from_bytes, to_bytes
from batiste.traverse import flatten_dict, unflatten_dict

installed = {d.metadata["Name"] for d in importlib.metadata.distributions()}
assert not {n for n in installed if n.lower().startswith(("batiste", "flax"))}


class MLP(nn.Module):
    """Two layers, the second one with a partitioned kernel."""

    @nn.compact
    def __call__(self, x):
        x = nn.relu(nn.Dense(8)(x))
        init = nn.with_partitioning(nn.initializers.lecun_normal(), (None, "model"))
        return nn.Dense(1, kernel_init=init)(x)


x = jnp.linspace(-1.0, 1.0, 32)[:, None]
y = jnp.abs(x)
model = MLP()
boxed = model.init(jax.random.PRNGKey(0), x)["params"]
assert spmd.get_partition_spec(boxed)["Dense_1"]["kernel"] == jax.P(None, "model")
params = nn.unbox(boxed)


def loss(params):
    return jnp.mean((model.apply({"params": params}, x) - y) ** 2)


@jax.jit
def step(params):
    value, grads = jax.value_and_grad(loss)(params)
    return jax.tree.map(lambda p, g: p - 0.1 * g, params, grads), value


params, first = step(params)
last = first
for _ in range(200):
    params, last = step(params)
assert last < first / 4, (first, last)

flat = flatten_dict(unfreeze(params), sep="/")
assert sorted(flat) == [f"Dense_{i}/{n}" for i in (0, 1) for n in ("bias", "kernel")]
again = from_bytes(params, to_bytes(freeze(unflatten_dict(flat, sep="/"))))
np.testing.assert_array_equal(
    model.apply({"params": again}, x), model.apply({"params": params}, x)
)
print(
    f"vendored in a namespace: trained from {first:.4f} to {last:.4f}, saved, reloaded"
)
