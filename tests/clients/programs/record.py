"""What a client's program found, kept for comparison between two runs of it."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
from flax import serialization, traverse_util


class Record:
    """Arrays by name: those that must have the same bits, and those that may round."""

    def __init__(self) -> None:
        self._arrays: dict[str, np.ndarray] = {}

    def exact(self, name: str, tree: Any) -> None:
        """Keeps a tree whose bits two runs have in common: parameters, counts."""
        self._keep(f"exact/{name}", tree)

    def close(self, name: str, tree: Any) -> None:
        """Keeps a tree that two runs have in common up to rounding: all computed."""
        self._keep(f"close/{name}", tree)

    def save(self, path: str) -> None:
        """Writes everything to an .npz file."""
        np.savez(path, allow_pickle=False, **self._arrays)  # pyright: ignore

    def _keep(self, name: str, tree: Any) -> None:
        state = serialization.to_state_dict(tree)
        if not isinstance(state, dict):
            state = {"value": state}
        for path, leaf in traverse_util.flatten_dict(state).items():
            if leaf is None:
                continue
            if isinstance(leaf, jax.Array) and jax.dtypes.issubdtype(
                leaf.dtype, jax.dtypes.prng_key
            ):
                leaf = jax.random.key_data(leaf)
            # A colon ends the name of the tree: its largest number is a measure.
            key = f"{name}:{'/'.join(map(str, path))}"
            assert key not in self._arrays, f"{key} is recorded twice"
            self._arrays[key] = np.asarray(leaf)
