"""A quantized Dense as quantization libraries and language models have it.

It is injected as `dot_general_cls`, keeps what it learns about its inputs in a
collection of its own, and finds the name of the layer that it serves on the stack of
modules. Products in 8-bit floating numbers are trained beside it.
"""

from __future__ import annotations

import sys
import warnings
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import traverse_util
from flax.linen import fp8_ops
from flax.linen.module import _context  # pyright: ignore
from flax.training.train_state import TrainState
from record import Record

WIDTH = 16
BITS = {"up": 8, "down": 4}
seen: list[str] = []


def path_of_module() -> tuple[str, ...]:
    return tuple(_context.module_stack[-1].path)


class QuantizedDotGeneral(nn.Module):
    """Rounds both factors to a few bits, which the layer's name decides."""

    @nn.compact
    def __call__(
        self,
        lhs: jax.Array,
        rhs: jax.Array,
        dimension_numbers: Any,
        precision: Any = None,
        preferred_element_type: Any = None,
    ) -> jax.Array:
        path = path_of_module()
        seen.append("/".join(path))
        bits = next((BITS[name] for name in path if name in BITS), 8)
        amax = self.variable("aqt", "amax", jnp.zeros, ())
        if self.is_mutable_collection("aqt"):
            amax.value = jnp.maximum(0.9 * amax.value, jnp.abs(lhs).max())
        lhs, rhs = (
            rounded(lhs, amax.value, bits),
            rounded(rhs, jnp.abs(rhs).max(), bits),
        )
        return jax.lax.dot_general(lhs, rhs, dimension_numbers, precision)


def rounded(x: jax.Array, amax: jax.Array, bits: int) -> jax.Array:
    scale = (2 ** (bits - 1) - 1) / jnp.maximum(amax, 1e-6)
    near = jnp.clip(jnp.round(x * scale), -(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    return x + jax.lax.stop_gradient(near / scale - x)


class Block(nn.Module):
    product: Any

    @nn.compact
    def __call__(self, x: jax.Array, _: Any = None) -> tuple[jax.Array, None]:
        seen.append("/".join(path_of_module()))
        y = nn.LayerNorm()(x)
        y = nn.Dense(2 * WIDTH, name="up", dot_general_cls=self.product)(y)
        y = nn.DenseGeneral(WIDTH, name="down", dot_general_cls=self.product)(
            nn.gelu(y)
        )
        return x + y, None


class Net(nn.Module):
    product: Any
    scanned: bool = True

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        if self.scanned:
            axes = {"params": 0, "aqt": 0, "_overwrite_with_gradient": 0}
            blocks = nn.scan(
                nn.remat(Block, prevent_cse=False),
                variable_axes=axes,
                split_rngs={"params": True},
                length=2,
            )
            x, _ = blocks(self.product, name="layers")(x, None)
        else:
            for index in range(2):
                x, _ = Block(self.product, name=f"layers_{index}")(x)
        return nn.Dense(3, name="head", dot_general_cls=self.product)(x)


def train(record: Record, name: str, net: Net) -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((8, WIDTH)).astype(np.float32)
    goal = rng.standard_normal((8, 3)).astype(np.float32)
    seen.clear()
    variables = net.init(jax.random.PRNGKey(0), x)
    # Lifted transforms trace a module as often as they like.
    record.exact(f"{name}/paths", "\n".join(sorted(set(seen))))
    record.exact(f"{name}/initial", variables)
    record.exact(
        f"{name}/names",
        "\n".join(sorted(traverse_util.flatten_dict(variables, sep="/"))),
    )
    aqt = dict(variables).pop("aqt", {})
    trained = {key: value for key, value in dict(variables).items() if key != "aqt"}
    if "_overwrite_with_gradient" not in trained:
        trained = trained["params"]
    state = TrainState.create(apply_fn=net.apply, params=trained, tx=optax.adam(0.01))

    @jax.jit
    def step(state: TrainState, aqt: Any) -> Any:
        def loss_fn(params: Any) -> Any:
            given = params if "params" in params else {"params": params}
            y, changed = state.apply_fn({**given, "aqt": aqt}, x, mutable=["aqt"])
            return jnp.mean((y - goal) ** 2), changed

        (loss, changed), grads = jax.value_and_grad(loss_fn, has_aux=True)(state.params)
        return state.apply_gradients(grads=grads), changed.get("aqt", {}), loss

    losses = []
    for _ in range(4):
        state, aqt, loss = step(state, aqt)
        losses.append(loss)
    record.close(f"{name}/losses", jnp.stack(losses))
    record.close(f"{name}/statistics", aqt)
    record.close(f"{name}/trained", state.params)


def main(out: str) -> None:
    warnings.simplefilter("ignore", DeprecationWarning)
    record = Record()
    products = {
        "int": QuantizedDotGeneral,
        "fp8": nn.Fp8DotGeneral,
        "nanoo": nn.NANOOFp8DotGeneralOp,
        "qdq": fp8_ops.Fp8DotGeneralOp,
    }
    for name, product in products.items():
        for scanned in (True, False):
            train(record, f"{name}_{scanned}", Net(product, scanned))
    record.save(out)


if __name__ == "__main__":
    main(sys.argv[1])
