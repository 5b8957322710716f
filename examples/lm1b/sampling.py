"""Writing texts: sampling from a model that keeps keys and values."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
from jax import numpy as jnp
from models import Config, LanguageModel

__all__ = ["choose", "sample"]


def choose(
    key: jax.Array, logits: jax.Array, temperature: float, top: int = 0
) -> jax.Array:
    """Draws a token for each row of logits (batch, vocab).

    Args:
      key: of the randomness.
      logits: of the tokens.
      temperature: below 1, probable tokens become more probable; at 0, the most
        probable one is taken.
      top: draw among so many tokens, the most probable; 0 is all.
    """
    if temperature == 0:
        return logits.argmax(-1)
    if top:
        least = jax.lax.top_k(logits, top)[0][:, -1:]
        logits = jnp.where(logits < least, -jnp.inf, logits)
    return jax.random.categorical(key, logits / temperature)


def sample(
    config: Config,
    params: Any,
    prompts: jax.Array,
    length: int,
    key: jax.Array,
    eos: int,
    temperature: float = 1.0,
    top: int = 0,
) -> jax.Array:
    """Continues texts.

    Args:
      config: of the model.
      params: of the model.
      prompts: the beginnings (batch, prompt length), with 0 behind shorter ones.
      length: tokens of the whole, at least as many as of the prompts.
      key: of the randomness; each place of the texts has its own, derived from it.
      eos: the token that ends a text.
      temperature: as in `choose`.
      top: as in `choose`.

    Returns:
      Tokens (batch, length), 0 behind `eos`.
    """
    model = LanguageModel(dataclasses.replace(config, decode=True))
    given = jnp.pad(prompts, ((0, 0), (0, length - prompts.shape[1])))
    shapes: Any = jax.eval_shape(
        lambda: model.init(jax.random.key(0), given, method="following")["cache"]
    )
    cache = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)

    def step(carry: Any, at: jax.Array) -> tuple[Any, jax.Array]:
        last, ended, cache = carry
        logits, changed = model.apply(
            {"params": params, "cache": cache},
            last[:, None],
            method="following",
            mutable=["cache"],
        )
        key_here = jax.random.fold_in(key, at)
        token = choose(key_here, logits[:, 0], temperature, top)
        token = jnp.where(given[:, at] > 0, given[:, at], token)
        token = jnp.where(ended, 0, token)
        return (token, ended | (token == eos), changed["cache"]), token

    count = len(prompts)
    start = (jnp.zeros(count, prompts.dtype), jnp.zeros(count, bool), cache)
    _, tokens = jax.lax.scan(step, start, jnp.arange(length))
    return tokens.T
