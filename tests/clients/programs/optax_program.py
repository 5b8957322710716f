"""optax and chex around flax modules.

Masks and groups made from parameter paths, accumulation, schedules that react to the
loss, averages, L-BFGS; chex assertions on variables, a chex dataclass as carry.
"""

from __future__ import annotations

import sys
from typing import Any

import chex
import flax
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import traverse_util
from flax.core import FrozenDict, freeze
from flax.training.train_state import TrainState
from record import Record


class Net(nn.Module):
    features: int = 16

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        x = nn.LayerNorm()(nn.tanh(nn.Dense(self.features, name="first")(x)))
        x = nn.tanh(nn.Dense(self.features, name="second")(x))
        return nn.Dense(1, name="head")(x)[..., 0]


@chex.dataclass
class Carry:
    hidden: chex.Array
    steps: chex.Array


class Cell(nn.Module):
    @nn.compact
    def __call__(self, carry: Carry, x: jax.Array) -> tuple[Carry, jax.Array]:
        hidden = nn.tanh(nn.Dense(4)(jnp.concatenate([carry.hidden, x], -1)))
        carry = carry.replace(hidden=hidden, steps=carry.steps + 1)  # pyright: ignore
        return carry, hidden.sum(-1)


def no_biases(params: Any) -> Any:
    flat = traverse_util.flatten_dict(params)
    return traverse_util.unflatten_dict({k: k[-1] == "kernel" for k in flat})


def groups(params: Any) -> Any:
    def name(path: tuple[str, ...], _: Any) -> str:
        return "still" if path[0] == "first" else "moving"

    return traverse_util.path_aware_map(name, params)


OPTIMIZERS = {
    "adamw_masked": optax.adamw(0.01, weight_decay=0.1, mask=no_biases),
    "groups": optax.multi_transform(
        {"still": optax.set_to_zero(), "moving": optax.sgd(0.05, momentum=0.9)}, groups
    ),
    "accumulated": optax.MultiSteps(optax.adam(0.01), every_k_schedule=3),
    "clipped": optax.chain(
        optax.clip_by_global_norm(0.5),
        optax.adafactor(0.01, min_dim_size_to_factor=8),
    ),
    "injected": optax.inject_hyperparams(optax.lion)(
        learning_rate=optax.cosine_decay_schedule(0.01, 20)
    ),
    "schedule_free": optax.contrib.schedule_free_adamw(0.01),
    "muon": optax.contrib.muon(0.02),
}


def main(out: str) -> None:
    record = Record()
    rng = np.random.default_rng(0)
    x = rng.standard_normal((64, 6)).astype(np.float32)
    y = np.sin(x.sum(-1)).astype(np.float32)
    net = Net()
    params = flax.core.unfreeze(net.init(jax.random.key(3), x)["params"])
    record.exact("initial", params)
    chex.assert_tree_all_finite(params)
    chex.assert_shape(params["first"]["kernel"], (6, 16))
    assert isinstance(freeze(params), FrozenDict)
    chex.assert_trees_all_equal(freeze(params).unfreeze(), params)
    chex.assert_trees_all_equal_shapes_and_dtypes(
        freeze(params), jax.tree_util.tree_map(jnp.zeros_like, freeze(params))
    )

    def loss_fn(params: Any) -> jax.Array:
        return jnp.mean((net.apply({"params": params}, x) - y) ** 2)

    record.close("gradient", jax.grad(loss_fn)(params))
    record.close(
        "hessian_diagonal", jax.jvp(jax.grad(loss_fn), (params,), (params,))[1]
    )

    for name, tx in OPTIMIZERS.items():
        chex.clear_trace_counter()
        state = TrainState.create(apply_fn=net.apply, params=params, tx=tx)

        @jax.jit
        @chex.assert_max_traces(n=1)
        def step(state: TrainState) -> tuple[TrainState, jax.Array]:
            loss, grads = jax.value_and_grad(loss_fn)(state.params)
            return state.apply_gradients(grads=grads), loss

        losses = []
        for _ in range(12):
            state, loss = step(state)
            losses.append(loss)
        assert losses[-1] < losses[0], name
        record.close(f"{name}/losses", jnp.stack(losses))
        record.close(f"{name}/params", state.params)

    frozen = freeze(params)
    tx = optax.lbfgs()
    opt_state = tx.init(frozen)
    value_and_grad = optax.value_and_grad_from_state(loss_fn)

    @jax.jit
    def lbfgs_step(params: Any, opt_state: Any):
        value, grad = value_and_grad(params, state=opt_state)
        updates, opt_state = tx.update(
            grad, opt_state, params, value=value, grad=grad, value_fn=loss_fn
        )
        return optax.apply_updates(params, updates), opt_state, value

    for _ in range(4):
        frozen, opt_state, value = lbfgs_step(frozen, opt_state)
    record.close("lbfgs/value", value)
    record.close("lbfgs/params", frozen)

    scan = nn.scan(
        Cell,
        variable_broadcast="params",
        split_rngs={"params": False},
        in_axes=1,
        out_axes=1,
    )()
    start = Carry(hidden=jnp.zeros((2, 4)), steps=jnp.zeros((), jnp.int32))  # pyright: ignore
    variables = scan.init(jax.random.key(4), start, jnp.ones((2, 5, 3)))
    record.exact("scan/initial", variables)
    inputs = jnp.asarray(rng.standard_normal((2, 5, 3)), jnp.float32)
    carry, outputs = scan.apply(variables, start, inputs)
    record.exact("scan/steps", carry.steps)
    record.close("scan/hidden", carry.hidden)
    record.close("scan/outputs", outputs)
    record.save(out)


if __name__ == "__main__":
    main(sys.argv[1])
