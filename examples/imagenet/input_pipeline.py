"""Images by their number, and the batch of a step.

What a step trains on depends on the seed and the number of the step alone. So a run
that goes on from a checkpoint sees what it would have seen, and it does not matter how
many processes read the batch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import augment
import numpy as np
from PIL import Image

__all__ = ["Folder", "Pipeline", "Source", "TensorFlowDataset", "load", "prefetch"]


class Source(Protocol):
    """A data set: examples by number, each an image (height, width, 3) and a label."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> tuple[np.ndarray, int]: ...


class Arrays(NamedTuple):
    """A data set in memory: (number, height, width, 3) of uint8, and (number,)."""

    images: np.ndarray
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: Any) -> Any:
        return self.images[index], int(self.labels[index])


class Folder:
    """A folder of a folder per class, each with its images: `n01440764/a.JPEG`.

    Labels are the places of the folders' names in alphabetical order. This is what the
    archives of ImageNet are unpacked to.

    Args:
      folder: where it is.

    Raises:
      FileNotFoundError: there is no image in it.
    """

    def __init__(self, folder: str | Path):
        folder = Path(folder)
        classes = sorted(path for path in folder.glob("*") if path.is_dir())
        self.files = [
            (path, label)
            for label, name in enumerate(classes)
            for path in sorted(name.iterdir())
            if path.suffix.lower() in (".jpeg", ".jpg", ".png")
        ]
        if not self.files:
            raise FileNotFoundError(
                f"{folder} has no images. It should have a folder for each class, with "
                "files like n01440764/n01440764_10026.JPEG."
            )

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> tuple[np.ndarray, int]:
        path, label = self.files[index]
        with Image.open(path) as image:
            return np.asarray(image.convert("RGB")), label


class TensorFlowDataset:
    """A data set of TensorFlow Datasets, read by number, which needs no TensorFlow.

    Args:
      name: as there, for example "imagenet2012".
      split: as there, for example "train".

    Raises:
      ImportError: the packages are not installed.
    """

    def __init__(self, name: str, split: str):
        try:
            import tensorflow_datasets as tfds  # pyright: ignore[reportMissingImports]
        except ImportError as error:
            raise ImportError(
                f"config.dataset='{name}' is read by TensorFlow Datasets, which is not "
                "installed: pip install tensorflow-datasets array-record"
            ) from error
        self.source = tfds.data_source(name, split=split)

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> tuple[np.ndarray, int]:
        example = self.source[int(index)]
        image = np.asarray(example["image"])
        if image.shape[-1] == 1:
            image = np.repeat(image, 3, axis=-1)
        return image, int(example["label"])


def load(name: str) -> tuple[Source, Source]:
    """The training and the test set.

    Args:
      name: "digits", handwritten digits on photographs, of what comes with
        scikit-learn; "folder:PATH", where PATH has the folders `train` and `val`, each
        as `Folder` says; or a data set of TensorFlow Datasets with the splits `train`
        and `validation` (or `test`), such as "imagenet2012" or "cifar10".
    """
    if name == "digits":
        return _load_digits()
    if name.startswith("folder:"):
        folder = Path(name.removeprefix("folder:")).expanduser()
        return Folder(folder / "train"), Folder(folder / "val")
    test = "validation" if name.startswith("imagenet") else "test"
    return TensorFlowDataset(name, "train"), TensorFlowDataset(name, test)


def _load_digits() -> tuple[Source, Source]:
    """Every digit of scikit-learn's, in two colours of its own, on a photograph.

    32x32 pixels; every fifth is for testing. The photograph of a digit is a part of one
    of the two that scikit-learn has, dark where the digit is light or the other way
    round. All choices are made with the seed 0. Of the training digits there are three
    versions each.
    """
    from sklearn.datasets import load_digits, load_sample_images

    found: Any = load_digits()
    photos = load_sample_images().images
    digits, labels = found.images / 16.0, found.target.astype(np.int32)
    test = np.arange(len(labels)) % 5 == 4
    rng = np.random.default_rng(0)

    def versions(chosen: np.ndarray, number: int) -> Arrays:
        places = np.tile(np.flatnonzero(chosen), number)
        images = [_digit_on_photo(digits[place], photos, rng) for place in places]
        return Arrays(np.stack(images), labels[places])

    return versions(~test, 3), versions(test, 1)


