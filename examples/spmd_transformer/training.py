"""The state and the step, sharded by the rules of a layout."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import optax
from jax import numpy as jnp
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from layout import Layout
from model import Config, Transformer

from batiste import spmd
from batiste.training.train_state import TrainState

__all__ = ["Program", "abstract_state", "make_program"]


@dataclass(frozen=True)
class Program:
    """What there is to run.

    Attributes:
      layout, mesh: how everything is laid out, over which devices.
      create: makes the state from a key, sharded.
      step: `(state, batch) -> (state, loss)`, jitted, to be traced where the layout is
        in force.
      state: the state's arrays as `jax.ShapeDtypeStruct`s, with their shardings.
      batch: the sharding of a batch's arrays.
    """

    layout: Layout
    mesh: Mesh
    create: Callable[[jax.Array], TrainState]
    step: Any
    state: TrainState
    batch: NamedSharding

    def run_step(self, state: TrainState, batch: Any) -> tuple[TrainState, jax.Array]:
        """One step; the old state is used up."""
        with self.layout.in_force(self.mesh):
            return self.step(state, batch)


def make_program(
    config: Config, layout: Layout, mesh: Mesh, learning_rate: float = 1e-3
) -> Program:
    """Lays a model out. Nothing is compiled or allocated yet."""
    create, abstract = abstract_state(config, learning_rate)
    with spmd.logical_axis_rules(layout.rules):
        shardings = spmd.get_sharding(abstract, mesh)
        batch = spmd.logical_to_mesh_sharding(
            PartitionSpec("batch", "length"), mesh, layout.rules
        )
    whole = NamedSharding(mesh, PartitionSpec())

    return Program(
        layout=layout,
        mesh=mesh,
        create=jax.jit(create, out_shardings=shardings),
        step=jax.jit(
            train_step,
            in_shardings=(shardings, batch),
            out_shardings=(shardings, whole),
            donate_argnums=0,
        ),
        state=jax.tree.map(_with_sharding, shardings, abstract),
        batch=batch,
    )


def abstract_state(
    config: Config, learning_rate: float = 1e-3
) -> tuple[Callable[[jax.Array], TrainState], Any]:
    """What creates the state from a key, and the state without its values, boxed."""
    model = Transformer(config)

    # One object: states with an optimizer each are no trees of one structure.
    tx = optax.chain(
        optax.clip_by_global_norm(1.0),
        optax.adamw(learning_rate, weight_decay=0.01),
    )

    def create(key: jax.Array) -> TrainState:
        # Parameters do not depend on the size of the batch.
        variables = model.init(key, jnp.zeros((1, 1), jnp.int32))
        return TrainState.create(
            apply_fn=model.apply, params=variables["params"], tx=tx
        )

    return create, jax.eval_shape(create, jax.random.key(0))


def train_step(state: TrainState, batch: Any) -> tuple[TrainState, jax.Array]:
    """Descends the gradient of the loss of a batch; returns that loss too."""

    def loss_fn(params: Any) -> tuple[jax.Array, jax.Array]:
        logits, unbalance = state.apply_fn({"params": params}, batch["inputs"])
        # Not a look-up of the target's logit: a product and a sum work on the part of
        # the vocabulary that a device has.
        target = jax.nn.one_hot(batch["targets"], logits.shape[-1])
        picked = (logits * target).sum(-1)
        loss = (jax.nn.logsumexp(logits, axis=-1) - picked).mean()
        return loss + 0.01 * unbalance, loss

    grads, loss = jax.grad(loss_fn, has_aux=True)(state.params)
    return state.apply_gradients(grads=grads), loss


def _with_sharding(sharding: NamedSharding, arrays: Any) -> Any:
    def described(array: Any) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct(array.shape, array.dtype, sharding=sharding)

    return jax.tree.map(described, arrays)
