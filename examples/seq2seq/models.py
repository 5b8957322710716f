"""An encoder of LSTM layers, and a decoder that begins with its last states."""

from __future__ import annotations

from typing import Any

import jax
from input_pipeline import END, PAD, VOCABULARY
from jax import numpy as jnp

import batiste.linen as nn

__all__ = ["Seq2seq", "greedy_answers"]


class Seq2seq(nn.Module):
    """Reads a query, and tells what follows each token of an answer.

    Attributes:
      embed_size: features of a token.
      hidden_size: features of each LSTM layer.
      num_layers: how many LSTM layers encoder and decoder have each.
    """

    embed_size: int
    hidden_size: int
    num_layers: int = 1

    def setup(self) -> None:
        """Makes the layers, which encoder and decoder do not share."""

        def layers() -> list[nn.RNN]:
            cells = [
                nn.OptimizedLSTMCell(self.hidden_size) for _ in range(self.num_layers)
            ]
            return [nn.RNN(cell, return_carry=True) for cell in cells]

        self.embed = nn.Embed(len(VOCABULARY), self.embed_size)
        self.encoder = layers()
        self.decoder = layers()
        self.head = nn.Dense(len(VOCABULARY))

    def encode(self, query: jax.Array) -> list[Any]:
        """Returns the last state of each layer for queries (batch, length)."""
        # What follows the end of a query does not change the state.
        lengths = (query != PAD).sum(-1)
        x, states = self.embed(query), []
        for layer in self.encoder:
            state, x = layer(x, seq_lengths=lengths)
            states.append(state)
        return states

    def decode(self, states: list[Any], tokens: jax.Array) -> tuple[list[Any], Any]:
        """Goes on from `states` along tokens (batch, length).

        Returns:
          The new states, and logits (batch, length, tokens there are) for what follows
          each of the tokens.
        """
        x, new_states = self.embed(tokens), []
        for layer, state in zip(self.decoder, states, strict=True):
            state, x = layer(x, initial_carry=state)
            new_states.append(state)
        return new_states, self.head(x)

    def __call__(self, query: jax.Array, answer: jax.Array) -> jax.Array:
        """Returns the logits of an answer that is known: teacher forcing.

        Args:
          query: tokens (batch, query length).
          answer: tokens (batch, answer length). The decoder sees at each place the
            right token of the place before.

        Returns:
          Logits (batch, answer length, tokens there are).
        """
        before = jnp.pad(answer, ((0, 0), (1, 0)), constant_values=END)[:, :-1]
        return self.decode(self.encode(query), before)[1]


def greedy_answers(model: Seq2seq, params: Any, query: Any, length: int) -> jax.Array:
    """Answers queries, at each place with the likeliest token after those before.

    Args:
      model: the model.
      params: its parameters.
      query: tokens (batch, query length).
      length: tokens of an answer.

    Returns:
      Tokens (batch, length); what follows the first `END` has no meaning.
    """
    variables = {"params": params}
    states = model.apply(variables, query, method="encode")

    def step(carry: Any, _: None) -> tuple[Any, jax.Array]:
        states, token = carry
        states, logits = model.apply(variables, states, token[:, None], method="decode")
        token = logits[:, 0].argmax(-1).astype(token.dtype)
        return (states, token), token

    start = jnp.full(query.shape[:1], END, query.dtype)
    _, tokens = jax.lax.scan(step, (states, start), None, length)
    return tokens.T
