"""flaxmodels and jax-resnet: residual networks with random weights, on small images."""

from __future__ import annotations

import sys
from typing import Any

import flaxmodels
import jax
import jax.numpy as jnp
import jax_resnet
import numpy as np
import optax
from flax.training.train_state import TrainState
from record import Record


class State(TrainState):
    batch_stats: Any


def models() -> dict[str, tuple[Any, dict[str, Any], dict[str, Any]]]:
    """By name: the model, and what it is called with in training and in testing."""
    theirs = flaxmodels.ResNet18(output="logits", pretrained=None, num_classes=5)
    split: Any = jax_resnet.ResNeSt50Fast(n_classes=5)
    return {
        "flaxmodels": (theirs, {"train": True}, {"train": False}),
        "resnet": (jax_resnet.ResNet18(n_classes=5), {}, {}),
        "resnet_d": (jax_resnet.ResNetD18(n_classes=5), {}, {}),
        "split": (split, {}, {}),
    }


def main(out: str) -> None:
    record = Record()
    rng = np.random.default_rng(0)
    images = rng.uniform(0, 1, (2, 32, 32, 3)).astype(np.float32)
    labels = rng.integers(0, 5, 2)
    for name, (model, training, testing) in models().items():
        keys = {"params": jax.random.PRNGKey(0), "dropout": jax.random.PRNGKey(1)}
        variables = jax.jit(
            lambda keys, m=model, t=training: m.init(keys, images, **t)
        )(keys)
        record.exact(f"{name}/initial", variables)
        if name == "split":
            # The gradient of the smaller ones is enough.
            continue
        state = State.create(
            apply_fn=model.apply,
            params=variables["params"],
            batch_stats=variables["batch_stats"],
            tx=optax.sgd(0.01, momentum=0.9),
        )

        @jax.jit
        def step(state: State, training: Any = training) -> Any:
            def loss_fn(params: Any) -> Any:
                logits, changed = state.apply_fn(
                    {"params": params, "batch_stats": state.batch_stats},
                    images,
                    mutable=["batch_stats"],
                    **training,
                )
                losses = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
                return losses.mean(), changed

            grad = jax.value_and_grad(loss_fn, has_aux=True)
            (loss, changed), grads = grad(state.params)
            state = state.apply_gradients(
                grads=grads, batch_stats=changed["batch_stats"]
            )
            return state, loss

        state, loss = step(state)
        record.close(f"{name}/loss", loss)
        if testing:
            given = {"params": variables["params"], "batch_stats": state.batch_stats}
            record.close(f"{name}/tested", model.apply(given, images, **testing))
        assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(state.params))
        record.close(f"{name}/statistics", jnp.asarray(len(jax.tree.leaves(state))))
    record.save(out)


if __name__ == "__main__":
    main(sys.argv[1])
