"""Texts, as batches of one shape, with several texts to a row.

What a batch holds depends on the seed and its number alone, so a run that continues
sees what it would have seen, and each of several processes can read its own part.
"""

from __future__ import annotations

import dataclasses
import functools
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from tokenizer import Tokenizer

__all__ = ["Batch", "Corpus", "load", "on_devices", "packed", "training_batches"]


def load(config: Any, split: str) -> list[str]:
    """The texts of a split.

    Args:
      config: of the run; `config.dataset` is "pydoc", the paragraphs of Python's own
        `help()`; "files:DIR", a folder with `train.txt`, `validation.txt` and
        `test.txt`, a text a line; or "tfds:NAME", of TensorFlow Datasets.
      split: "train", "validation" or "test".

    Raises:
      ValueError: there is no such data set.
    """
    kind, _, name = config.dataset.partition(":")
    if kind == "pydoc":
        return _paragraphs(config.seed)[split]
    if kind == "files":
        return (Path(name) / f"{split}.txt").read_text("utf-8").splitlines()
    if kind == "tfds":
        return list(_read_tfds(name, split))
    raise ValueError(
        f"There is no data set {config.dataset!r}. Give config.dataset as 'pydoc', "
        "'files:DIR' or 'tfds:NAME'."
    )


@functools.lru_cache(1)
def _paragraphs(seed: int) -> dict[str, list[str]]:
    """The topics of `help()`, a paragraph a text, shuffled: a tenth is for testing."""
    from pydoc_data.topics import topics

    # Some topics have paragraphs in common. Each is taken once, so that what is tested
    # is not among what is trained on.
    found = dict.fromkeys(
        " ".join(paragraph.split())
        for name in sorted(topics)
        for paragraph in topics[name].split("\n\n")
    )
    long = [paragraph for paragraph in found if len(paragraph) >= 40]
    order = np.random.default_rng(seed).permutation(len(long))
    tenth = len(long) // 10
    parts = np.split(order, [tenth, 2 * tenth])
    splits = ("test", "validation", "train")
    return {s: [long[i] for i in part] for s, part in zip(splits, parts, strict=True)}


def _read_tfds(name: str, split: str) -> Iterator[str]:
    try:
        import tensorflow_datasets as tfds  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise SystemExit(
            f"--config.dataset=tfds:{name} needs TensorFlow Datasets: "
            "pip install tensorflow tensorflow-datasets"
        ) from error
    # LM1B has no validation set: its first test texts are that, and the others test.
    if name == "lm1b" and split != "train":
        split = {"validation": "test[:5000]", "test": "test[5000:]"}[split]
    for row in tfds.as_numpy(tfds.load(name, split=split)):
        yield row["text"].decode()


@dataclasses.dataclass(frozen=True)
class Corpus:
    """Tokens of all texts, one after the other.

    Attributes:
      tokens: (total,).
      starts: where each text begins, and the last ends, (number + 1,).
      words: how many words the texts have, with an end for each.
      characters: how many characters, with an end for each.
    """

    tokens: np.ndarray
    starts: np.ndarray
    words: int = 0
    characters: int = 0

    @classmethod
    def make(cls, texts: Iterable[str], pieces: Tokenizer, length: int) -> Corpus:
        """Tokenizes texts; those of more than `length` tokens are cut into several."""
        parts, words, characters = [np.zeros(0, np.int32)], 0, 0
        starts = [0]
        for text in texts:
            tokens = np.array(pieces.encode(text), np.int32)
            parts.append(tokens)
            words += len(text.split()) + 1
            characters += len(text) + 1
            end = starts[-1] + len(tokens)
            starts += [*range(starts[-1] + length, end, length), end]
        return cls(np.concatenate(parts), np.array(starts), words, characters)

    def __len__(self) -> int:
        return len(self.starts) - 1

    @functools.cached_property
    def lengths(self) -> np.ndarray:
        """The tokens of each text, (number,)."""
        return np.diff(self.starts)

    def text(self, index: int) -> np.ndarray:
        """The tokens of a text."""
        return self.tokens[self.starts[index] : self.starts[index + 1]]


