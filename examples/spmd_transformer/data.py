"""English text that every Python has, as batches of bytes."""

from __future__ import annotations

import jax
import numpy as np
from jax.sharding import NamedSharding

__all__ = ["Batches", "text"]


def text() -> np.ndarray:
    """The topics of Python's `help()`, half a million bytes (number,) of uint8."""
    from pydoc_data.topics import topics

    whole = "\n".join(topics[name] for name in sorted(topics))
    return np.frombuffer(whole.encode(), np.uint8)


class Batches:
    """Pieces of a text, the same ones at the same step in every run.

    Which pieces a step takes depends on the seed and the step alone: not on the steps
    before, so a run that continues sees what it would have seen; and not on the number
    of processes.

    Args:
      tokens: the text (number,).
      batch_size: pieces in a batch, over all processes.
      length: tokens in a piece.
      seed: of the choice.
    """

    def __init__(self, tokens: np.ndarray, batch_size: int, length: int, seed: int):
        self.tokens = tokens
        self.batch_size = batch_size
        self.length = length
        self.seed = seed

    def part(self, step: int, rows: slice, columns: slice) -> dict[str, np.ndarray]:
        """A part of the batch of a step: the tokens, and those that follow them."""
        rng = np.random.default_rng((self.seed, step))
        starts = rng.integers(len(self.tokens) - self.length, size=self.batch_size)
        places = starts[rows, None] + np.arange(self.length)[columns]
        return {
            "inputs": self.tokens[places].astype(np.int32),
            "targets": self.tokens[places + 1].astype(np.int32),
        }

    def on_devices(self, step: int, sharding: NamedSharding) -> dict[str, jax.Array]:
        """The batch of a step as global arrays (batch, length).

        Each process reads the part that its own devices hold.
        """
        shape = (self.batch_size, self.length)
        rows, columns = _local_part(sharding, shape)
        return {
            name: jax.make_array_from_process_local_data(sharding, part, shape)
            for name, part in self.part(step, rows, columns).items()
        }


def _local_part(sharding: NamedSharding, shape: tuple[int, int]) -> list[slice]:
    """The part of an array that the devices of this process hold together."""
    indices = list(sharding.addressable_devices_indices_map(shape).values())
    found = []
    for dim, size in enumerate(shape):
        ranges = [index[dim].indices(size) for index in indices if index is not None]
        found.append(slice(min(r[0] for r in ranges), max(r[1] for r in ranges)))
    return found