def _digit_on_photo(digit: np.ndarray, photos: Any, rng: np.random.Generator):
    photo = photos[rng.integers(len(photos))]
    top, left = (rng.integers(size - 64) for size in photo.shape[:2])
    ground = photo[top : top + 64 : 2, left : left + 64 : 2] / 255.0
    alpha = Image.fromarray((digit * 255).astype(np.uint8))
    mask = np.asarray(alpha.resize((32, 32), Image.Resampling.BICUBIC)) / 255.0
    ink, dark = rng.uniform(0.55, 1.0, size=3), rng.random() < 0.5
    ground, ink = (0.4 + 0.6 * ground, ink - 0.55) if dark else (0.6 * ground, ink)
    mixed = ground + mask[..., None] * (ink - ground)
    return np.rint(255 * np.clip(mixed, 0, 1)).astype(np.uint8)


class Pipeline:
    """The batches of a data set, by the number of the step.

    Args:
      source: the data set.
      config: as `augment.training_view` wants it, with `batch_size` (over all
        processes), `seed`, and `center_crop`, the share that evaluation sees.
      rows: which examples of a batch to read: those of this process.
      threads: how many images to read at a time.
    """

    def __init__(self, source: Source, config: Any, rows: slice, threads: int = 4):
        self.source = source
        self.config = config
        self.rows = rows
        self.pool = ThreadPoolExecutor(threads)
        self.epoch, self.order = -1, np.arange(0)

    @property
    def steps_per_epoch(self) -> int:
        """How many whole batches the data set has."""
        return len(self.source) // self.config.batch_size

    def training_batch(self, step: int) -> dict[str, np.ndarray]:
        """The batch of a step, counted from 0 over all epochs.

        Returns:
          `image` (rows, image_size, image_size, 3) of uint8, and `label` (rows,).
        """
        epoch, place = divmod(step, self.steps_per_epoch)
        if epoch != self.epoch:
            rng = np.random.default_rng((self.config.seed, epoch))
            self.epoch, self.order = epoch, rng.permutation(len(self.source))
        size = self.config.batch_size
        chosen = self.order[place * size : (place + 1) * size]

        def view(index: int) -> tuple[np.ndarray, int]:
            image, label = self.source[index]
            rng = np.random.default_rng((self.config.seed, epoch, index))
            return augment.training_view(image, self.config, rng), label

        return self._gather(view, chosen[self.rows])

    def test_batches(self) -> Iterator[dict[str, np.ndarray]]:
        """All examples in order, once; the last batch is filled up.

        Yields:
          `image` and `label` as for training, and `weight` (rows,): 1, and 0 where an
          example only fills the batch up.
        """
        size, number = self.config.batch_size, len(self.source)

        def view(index: int) -> tuple[np.ndarray, int]:
            image, label = self.source[index]
            share = self.config.center_crop
            return augment.center_crop(image, self.config.image_size, share), label

        for start in range(0, number, size):
            places = np.arange(start, start + size)[self.rows]
            batch = self._gather(view, np.minimum(places, number - 1))
            yield batch | {"weight": (places < number).astype(np.float32)}

    def _gather(self, view: Callable[[int], Any], indices: np.ndarray):
        images, labels = zip(*self.pool.map(view, indices.tolist()), strict=True)
        return {"image": np.stack(images), "label": np.array(labels, np.int32)}


def prefetch(
    make: Callable[[int], Any], steps: Sequence[int], loader: str = "numpy"
) -> Iterator[Any]:
    """`make` of each step in turn, two steps ahead of who asks for them.

    Args:
      make: makes the batch of a step.
      steps: which, in this order.
      loader: what does so in a thread: "numpy", for none but this function, or "grain".

    Raises:
      ValueError: there is no such loader.
      ImportError: grain is not installed.
    """
    if loader == "grain":
        try:
            import grain
        except ImportError as error:
            raise ImportError(
                "config.loader='grain' needs the package grain: pip install grain"
            ) from error
        options = grain.ReadOptions(num_threads=1, prefetch_buffer_size=2)
        yield from grain.MapDataset.source(steps).map(make).to_iter_dataset(options)
        return
    if loader != "numpy":
        raise ValueError(f"config.loader is {loader!r}; it must be 'numpy' or 'grain'.")
    with ThreadPoolExecutor(1) as pool:
        waiting = [pool.submit(make, step) for step in steps[:2]]
        for place in range(len(steps)):
            batch = waiting.pop(0).result()
            if place + 2 < len(steps):
                waiting.append(pool.submit(make, steps[place + 2]))
            yield batch
