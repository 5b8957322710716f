"""Sentence pairs, as batches of one shape: packed, or in buckets by length.

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

import grammar
import numpy as np
from tokenizer import Tokenizer

__all__ = [
    "Batch",
    "Corpus",
    "bucketed",
    "load",
    "on_devices",
    "packed",
    "training_batches",
]

Pairs = list[tuple[str, str]]


def load(config: Any, split: str) -> Pairs:
    """The sentence pairs of a split: the source's text and the target's.

    Args:
      config: of the run; `config.dataset` is "numbers", sentences of `grammar.py`;
        "files:DIR", a folder with `train.SOURCE`, `train.TARGET`, `validation.SOURCE`
        and so on, a sentence a line; or "tfds:NAME", of TensorFlow Datasets.
      split: "train", "validation" or "test".

    Raises:
      ValueError: there is no such data set, or its files do not go together.
    """
    kind, _, name = config.dataset.partition(":")
    if kind == "numbers":
        return _load_numbers(config, split)
    if kind == "files":
        return _load_files(Path(name), config, split)
    if kind == "tfds":
        return list(_read_tfds(name, config, split))
    raise ValueError(
        f"There is no data set {config.dataset!r}. Give config.dataset as 'numbers', "
        "'files:DIR' or 'tfds:NAME'."
    )


def _load_numbers(config: Any, split: str) -> Pairs:
    sizes = {
        "validation": config.num_validation,
        "test": config.num_test,
        "train": config.num_train,
    }
    # All different, and made once: what is tested is not among what is trained on.
    made = grammar.pairs(sum(sizes.values()), config.seed, config.largest_number)
    start = sum(list(sizes.values())[: list(sizes).index(split)])
    order = ("de", "en").index(config.source), ("de", "en").index(config.target)
    return [(p[order[0]], p[order[1]]) for p in made[start : start + sizes[split]]]


def _load_files(folder: Path, config: Any, split: str) -> Pairs:
    texts = [
        (folder / f"{split}.{language}").read_text("utf-8").splitlines()
        for language in (config.source, config.target)
    ]
    if len(texts[0]) != len(texts[1]):
        raise ValueError(
            f"{folder}/{split}: {len(texts[0])} sentences in {config.source} and "
            f"{len(texts[1])} in {config.target}. Line by line they must be the same."
        )
    return list(zip(*texts, strict=True))


def _read_tfds(name: str, config: Any, split: str) -> Iterator[tuple[str, str]]:
    try:
        import tensorflow_datasets as tfds  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise SystemExit(
            f"--config.dataset=tfds:{name} needs TensorFlow Datasets: "
            "pip install tensorflow tensorflow-datasets"
        ) from error
    for pair in tfds.as_numpy(tfds.load(name, split=split)):
        yield pair[config.source].decode(), pair[config.target].decode()


@dataclasses.dataclass(frozen=True)
class Corpus:
    """Tokens of all pairs, one after the other.

    Attributes:
      tokens: of sources and targets, each (total,).
      starts: where each sentence begins, and the last ends, each (number + 1,).
      dropped: how many pairs were longer than they may be.
    """

    tokens: tuple[np.ndarray, np.ndarray]
    starts: tuple[np.ndarray, np.ndarray]
    dropped: int

    @classmethod
    def make(cls, pairs: Iterable[tuple[str, str]], pieces: Tokenizer, max_length: int):
        """Tokenizes pairs; those with a side of more than `max_length` are left out."""
        kept: tuple[list[np.ndarray], ...] = ([], [])
        dropped = 0
        for pair in pairs:
            both = [np.array(pieces.encode(text), np.int32) for text in pair]
            if max(map(len, both)) > max_length:
                dropped += 1
                continue
            for side, tokens in zip(kept, both, strict=True):
                side.append(tokens)
        empty = np.zeros(0, np.int32)
        tokens = tuple(np.concatenate([empty, *side]) for side in kept)
        starts = tuple(np.cumsum([0, *map(len, side)]) for side in kept)
        return cls(tokens, starts, dropped)  # pyright: ignore[reportArgumentType]

    def __len__(self) -> int:
        return len(self.starts[0]) - 1

    @functools.cached_property
    def lengths(self) -> np.ndarray:
        """The tokens of each source and target, (number, 2)."""
        return np.stack([np.diff(starts) for starts in self.starts], axis=-1)

    def side(self, side: int, index: int) -> np.ndarray:
        """The tokens of a source (side 0) or a target (side 1)."""
        starts = self.starts[side]
        return self.tokens[side][starts[index] : starts[index + 1]]


@dataclasses.dataclass(frozen=True)
class Batch:
    """Which pairs lie in which row; `arrays` makes the rows that are asked for.

    Attributes:
      corpus: where the pairs are.
      rows: the pairs of each row, one after the other; an empty row is all padding.
      length: tokens of a row, on each side.
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

        Of "inputs" and "targets" there are the tokens; "_positions", which count from
        0 in each sentence; and "_segments", which are 1 in the first sentence of a row,
        2 in the second, and 0 in the padding.
        """
        chosen = self.rows[rows]
        found = {}
        for side, name in enumerate(("inputs", "targets")):
            tokens, positions, segments = (
                np.zeros((len(chosen), self.length), np.int32) for _ in range(3)
            )
            for row, pairs in enumerate(chosen):
                at = 0
                for segment, pair in enumerate(pairs, 1):
                    sentence = self.corpus.side(side, pair)
                    place = (row, slice(at, at + len(sentence)))
                    tokens[place] = sentence
                    positions[place] = np.arange(len(sentence))
                    segments[place] = segment
                    at += len(sentence)
            found[name] = tokens
            found[f"{name}_positions"] = positions
            found[f"{name}_segments"] = segments
        return found


def packed(
    corpus: Corpus, order: Iterable[int], rows: int, length: int
) -> Iterator[Batch]:
    """Puts several pairs into each row, where they fit on both sides.

    Each pair goes to the first row that has room; the batch ends with the first pair
    that finds none. The last batch is left out where it is not begun to the half.
    """
    free = np.full((rows, 2), length)
    filled: list[list[int]] = [[] for _ in range(rows)]
    for pair in order:
        fits = (free >= corpus.lengths[pair]).all(axis=1)
        row = int(fits.argmax())
        if not fits[row]:
            yield Batch(corpus, tuple(map(tuple, filled)), length)
            free[:] = length
            filled = [[] for _ in range(rows)]
            row = 0
        free[row] -= corpus.lengths[pair]
        filled[row].append(pair)
    if free.mean() < length / 2:
        yield Batch(corpus, tuple(map(tuple, filled)), length)


def bucketed(
    corpus: Corpus,
    order: Iterable[int],
    tokens: int,
    lengths: Iterable[int],
    multiple: int = 1,
    partial: bool = True,
) -> Iterator[Batch]:
    """Puts pairs of like length together, one a row, so that little is padding.

    A batch has about `tokens` tokens a side, whatever its length, and there is one
    shape for each length: one compilation.

    Args:
      corpus: where the pairs are.
      order: which pairs, and in which order they come to their bucket.
      tokens: of a batch, padding included.
      lengths: of the buckets; a pair goes to the shortest that holds both sides.
      multiple: the number of rows is a multiple of this, at least one.
      partial: whether to give what is left in the buckets at the end too, with empty
        rows.

    Raises:
      ValueError: a pair is longer than the longest bucket.
    """
    lengths = sorted(lengths)
    waiting: list[list[int]] = [[] for _ in lengths]
    rows = [max(1, tokens // each // multiple) * multiple for each in lengths]
    for pair in order:
        longest = int(corpus.lengths[pair].max())
        bucket = int(np.searchsorted(lengths, longest))
        if bucket == len(lengths):
            raise ValueError(
                f"A sentence of {longest} tokens is longer than the longest bucket, "
                f"{lengths[-1]}. Raise config.bucket_lengths, or lower "
                "config.max_length, which leaves such pairs out."
            )
        waiting[bucket].append(pair)
        if len(waiting[bucket]) == rows[bucket]:
            yield _alone(corpus, waiting[bucket], rows[bucket], lengths[bucket])
            waiting[bucket] = []
    for bucket, pairs in enumerate(waiting):
        if partial and pairs:
            yield _alone(corpus, pairs, rows[bucket], lengths[bucket])


def _alone(corpus: Corpus, pairs: list[int], rows: int, length: int) -> Batch:
    empty = ((),) * (rows - len(pairs))
    return Batch(corpus, (*((pair,) for pair in pairs), *empty), length)


def training_batches(
    corpus: Corpus, config: Any, start: int = 0, multiple: int = 1
) -> Iterator[Batch]:
    """Batches without end, from number `start` on; each epoch in an order of its own.

    Args:
      corpus: where the pairs are.
      config: of the run: `seed`, `pack`, `tokens_per_batch`, `max_length`,
        `bucket_lengths`.
      start: how many batches to leave out, which are not made.
      multiple: the number of rows is a multiple of this.

    Raises:
      ValueError: the corpus does not fill a batch.
    """
    number = 0
    for epoch in range(sys.maxsize):
        order = np.random.default_rng((config.seed, epoch)).permutation(len(corpus))
        if config.pack:
            rows = config.tokens_per_batch // config.max_length // multiple
            rows = max(1, rows) * multiple
            batches = packed(corpus, order, rows, config.max_length)
        else:
            batches = bucketed(
                corpus,
                order,
                config.tokens_per_batch,
                config.bucket_lengths,
                multiple,
                partial=False,
            )
        before = number
        for batch in batches:
            if number >= start:
                yield batch
            number += 1
        if number == before:
            raise ValueError(
                f"{len(corpus)} pairs do not fill a batch of {config.tokens_per_batch} "
                "tokens. Lower config.tokens_per_batch."
            )


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
