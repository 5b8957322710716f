"""Handwritten digits, as arrays in memory and as batches of shuffled, moved images."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

__all__ = ["LOADERS", "Digits", "batches", "load", "shifted", "train_batches"]

LOADERS = ("numpy", "grain")


class Digits(NamedTuple):
    """Images (number, height, width, 1) with values in [0, 1], and labels (number,)."""

    image: np.ndarray
    label: np.ndarray


def load(name: str, data_dir: str = "") -> tuple[Digits, Digits]:
    """Returns the training and the test set.

    Args:
      name: "digits", 1,797 images of 8x8 pixels that come with scikit-learn, every
        fifth of which is kept for testing; or "mnist", 70,000 images of 28x28 pixels
        from TensorFlow Datasets, 10,000 of them for testing.
      data_dir: where TensorFlow Datasets keeps its files, if not in its usual place.

    Raises:
      ValueError: there is no data set of that name.
      ImportError: the package that has it is not installed.
    """
    if name == "digits":
        return _load_digits()
    if name == "mnist":
        return _load_mnist(data_dir)
    raise ValueError(f"no data set {name!r}: config.dataset is 'digits' or 'mnist'")


def _load_digits() -> tuple[Digits, Digits]:
    from sklearn.datasets import load_digits

    found: Any = load_digits()
    images = found.images[..., None].astype(np.float32) / 16.0
    labels = found.target.astype(np.int32)
    # The writers come one after the other: take the test digits from all of them.
    test = np.arange(len(images)) % 5 == 4
    return Digits(images[~test], labels[~test]), Digits(images[test], labels[test])


def _load_mnist(data_dir: str) -> tuple[Digits, Digits]:
    try:
        import tensorflow_datasets as tfds
    except ImportError as error:
        raise ImportError(
            "config.dataset=mnist needs TensorFlow Datasets: "
            "pip install tensorflow tensorflow-datasets"
        ) from error

    def read(split: str) -> Digits:
        found = tfds.load(
            "mnist", split=split, batch_size=-1, data_dir=data_dir or None
        )
        arrays = tfds.as_numpy(found)
        image = np.asarray(arrays["image"], np.float32) / 255.0
        return Digits(image, np.asarray(arrays["label"], np.int32))

    return read("train"), read("test")


def shifted(images: np.ndarray, by: np.ndarray) -> np.ndarray:
    """Returns each image moved down and to the right; what is uncovered is 0.

    Args:
      images: (number, height, width, channels).
      by: pixels (number, 2), downwards and to the right; negative ones the other way.
    """
    room = int(np.abs(by).max(initial=0))
    padded = np.pad(images, ((0, 0), (room, room), (room, room), (0, 0)))
    _, height, width, _ = images.shape
    rows = room - by[:, 0, None] + np.arange(height)
    columns = room - by[:, 1, None] + np.arange(width)
    number = np.arange(len(images))[:, None, None]
    return padded[number, rows[:, :, None], columns[:, None, :]]


def batches(data: Digits, batch_size: int) -> Iterator[Digits]:
    """Yields all of a data set in order; the last batch may be smaller."""
    for start in range(0, len(data.label), batch_size):
        chosen = slice(start, start + batch_size)
        yield Digits(data.image[chosen], data.label[chosen])


def train_batches(
    data: Digits,
    batch_size: int,
    *,
    shift: int,
    seed: int,
    epoch: int,
    loader: str = "numpy",
) -> Iterator[Digits]:
    """Yields one epoch of training batches, which depend on seed and epoch alone.

    Args:
      data: the training set.
      batch_size: examples of a batch. What is left over is left out, so that the step
        compiles once.
      shift: images are moved by up to so many pixels, in each direction.
      seed: of all randomness.
      epoch: the number of the epoch.
      loader: "numpy", or "grain", which shuffles and moves otherwise, and would read
        ahead in threads if there were files to read.

    Raises:
      ValueError: there is no such loader, or not one batch of examples.
      ImportError: grain is not installed.
    """
    if loader not in LOADERS:
        raise ValueError(f"no loader {loader!r}: config.loader is one of {LOADERS}")
    if batch_size > len(data.label):
        raise ValueError(
            f"config.batch_size is {batch_size}, over the {len(data.label)} training "
            "examples"
        )
    make = _numpy_batches if loader == "numpy" else _grain_batches
    return make(data, batch_size, shift, seed, epoch)


def _numpy_batches(
    data: Digits, batch_size: int, shift: int, seed: int, epoch: int
) -> Iterator[Digits]:
    rng = np.random.default_rng((seed, epoch))
    order = rng.permutation(len(data.label))
    for start in range(0, len(order) - batch_size + 1, batch_size):
        chosen = order[start : start + batch_size]
        by = rng.integers(-shift, shift + 1, (batch_size, 2))
        yield Digits(shifted(data.image[chosen], by), data.label[chosen])


def _grain_batches(
    data: Digits, batch_size: int, shift: int, seed: int, epoch: int
) -> Iterator[Digits]:
    try:
        import grain
    except ImportError as error:
        raise ImportError("config.loader=grain needs grain: pip install grain") from (
            error
        )

    def move(index: int, rng: np.random.Generator) -> Digits:
        by = rng.integers(-shift, shift + 1, (1, 2))
        return Digits(shifted(data.image[index, None], by)[0], data.label[index])

    seed_of_epoch = int(np.random.default_rng((seed, epoch)).integers(2**31))
    found = grain.MapDataset.range(len(data.label)).seed(seed_of_epoch).shuffle()
    return iter(found.random_map(move).batch(batch_size, drop_remainder=True))
