"""Hugging Face diffusers: its flax UNet and VAE with random weights.

A small pair of them is made, run, differentiated, saved and loaded; an image is
denoised as the pipelines do it.
"""

from __future__ import annotations

import os
import sys
import tempfile
from typing import Any

os.environ["HF_HUB_OFFLINE"] = "1"

import jax
import jax.numpy as jnp
import numpy as np
import optax
from diffusers import FlaxAutoencoderKL, FlaxDDIMScheduler, FlaxUNet2DConditionModel
from flax.training.train_state import TrainState
from record import Record


def noise(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def unet(linear: bool) -> Any:
    return FlaxUNet2DConditionModel(
        sample_size=8,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        block_out_channels=(32, 64),
        layers_per_block=1,
        attention_head_dim=4,
        cross_attention_dim=16,
        use_linear_projection=linear,
    )


def record_unet(record: Record, name: str, model: Any) -> None:
    params = model.init_weights(jax.random.PRNGKey(0))
    record.exact(f"{name}/initial", params)
    latents, text = noise(0, 2, 4, 8, 8), noise(1, 2, 5, 16)
    times = jnp.array([3, 700])

    @jax.jit
    def predict(params: Any) -> jax.Array:
        return model.apply({"params": params}, latents, times, text).sample

    record.close(f"{name}/output", predict(params))
    state = TrainState.create(apply_fn=model.apply, params=params, tx=optax.adamw(1e-3))

    @jax.jit
    def step(state: TrainState) -> tuple[TrainState, jax.Array]:
        def loss_fn(params: Any) -> jax.Array:
            found = state.apply_fn({"params": params}, latents, times, text).sample
            return jnp.mean((found - noise(2, 2, 4, 8, 8)) ** 2)

        loss, grads = jax.value_and_grad(loss_fn)(state.params)
        return state.apply_gradients(grads=grads), loss

    losses = []
    for _ in range(2):
        state, loss = step(state)
        losses.append(loss)
    record.close(f"{name}/losses", jnp.stack(losses))

    scheduler = FlaxDDIMScheduler(num_train_timesteps=50)
    schedule = scheduler.set_timesteps(scheduler.create_state(), 4, latents.shape)
    sample = jnp.asarray(latents)
    for time in schedule.timesteps:
        at = jnp.full(2, time)
        found = model.apply({"params": params}, sample, at, text).sample
        sample = scheduler.step(schedule, found, time, sample).prev_sample
    record.close(f"{name}/denoised", sample)


def record_vae(record: Record) -> None:
    model: Any = FlaxAutoencoderKL(
        block_out_channels=(32, 32),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        sample_size=16,
    )
    params = model.init_weights(jax.random.PRNGKey(1))
    record.exact("vae/initial", params)
    image = noise(3, 2, 3, 16, 16)

    @jax.jit
    def run(params: Any, key: jax.Array) -> Any:
        code = model.apply({"params": params}, image, method=model.encode).latent_dist
        latents = code.sample(key)
        found = model.apply({"params": params}, latents, method=model.decode)
        whole = model.apply({"params": params}, image, True, rngs={"gaussian": key})
        return code.mean, latents, found.sample, whole.sample

    record.close("vae/output", run(params, jax.random.PRNGKey(2)))
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder, params=params)
        with open(f"{folder}/diffusion_flax_model.msgpack", "rb") as file:
            record.exact("vae/file", np.frombuffer(file.read(), np.uint8))
        again, loaded = FlaxAutoencoderKL.from_pretrained(folder)
    record.exact("vae/loaded", loaded)
    assert again.config.sample_size == 16


def main(out: str) -> None:
    record = Record()
    record_unet(record, "unet", unet(linear=False))
    record_unet(record, "unet_linear", unet(linear=True))
    record_vae(record)
    record.save(out)


if __name__ == "__main__":
    main(sys.argv[1])
