"""The state, and the jitted functions of a run, laid out over a mesh."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import input_pipeline
import jax
import layout
import optax
import sampling
from jax import numpy as jnp
from jax.sharding import Mesh, NamedSharding
from models import Config, LanguageModel, make_config
from tokenizer import EOS

from batiste import spmd
from batiste.training.train_state import TrainState

__all__ = ["Program", "abstract_state", "schedule", "token_losses"]


def schedule(config: Any) -> Any:
    """Rises to `config.learning_rate`, then falls with the root of the step."""
    peak, warmup = config.learning_rate, config.warmup_steps

    def rate(step: Any) -> Any:
        step = jnp.maximum(step + 1, 1)
        return peak * jnp.minimum(step / warmup, (warmup / step) ** 0.5)

    return rate


def token_losses(logits: Any, targets: Any, smoothing: float) -> tuple[Any, Any]:
    """The loss of each token, with its label smoothed, and without.

    Args:
      logits: (batch, length, vocab).
      targets: (batch, length).
      smoothing: the probability that is spread over all tokens alike.
    """
    total = jax.nn.logsumexp(logits, axis=-1)
    # Not a look-up of the target's logit: a product and a sum work on the part of the
    # vocabulary that a device has.
    picked = (logits * jax.nn.one_hot(targets, logits.shape[-1])).sum(-1)
    sharp = total - picked
    spread = total - logits.mean(-1)
    return (1 - smoothing) * sharp + smoothing * spread, sharp


def _sums(logits: Any, losses: Any, batch: Any) -> dict[str, jax.Array]:
    weights = (batch["segments"] > 0).astype(jnp.float32)
    right = logits.argmax(-1) == batch["tokens"]
    return {
        "loss": (losses * weights).sum(),
        "accuracy": (right * weights).sum(),
        "tokens": weights.sum(),
    }


def abstract_state(config: Any, vocab_size: int) -> tuple[Any, Any]:
    """What creates the state from a key, and the state without its values, boxed."""
    model = LanguageModel(make_config(config, vocab_size))
    # Parameters do not depend on the size of the batch.
    names = ("tokens", "positions", "segments")
    one = {name: jnp.zeros((1, 1), jnp.int32) for name in names}
    # Made once: states with other functions are not of the same structure.
    apply_fn = model.apply
    tx = optax.chain(
        optax.clip_by_global_norm(1.0),
        optax.adamw(
            schedule(config), b2=0.98, eps=1e-9, weight_decay=config.weight_decay
        ),
    )

    def create(key: jax.Array) -> TrainState:
        params = model.init(key, one)["params"]
        return TrainState.create(apply_fn=apply_fn, params=params, tx=tx)

    return create, jax.eval_shape(create, jax.random.key(0))


@dataclasses.dataclass
class Program:
    """What there is to run; nothing is compiled or allocated yet.

    Attributes:
      config: of the run.
      vocab_size: of the tokenizer.
      mesh: the devices.
    """

    config: Any
    vocab_size: int
    mesh: Mesh

    def __post_init__(self):
        """Lays everything out."""
        self.batch_sharding = layout.batch_sharding(self.config, self.mesh)
        self.create_fn, abstract = abstract_state(self.config, self.vocab_size)
        with spmd.logical_axis_rules(layout.rules(self.config)):
            self.shardings = spmd.get_sharding(abstract, self.mesh)
        # What a restored checkpoint is to be like.
        self.state = jax.tree.map(_with_sharding, self.shardings, abstract)

    @property
    def multiple(self) -> int:
        """What the number of rows of a batch is a multiple of."""
        return self.batch_sharding.num_devices // _copies(self.batch_sharding)

    @property
    def model_config(self) -> Config:
        """The sizes of the model."""
        return make_config(self.config, self.vocab_size)

    def create(self) -> TrainState:
        """A fresh state, from the seed."""
        with layout.in_force(self.config, self.mesh):
            create = jax.jit(self.create_fn, out_shardings=self.shardings)
            return create(jax.random.key(self.config.seed))

    def put(self, batch: input_pipeline.Batch) -> dict[str, jax.Array]:
        """The batch, on the devices."""
        return input_pipeline.on_devices(batch, self.batch_sharding)

    def train_step(self, state: TrainState, batch: Any) -> tuple[TrainState, Any]:
        """Descends the gradient of a batch; returns sums over its tokens too.

        The old state is used up.
        """
        with layout.in_force(self.config, self.mesh):
            return self.compiled_step(state, batch)

    def eval_step(self, params: Any, batch: Any) -> Any:
        """Sums over the tokens of a batch."""
        with layout.in_force(self.config, self.mesh):
            return self._compiled_eval(params, batch)

    def sample(self, params: Any, prompts: Any, key: jax.Array) -> jax.Array:
        """Continues texts (batch, prompt length) to tokens (batch, length)."""
        with layout.in_force(self.config, self.mesh):
            return self._compiled_sample(params, prompts, key)

    @functools.cached_property
    def compiled_step(self) -> Any:
        """The training step, jitted, to be called where the layout is in force."""
        config = self.config

        def step(state: TrainState, batch: Any) -> tuple[TrainState, Any]:
            key = jax.random.fold_in(jax.random.key(config.seed), state.step)

            def loss_fn(params: Any) -> tuple[jax.Array, Any]:
                logits = state.apply_fn(
                    {"params": params}, batch, train=True, rngs={"dropout": key}
                )
                smooth, sharp = token_losses(
                    logits, batch["tokens"], config.label_smoothing
                )
                sums = _sums(logits, sharp, batch)
                weights = batch["segments"] > 0
                return (smooth * weights).sum() / sums["tokens"], sums

            grads, sums = jax.grad(loss_fn, has_aux=True)(state.params)
            return state.apply_gradients(grads=grads), sums

        return jax.jit(
            step,
            in_shardings=(self.shardings, self.batch_sharding),
            out_shardings=(self.shardings, layout.whole(self.mesh)),
            donate_argnums=0,
        )

    @functools.cached_property
    def _compiled_eval(self) -> Any:
        model = LanguageModel(self.model_config)

        def step(params: Any, batch: Any) -> Any:
            logits = model.apply({"params": params}, batch)
            return _sums(logits, token_losses(logits, batch["tokens"], 0.0)[1], batch)

        return jax.jit(step, out_shardings=layout.whole(self.mesh))

    @functools.cached_property
    def _compiled_sample(self) -> Any:
        config = self.config

        def sample(params: Any, prompts: Any, key: jax.Array) -> jax.Array:
            return sampling.sample(
                self.model_config,
                params,
                prompts,
                config.max_length,
                key,
                EOS,
                config.temperature,
                config.top,
            )

        return jax.jit(sample, out_shardings=layout.whole(self.mesh))


def _copies(sharding: NamedSharding) -> int:
    """On how many devices each row is."""
    rows = sharding.mesh.size
    first = sharding.spec[0] if sharding.spec else None
    axes = () if first is None else (first,) if isinstance(first, str) else first
    for axis in axes:
        rows //= sharding.mesh.shape[axis]
    return rows


def _with_sharding(sharding: NamedSharding, arrays: Any) -> Any:
    def described(array: Any) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct(array.shape, array.dtype, sharding=sharding)

    return jax.tree.map(described, arrays)