@dataclasses.dataclass(frozen=True)
class Batch:
    """Which texts lie in which row; `arrays` makes the rows that are asked for.

    Attributes:
      corpus: where the texts are.
      rows: the texts of each row, one after the other; an empty row is all padding.
      length: tokens of a row.
    """

    corpus: Corpus
    rows: tuple[tuple[int, ...], ...]
    length: int

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and tokens of a row."""
        return len(self.rows), self.length

    def arrays(self, rows: slice = slice(None)) -> dict[str, np.ndarray]:
        """The rows as arrays (rows, length) of int32.

        They are "tokens"; "positions", which count from 0 in each text; and "segments",
        which are 1 in the first text of a row, 2 in the second, and 0 in the padding.
        """
        chosen = self.rows[rows]
        names = ("tokens", "positions", "segments")
        found = {n: np.zeros((len(chosen), self.length), np.int32) for n in names}
        for row, texts in enumerate(chosen):
            at = 0
            for segment, index in enumerate(texts, 1):
                text = self.corpus.text(index)
                place = (row, slice(at, at + len(text)))
                found["tokens"][place] = text
                found["positions"][place] = np.arange(len(text))
                found["segments"][place] = segment
                at += len(text)
        return found


def packed(
    corpus: Corpus,
    order: Iterable[int],
    rows: int,
    length: int,
    partial: bool = False,
) -> Iterator[Batch]:
    """Puts several texts into each row, where they fit.

    Each text goes to the first row that has room; the batch ends with the first text
    that finds none.

    Args:
      corpus: where the texts are.
      order: which of them, one after the other.
      rows: of a batch.
      length: tokens of a row; no text has more.
      partial: whether to give the last batch, which is not full, too.
    """
    free = np.full(rows, length)
    filled: list[list[int]] = [[] for _ in range(rows)]
    for index in order:
        fits = free >= corpus.lengths[index]
        row = int(fits.argmax())
        if not fits[row]:
            yield Batch(corpus, tuple(map(tuple, filled)), length)
            free[:] = length
            filled = [[] for _ in range(rows)]
            row = 0
        free[row] -= corpus.lengths[index]
        filled[row].append(index)
    if filled[0] and (partial or free.mean() < length / 2):
        yield Batch(corpus, tuple(map(tuple, filled)), length)


def training_batches(
    corpus: Corpus, config: Any, start: int = 0, multiple: int = 1
) -> Iterator[Batch]:
    """Batches without end, from number `start` on; each epoch in an order of its own.

    Args:
      corpus: where the texts are.
      config: of the run: `seed`, `tokens_per_batch`, `max_length`.
      start: how many batches to leave out, which are not made.
      multiple: the number of rows is a multiple of this.

    Raises:
      ValueError: the corpus does not fill a batch.
    """
    number = 0
    rows = rows_of(config, multiple)
    for epoch in range(sys.maxsize):
        order = np.random.default_rng((config.seed, epoch)).permutation(len(corpus))
        before = number
        for batch in packed(corpus, order, rows, config.max_length):
            if number >= start:
                yield batch
            number += 1
        if number == before:
            raise ValueError(
                f"{len(corpus)} texts do not fill a batch of {config.tokens_per_batch} "
                "tokens. Lower config.tokens_per_batch."
            )


def rows_of(config: Any, multiple: int) -> int:
    """Rows of a batch, a multiple of `multiple`."""
    return max(1, config.tokens_per_batch // config.max_length // multiple) * multiple


def on_devices(batch: Batch, sharding: Any) -> dict[str, Any]:
    """The batch as global arrays; each process makes the rows that its devices hold."""
    import jax

    indices = sharding.addressable_devices_indices_map(batch.shape).values()
    ranges = [index[0].indices(batch.shape[0]) for index in indices]
    rows = slice(min(r[0] for r in ranges), max(r[1] for r in ranges))
    return {
        name: jax.make_array_from_process_local_data(sharding, part, batch.shape)
        for name, part in batch.arrays(rows).items()
    }
