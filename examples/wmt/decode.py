"""Translating: beam search over a decoder that keeps keys and values."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
from blocks import segment_mask
from jax import numpy as jnp
from models import Config, Translator

__all__ = ["beam_search", "length_penalty", "translate"]

Step = Callable[[jax.Array, Any], tuple[jax.Array, Any]]


class _State(NamedTuple):
    """What the search knows; `live` go on, `done` have ended with EOS.

    Tokens are (batch, beams, length). Scores are (batch, beams): of what is live the
    logarithm of its probability, of what is done that over its length penalty.
    """

    at: jax.Array
    live: jax.Array
    live_scores: jax.Array
    done: jax.Array
    done_scores: jax.Array
    cache: Any


def length_penalty(length: Any, alpha: float) -> Any:
    """What a score is divided by, as in Wu et al., 2016, arXiv:1609.08144.

    Longer sentences are less probable; `alpha` says how much of that to forgive.
    """
    return ((5 + length) / 6) ** alpha


def beam_search(
    step: Step,
    cache: Any,
    batch: int,
    beams: int,
    length: int,
    eos: int,
    alpha: float = 0.6,
) -> tuple[jax.Array, jax.Array]:
    """Finds probable sentences.

    Args:
      step: `(tokens, cache) -> (logits, cache)`: from the last tokens
        (batch * beams, 1), first 0, to the logits of the next ones
        (batch * beams, vocab).
      cache: what the first step gets; a pytree, of which arrays with dimensions have
        `batch * beams` as the first.
      batch: sentences to search.
      beams: how many beginnings are kept.
      length: the most tokens that a sentence has, EOS included.
      eos: the token that ends one.
      alpha: of `length_penalty`, at least 0.

    Returns:
      The tokens (batch, beams, length), 0 behind EOS, the best first, and their scores
      (batch, beams). Where fewer sentences have ended, the scores of the others are
      minus infinity; where none has, the sentences are those that have not.
    """
    rows = jnp.arange(batch)[:, None]

    def begin() -> _State:
        tokens = jnp.zeros((batch, beams, length), jnp.int32)
        none = jnp.full((batch, beams), -jnp.inf)
        # All beams begin alike: only one of them counts.
        return _State(jnp.int32(0), tokens, none.at[:, 0].set(0.0), tokens, none, cache)

    def goes_on(s: _State) -> jax.Array:
        # No score of what is live can come to more than this.
        bound = s.live_scores[:, 0] / length_penalty(length, alpha)
        return (s.at < length) & (s.done_scores[:, -1] < bound).any()

    def advance(s: _State) -> _State:
        before = s.live[:, :, jnp.maximum(s.at - 1, 0)]
        last = jnp.where(s.at > 0, before, 0).reshape(-1, 1)
        logits, cache = step(last, s.cache)
        scores = jax.nn.log_softmax(logits).reshape(batch, beams, -1)
        vocab = scores.shape[-1]
        scores = (scores + s.live_scores[..., None]).reshape(batch, -1)
        # At most one of each beam ends, so twice as many leave enough that go on.
        scores, chosen = jax.lax.top_k(scores, 2 * beams)
        beam, token = chosen // vocab, chosen % vocab
        tokens = s.live[rows, beam].at[:, :, s.at].set(token)

        ended = jnp.where(token == eos, scores, -jnp.inf)
        ended = ended / length_penalty(s.at + 1, alpha)
        done_scores = jnp.concatenate([s.done_scores, ended], axis=1)
        done_scores, best = jax.lax.top_k(done_scores, beams)
        done = jnp.concatenate([s.done, tokens], axis=1)[rows, best]

        going = jnp.where(token == eos, -jnp.inf, scores)
        live_scores, best = jax.lax.top_k(going, beams)
        parent = beam[rows, best]

        def follow(x: jax.Array) -> jax.Array:
            if not x.ndim:
                return x
            return x.reshape(batch, beams, *x.shape[1:])[rows, parent].reshape(x.shape)

        return _State(
            s.at + 1,
            tokens[rows, best],
            live_scores,
            done,
            done_scores,
            jax.tree.map(follow, cache),
        )

    found = jax.lax.while_loop(goes_on, advance, begin())
    any_done = jnp.isfinite(found.done_scores[:, :1])
    live_scores = found.live_scores / length_penalty(length, alpha)
    return (
        jnp.where(any_done[..., None], found.done, found.live),
        jnp.where(any_done, found.done_scores, live_scores),
    )


def translate(
    config: Config,
    params: Any,
    batch: dict[str, jax.Array],
    beams: int,
    length: int,
    eos: int,
    alpha: float = 0.6,
) -> tuple[jax.Array, jax.Array]:
    """Translates sources, one a row; see `beam_search` for what is returned.

    Args:
      config: of the model.
      params: of the model.
      batch: of which "inputs", "inputs_positions" and "inputs_segments" are read.
      beams: as in `beam_search`.
      length: as in `beam_search`.
      eos: as in `beam_search`.
      alpha: as in `beam_search`.
    """
    model = Translator(dataclasses.replace(config, decode=True))
    count = len(batch["inputs"])
    encoded = model.apply({"params": params}, batch, method="encode")
    encoded = jnp.repeat(encoded, beams, axis=0)
    segments = jnp.repeat(batch["inputs_segments"], beams, axis=0)
    mask = segment_mask(jnp.ones((count * beams, 1), jnp.int32), segments)
    shapes: Any = jax.eval_shape(
        lambda: model.init(
            jax.random.key(0),
            encoded,
            mask,
            jnp.zeros((count * beams, length), jnp.int32),
            method="decode",
        )["cache"]
    )
    cache = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)

    def step(tokens: jax.Array, cache: Any) -> tuple[jax.Array, Any]:
        logits, changed = model.apply(
            {"params": params, "cache": cache},
            encoded,
            mask,
            tokens,
            method="decode",
            mutable=["cache"],
        )
        return logits[:, 0], changed["cache"]

    return beam_search(step, cache, count, beams, length, eos, alpha)
