"""The training state and the jitted steps, over all devices of all processes.

There is one mesh with one axis. Batches are split over it, all else is on every device.
A step is written for the whole batch, and XLA adds what goes between the devices: the
sums of gradients, and those of the batch statistics, which are therefore synchronized.
"""

from __future__ import annotations

import functools
from typing import Any

import jax
import numpy as np
import optax
from jax import numpy as jnp
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
from models import create_model

from batiste.core import struct
from batiste.training import train_state
from batiste.training.dynamic_scale import DynamicScale

__all__ = [
    "Metrics",
    "Program",
    "TrainState",
    "abstract_state",
    "create_state",
    "learning_rate_schedule",
    "make_optimizer",
]


class Metrics(struct.PyTreeNode):
    """Sums over the examples seen so far."""

    loss: Any
    correct: Any
    count: Any

    @classmethod
    def empty(cls) -> Metrics:
        """Returns the sums over no example."""
        return cls(loss=jnp.zeros(()), correct=jnp.zeros(()), count=jnp.zeros(()))

    def add(self, losses: jax.Array, logits: jax.Array, labels: Any, weights: Any):
        """Takes in losses (batch,), logits (batch, classes), labels and weights."""
        correct = (logits.argmax(-1) == labels) * weights
        return Metrics(
            loss=self.loss + (losses * weights).sum(),
            correct=self.correct + correct.sum(),
            count=self.count + weights.sum(),
        )

    def compute(self) -> dict[str, float]:
        """The mean loss and the share of right answers."""
        count = max(float(self.count), 1.0)
        return {
            "loss": float(self.loss) / count,
            "accuracy": float(self.correct) / count,
        }


class TrainState(train_state.TrainState):
    """Parameters, optimizer, statistics, loss scale, and the metrics of the epoch."""

    batch_stats: Any
    dynamic_scale: DynamicScale | None
    metrics: Metrics


