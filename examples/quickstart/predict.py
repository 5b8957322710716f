"""Classifies test digits with parameters from a file, in a process of its own.

Run by main.py, to show that a file is all that a model needs to be used again.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import jax
import numpy as np
from data import load
from jax import numpy as jnp
from model import CNN

from batiste.serialization import from_bytes

__all__ = ["load_params", "predict"]


def load_params(path: Path, image_shape: tuple[int, ...]) -> Any:
    """Reads parameters; their structure is that of a freshly initialized model."""
    target = CNN().init(jax.random.key(0), jnp.ones((1, *image_shape)))["params"]
    return from_bytes(target, path.read_bytes())


def predict(params: Any, images: np.ndarray) -> np.ndarray:
    """The digit, 0 to 9, that each image (number, height, width, 1) shows."""
    logits = jax.jit(CNN().apply)({"params": params}, images)
    return np.asarray(logits.argmax(-1))


def main(params_path: str, dataset: str, output: str) -> None:
    _, test = load(dataset)
    params = load_params(Path(params_path), test.image.shape[1:])
    np.save(output, predict(params, test.image))


if __name__ == "__main__":
    main(*sys.argv[1:])
