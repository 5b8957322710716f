"""Binary images of digits, as arrays in memory and as shuffled batches."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

__all__ = ["Images", "batches", "load", "read", "train_batches"]


class Images(NamedTuple):
    """Images (number, pixels) of 0.0 and 1.0, and labels (number,) or None."""

    pixels: np.ndarray
    label: np.ndarray | None

    @property
    def side(self) -> int:
        """The height of an image, which is its width."""
        return round(self.pixels.shape[1] ** 0.5)


def load(name: str, data_dir: str = "") -> tuple[Images, Images]:
    """Returns the training and the test set.

    Args:
      name: "digits", 1,797 images of 8x8 pixels that come with scikit-learn, black
        where they are at least half black, every fifth of which is kept for testing;
        or "binarized_mnist", 60,000 and 10,000 images of 28x28 pixels from TensorFlow
        Datasets, without labels.
      data_dir: where TensorFlow Datasets keeps its files, if not in its usual place.

    Raises:
      ValueError: there is no data set of that name.
      ImportError: the package that has it is not installed.
    """
    if name == "digits":
        return _load_digits()
    if name == "binarized_mnist":
        return _load_mnist(data_dir)
    raise ValueError(
        f"no data set {name!r}: config.dataset is 'digits' or 'binarized_mnist'"
    )


def _load_digits() -> tuple[Images, Images]:
    from sklearn.datasets import load_digits

    found: Any = load_digits()
    pixels = (found.data >= 8).astype(np.float32)
    labels = found.target.astype(np.int32)
    # The writers come one after the other: take the test digits from all of them.
    test = np.arange(len(pixels)) % 5 == 4
    return Images(pixels[~test], labels[~test]), Images(pixels[test], labels[test])


def _load_mnist(data_dir: str) -> tuple[Images, Images]:
    try:
        import tensorflow_datasets as tfds
    except ImportError as error:
        raise ImportError(
            "config.dataset=binarized_mnist needs TensorFlow Datasets: "
            "pip install tensorflow tensorflow-datasets"
        ) from error

    def read(split: str) -> Images:
        found = tfds.load(
            "binarized_mnist", split=split, batch_size=-1, data_dir=data_dir or None
        )
        image = np.asarray(tfds.as_numpy(found)["image"])
        return Images((image.reshape(len(image), -1) > 0).astype(np.float32), None)

    return read("train"), read("test")


def batches(data: Images, batch_size: int) -> Iterator[np.ndarray]:
    """Yields all of a data set in order; the last batch may be smaller."""
    for start in range(0, len(data.pixels), batch_size):
        yield data.pixels[start : start + batch_size]


def train_batches(
    data: Images, batch_size: int, *, seed: int, epoch: int, loader: str = "numpy"
) -> Iterator[np.ndarray]:
    """Yields one epoch of batches (batch_size, pixels).

    The order depends on seed and epoch alone. What is left over is left out, so that
    the step compiles once.

    Raises:
      ValueError: there is not one batch of images, or what `read` raises.
      ImportError: as `read` does.
    """
    if batch_size > len(data.pixels):
        raise ValueError(
            f"config.batch_size is {batch_size}, over the {len(data.pixels)} training "
            "images"
        )
    order = np.random.default_rng((seed, epoch)).permutation(len(data.pixels))

    def make(start: int) -> np.ndarray:
        return data.pixels[order[start : start + batch_size]]

    return read(make, range(0, len(order) - batch_size + 1, batch_size), loader)


def read(
    make: Callable[[int], Any], places: Sequence[int], loader: str
) -> Iterator[Any]:
    """Makes the batch of each place in turn.

    Args:
      make: makes the batch of a place.
      places: which, in this order.
      loader: "numpy", when it is asked for; or "grain", ahead of that, in a thread.

    Raises:
      ValueError: there is no such loader.
      ImportError: grain is not installed.
    """
    if loader == "numpy":
        yield from map(make, places)
    elif loader == "grain":
        try:
            import grain
        except ImportError as error:
            raise ImportError(
                "config.loader='grain' needs the package grain: pip install grain"
            ) from error
        options = grain.ReadOptions(num_threads=1, prefetch_buffer_size=2)
        yield from grain.MapDataset.source(places).map(make).to_iter_dataset(options)
    else:
        raise ValueError(f"config.loader is {loader!r}; it must be 'numpy' or 'grain'.")