def learning_rate_schedule(config: Any, steps_per_epoch: int) -> Any:
    """Rises along a line while warming up, then falls to 0 along a cosine.

    The peak grows with the batch: `config.learning_rate` is that for 256 images.
    """
    steps = config.num_epochs * steps_per_epoch
    warmup = round(config.warmup_epochs * steps_per_epoch)
    return optax.warmup_cosine_decay_schedule(
        init_value=0.0,
        peak_value=config.learning_rate * config.batch_size / 256,
        warmup_steps=min(warmup, steps // 2),  # also where a run is cut short
        decay_steps=steps,
    )


def make_optimizer(config: Any, steps_per_epoch: int) -> optax.GradientTransformation:
    """Gradient descent with Nesterov's momentum; kernels decay, nothing else does."""

    def kernels(params: Any) -> Any:
        return jax.tree.map(lambda array: array.ndim > 1, params)

    return optax.chain(
        optax.add_decayed_weights(config.weight_decay, mask=kernels),
        optax.sgd(
            learning_rate_schedule(config, steps_per_epoch),
            momentum=config.momentum,
            nesterov=True,
        ),
    )


def create_state(config: Any, steps_per_epoch: int, key: jax.Array) -> TrainState:
    """A fresh state; only float16 has a loss scale."""
    model = create_model(config)
    image = jnp.zeros((1, config.image_size, config.image_size, 3))
    variables = model.init(key, image)
    scale = None
    if config.dtype == "float16":
        # Arrays, not numbers: the state has the same types before and after a step.
        scale = DynamicScale(fin_steps=jnp.int32(0), scale=jnp.float32(65536.0))
    return TrainState.create(
        apply_fn=model.apply,
        params=variables["params"],
        tx=make_optimizer(config, steps_per_epoch),
        batch_stats=variables["batch_stats"],
        dynamic_scale=scale,
        metrics=Metrics.empty(),
    ).replace(step=jnp.int32(0))


def abstract_state(config: Any, steps_per_epoch: int) -> Any:
    """The state without its values: every array is a `jax.ShapeDtypeStruct`."""
    create = functools.partial(create_state, config, steps_per_epoch)
    return jax.eval_shape(create, jax.random.key(0))


class Program:
    """The jitted functions, and where their arrays are.

    Args:
      config: the config.
      steps_per_epoch: how many steps an epoch has.
      devices: those to use; by default all of all processes.

    Attributes:
      create: makes the state from a key.
      train_step: `(state, batch) -> state`; the old state is used up.
      eval_step: `(state, metrics, batch) -> metrics`.
    """

    def __init__(self, config: Any, steps_per_epoch: int, devices: Any = None):
        devices = jax.devices() if devices is None else devices
        if config.batch_size % len(devices):
            raise ValueError(
                f"config.batch_size is {config.batch_size}, which {len(devices)} "
                "devices cannot share evenly. Choose a multiple of their number."
            )
        self.config = config
        self.mesh = Mesh(np.asarray(devices), ("data",), axis_types=(AxisType.Auto,))
        self.whole = NamedSharding(self.mesh, PartitionSpec())
        self.split = NamedSharding(self.mesh, PartitionSpec("data"))
        state = abstract_state(config, steps_per_epoch)

        def placed(array: Any) -> jax.ShapeDtypeStruct:
            return jax.ShapeDtypeStruct(array.shape, array.dtype, sharding=self.whole)

        self.state = jax.tree.map(placed, state)
        self.create = jax.jit(
            functools.partial(create_state, config, steps_per_epoch),
            out_shardings=self.whole,
        )
        self.train_step = jax.jit(
            functools.partial(train_step, config),
            in_shardings=(self.whole, self.split),
            out_shardings=self.whole,
            donate_argnums=0,
        )
        self.eval_step = jax.jit(
            functools.partial(eval_step, config),
            in_shardings=(self.whole, self.whole, self.split),
            out_shardings=self.whole,
        )

    @property
    def rows(self) -> slice:
        """The examples of a batch that the devices of this process hold."""
        shape = (self.config.batch_size,)
        parts = self.split.addressable_devices_indices_map(shape).values()
        ranges = [part[0].indices(shape[0]) for part in parts if part is not None]
        return slice(min(r[0] for r in ranges), max(r[1] for r in ranges))

    def on_devices(self, batch: dict[str, np.ndarray]) -> dict[str, jax.Array]:
        """The arrays over all processes, of the rows of this one."""
        size = self.config.batch_size
        return {
            name: jax.make_array_from_process_local_data(
                self.split, part, (size, *part.shape[1:])
            )
            for name, part in batch.items()
        }


def normalize(config: Any, image: jax.Array) -> jax.Array:
    """Pixels as numbers around 0, in the dtype of the computation."""
    mean, std = jnp.asarray(config.pixel_mean), jnp.asarray(config.pixel_std)
    return ((image / 255.0 - mean) / std).astype(config.dtype)


def train_step(config: Any, state: TrainState, batch: Any) -> TrainState:
    """Descends the gradient of the loss of one batch.

    In float16, a step whose gradients are not finite changes only the loss scale.
    """

    def loss_fn(params: Any) -> tuple[jax.Array, tuple[jax.Array, jax.Array, Any]]:
        logits, updates = state.apply_fn(
            {"params": params, "batch_stats": state.batch_stats},
            normalize(config, batch["image"]),
            train=True,
            mutable=["batch_stats"],
        )
        targets = jax.nn.one_hot(batch["label"], logits.shape[-1])
        targets = optax.smooth_labels(targets, config.label_smoothing)
        losses = optax.softmax_cross_entropy(logits, targets)
        return losses.mean(), (losses, logits, updates["batch_stats"])

    if state.dynamic_scale is None:
        grad_fn = jax.grad(loss_fn, has_aux=True)
        grads, (losses, logits, batch_stats) = grad_fn(state.params)
        stepped = state.apply_gradients(grads=grads, batch_stats=batch_stats)
    else:
        result = state.dynamic_scale.value_and_grad(loss_fn, has_aux=True)(state.params)
        losses, logits, batch_stats = result.aux[1]
        stepped = state.apply_gradients(grads=result.grad, batch_stats=batch_stats)
        choose = functools.partial(jnp.where, result.finite)
        stepped = stepped.replace(
            params=jax.tree.map(choose, stepped.params, state.params),
            opt_state=jax.tree.map(choose, stepped.opt_state, state.opt_state),
            batch_stats=jax.tree.map(choose, batch_stats, state.batch_stats),
            dynamic_scale=result.dynamic_scale,
        )
    ones = jnp.ones(losses.shape)
    metrics = state.metrics.add(losses, logits, batch["label"], ones)
    return stepped.replace(metrics=metrics)


def eval_step(config: Any, state: TrainState, metrics: Metrics, batch: Any) -> Metrics:
    """Adds one batch to the metrics; the loss is without smoothing."""
    logits = state.apply_fn(
        {"params": state.params, "batch_stats": state.batch_stats},
        normalize(config, batch["image"]),
        train=False,
    )
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, batch["label"])
    return metrics.add(losses, logits, batch["label"], batch["weight"])
