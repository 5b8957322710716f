"""Handwritten digits, as arrays in memory and as shuffled batches."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

__all__ = ["Digits", "batches", "load"]


class Digits(NamedTuple):
    """Images (number, height, width, 1) with values in [0, 1], and labels (number,)."""

    image: np.ndarray
    label: np.ndarray


def load(name: str) -> tuple[Digits, Digits]:
    """The training and the test set.

    Args:
      name: "digits", 1,797 images of 8x8 pixels that come with scikit-learn, every
        fifth of which is kept for testing; or "mnist", 70,000 images of 28x28 pixels
        from TensorFlow Datasets.
    """
    return {"digits": _load_digits, "mnist": _load_mnist}[name]()


def _load_digits() -> tuple[Digits, Digits]:
    from sklearn.datasets import load_digits

    found: Any = load_digits()
    images = found.images[..., None].astype(np.float32) / 16.0
    labels = found.target.astype(np.int32)
    # The writers come one after the other: take the test digits from all of them.
    test = np.arange(len(images)) % 5 == 4
    return Digits(images[~test], labels[~test]), Digits(images[test], labels[test])


def _load_mnist() -> tuple[Digits, Digits]:
    try:
        import tensorflow_datasets as tfds  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise SystemExit(
            "--dataset mnist needs TensorFlow Datasets: "
            "pip install tensorflow tensorflow-datasets"
        ) from error

    def read(split: str) -> Digits:
        found = tfds.as_numpy(tfds.load("mnist", split=split, batch_size=-1))
        image = np.asarray(found["image"], np.float32) / 255.0
        return Digits(image, np.asarray(found["label"], np.int32))

    return read("train"), read("test")


def batches(
    data: Digits, batch_size: int, rng: np.random.Generator | None = None
) -> Iterator[Digits]:
    """Goes through a data set once.

    Args:
      data: the data set.
      batch_size: how many examples a batch has. With `rng`, an incomplete last batch
        is left out, so that the training step compiles once.
      rng: shuffles the examples; without it they come in order.
    """
    number = len(data.label)
    order = np.arange(number) if rng is None else rng.permutation(number)
    stop = number if rng is None else number - number % batch_size
    for start in range(0, stop, batch_size):
        chosen = order[start : start + batch_size]
        yield Digits(data.image[chosen], data.label[chosen])
