"""What a program with NNX and its bridge to Linen computes; printed as JSON."""

import json
import re
import sys

import flax
import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from flax import nnx
from flax.nnx import bridge

X = jnp.arange(6.0).reshape(2, 3)
FOUND = {}


def keep(name, *values):
    FOUND[name] = [
        np.asarray(leaf).tolist() if hasattr(leaf, "shape") else str(leaf)
        for leaf in jax.tree.leaves(values)
    ]


class Net(nn.Module):
    @nn.compact
    def __call__(self, x):
        x = nn.LayerNorm()(nn.Dense(4)(x))
        self.sow("intermediates", "hidden", x)
        return nn.Dropout(0.5, deterministic=False)(x)


class Logical(nn.Module):
    @nn.compact
    def __call__(self, x):
        init = nn.with_logical_partitioning(nn.initializers.ones, ("in", "out"))
        return x @ self.param("k", init, (3, 2))


class Mixed(nn.Module):
    @nn.compact
    def __call__(self, x):
        return bridge.to_linen(nnx.Linear, 3, 2, name="inner")(nn.Dense(3)(x))


class Native(bridge.Module):
    @bridge.compact
    def __call__(self, x):
        return x @ self.param("w", nn.initializers.normal(), (3, 2))


for name, module in {
    "dense": nn.Dense(2),
    "net": Net(),
    "rnn": nn.RNN(nn.LSTMCell(3)),
    "mixed": Mixed(),
}.items():
    x = X[None] if name == "rnn" else X
    wrapped = bridge.ToNNX(module, rngs=nnx.Rngs(0, dropout=1)).lazy_init(x)
    keep(name, wrapped(x), nnx.to_pure_dict(nnx.state(wrapped, nnx.Param)))
    graphdef, state = nnx.split(wrapped)
    keep(f"{name} again", nnx.merge(graphdef, state)(x))
for name, module in {
    "linear": bridge.to_linen(nnx.Linear, 3, 2),
    "batch norm": bridge.to_linen(nnx.BatchNorm, 3),
    "mixed": Mixed(),
    "native": Native(),
}.items():
    variables = module.init(jax.random.key(0), X)
    keep(f"{name} variables", variables)
    keep(f"{name} output", module.apply(variables, X, mutable=["batch_stats"]))

model = nnx.Linear(3, 4, rngs=nnx.Rngs(0))


@nnx.jit
def step(model, x):
    loss, grads = nnx.value_and_grad(lambda model: (model(x) ** 2).mean())(model)
    old = nnx.state(model, nnx.Param)
    nnx.update(model, jax.tree.map(lambda p, g: p - 0.1 * g, old, grads))
    return loss


keep("training", [step(model, X) for _ in range(3)], nnx.state(model))
# Without colours: only the released one dims the bytes of a total.
table = re.sub(r"\x1b\[[0-9;]*m", "", nnx.tabulate(model, X))
keep("text", str(nnx.state(model)), table)
keep("bytes", flax.serialization.to_bytes(nnx.to_pure_dict(nnx.state(model))))
boxed = nn.Partitioned(1.0, ("a",)).to_nnx_metadata()
keep("box", str(nn.Partitioned.from_nnx_metadata(dict(boxed))))
try:
    jax.jit(lambda x: setattr(model, "kernel", nnx.Param(x)))(X)
except flax.errors.TraceContextError as error:
    keep("error", type(error).__name__)
with (
    nnx.logical_axis_rules((("in", None), ("out", None))),
    jax.set_mesh(jax.make_mesh((1,), ("m",), axis_types=(jax.sharding.AxisType.Auto,))),
):
    wrapped = bridge.ToNNX(Logical(), rngs=nnx.Rngs(0)).lazy_init(X)
    keep("logical", wrapped(X), str(nnx.get_partition_spec(nnx.state(wrapped))))
json.dump(FOUND, sys.stdout)
