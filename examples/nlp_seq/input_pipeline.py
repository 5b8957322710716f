"""Treebanks in the CoNLL-U format, as batches of words, their affixes and tags."""

from __future__ import annotations

import importlib.metadata
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

__all__ = [
    "PAD",
    "UNKNOWN",
    "Batch",
    "Encoder",
    "Example",
    "Sentence",
    "Splits",
    "affixes_of",
    "batches",
    "load",
    "pieces_of",
    "read",
    "read_conllu",
    "split",
]

PAD, UNKNOWN = 0, 1
# Sentences are padded to the next of these, so that there are few shapes to compile.
LENGTHS = (16, 32, 64)
# A word has a number for each of these, and one for how it is written.
AFFIX_SIZES = (1, 2, 3, 4)
NUM_AFFIXES = 2 * len(AFFIX_SIZES) + 1


class Sentence(NamedTuple):
    """Words, their universal tags, and whether each is written after a space."""

    words: Sequence[str]
    tags: Sequence[str]
    spaced: Sequence[bool]


class Splits(NamedTuple):
    """What is trained on, what chooses, and what is reported."""

    train: Sequence[Sentence]
    validation: Sequence[Sentence]
    test: Sequence[Sentence]


class Example(NamedTuple):
    """A sentence as numbers: words and tags (length,), affixes (length, affixes)."""

    words: np.ndarray
    affixes: np.ndarray
    tags: np.ndarray


class Batch(NamedTuple):
    """Words and tags (batch, length), affixes (batch, length, affixes).

    Where there is no word, all are `PAD`.
    """

    words: np.ndarray
    affixes: np.ndarray
    tags: np.ndarray


def read_conllu(path: Path | str) -> list[Sentence]:
    """Reads a file of a treebank, as Universal Dependencies publishes them.

    Of the ten columns it takes the form, the universal tag, and `SpaceAfter=No`. Lines
    of several words at once (1-2), and of words that are not written (1.1), are left
    out.

    Raises:
      ValueError: a line has not ten columns.
    """
    found, words, tags, spaced, glued = [], [], [], [], False
    lines = Path(path).read_text("utf-8").split("\n")
    for number, line in enumerate([*lines, ""], 1):
        if not line:
            if words:
                found.append(Sentence(words, tags, spaced))
            words, tags, spaced, glued = [], [], [], False
            continue
        if line.startswith("#"):
            continue
        columns = line.split("\t")
        if len(columns) != 10:
            raise ValueError(
                f"{path}, line {number}: {len(columns)} columns, where CoNLL-U has ten."
            )
        if not columns[0].isdigit():
            continue
        words.append(columns[1])
        tags.append(columns[3])
        spaced.append(not glued)
        glued = "SpaceAfter=No" in columns[9].split("|")
    return found


def split(sentences: Sequence[Sentence]) -> Splits:
    """Of ten sentences, the last is for testing, the one before for validation."""
    parts = ([], [], [])
    for place, sentence in enumerate(sentences):
        parts[max(0, place % 10 - 7)].append(sentence)
    return Splits(*parts)


def load(config: Any) -> Splits:
    """The treebank that `config.treebank` names.

    Raises:
      ValueError: it is neither "turkish_web" nor "files".
      ImportError: the package that has it is not installed.
      FileNotFoundError: a file is not there.
    """
    if config.treebank == "turkish_web":
        paths = _package_files("turkish-treebanks", ("web.conllu", "wiki.conllu"))
        return split([sentence for path in paths for sentence in read_conllu(path)])
    if config.treebank == "files":
        names = (config.train_file, config.validation_file, config.test_file)
        missing = [name for name in names if not Path(name).is_file()]
        if missing:
            raise FileNotFoundError(
                f"There is no file {', '.join(map(repr, missing))}. Treebanks are at "
                "universaldependencies.org; name the files with --config.train_file, "
                "--config.validation_file and --config.test_file."
            )
        return Splits(*map(read_conllu, names))
    raise ValueError(
        f"config.treebank is {config.treebank!r}; it must be 'turkish_web' or 'files'."
    )


def _package_files(package: str, names: Iterable[str]) -> list[Path]:
    try:
        files = importlib.metadata.files(package) or []
    except importlib.metadata.PackageNotFoundError as error:
        raise ImportError(
            f"config.treebank='turkish_web' needs the package {package}: "
            f"pip install {package}"
        ) from error
    found = {file.name: Path(str(file.locate())) for file in files}
    return [found[name] for name in names]


def affixes_of(word: str, *, spaced: bool) -> list[str]:
    """How a word begins and ends, and how it is written.

    >>> affixes_of("Kiloyla", spaced=True)[:4]
    ['k-', 'ki-', 'kil-', 'kilo-']
    >>> affixes_of("Kiloyla", spaced=True)[4:]
    ['-a', '-la', '-yla', '-oyla', 'Xx spaced']
    """
    small = word.lower()
    kind = "".join(
        sign
        for sign, test in (("X", str.isupper), ("x", str.islower), ("0", str.isdigit))
        if any(map(test, word))
    )
    return [
        *(f"{small[:size]}-" for size in AFFIX_SIZES),
        *(f"-{small[-size:]}" for size in AFFIX_SIZES),
        f"{kind} {'spaced' if spaced else 'glued'}",
    ]


class Encoder:
    """Turns sentences into numbers.

    Words that the training sentences have often enough have a number of their own; so
    have all tags. Affixes are hashed, so that new ones have numbers, too.

    Args:
      sentences: the training sentences.
      min_count: how often a word must be there.
      num_affixes: into how many numbers affixes are hashed.
    """

    def __init__(self, sentences: Sequence[Sentence], min_count: int, num_affixes: int):
        counts = Counter(word.lower() for s in sentences for word in s.words)
        words = sorted(word for word, count in counts.items() if count >= min_count)
        self.words = ["<pad>", "<unknown>", *words]
        self.tags = ["<pad>", *sorted({tag for s in sentences for tag in s.tags})]
        self._num_affixes = num_affixes
        self._word_numbers = {word: number for number, word in enumerate(self.words)}
        self._tag_numbers = {tag: number for number, tag in enumerate(self.tags)}

    def __call__(self, sentence: Sentence) -> Example:
        """Returns the numbers. A tag that training has not seen counts as no tag."""
        affixes = [
            [1 + zlib.crc32(part.encode()) % (self._num_affixes - 1) for part in parts]
            for parts in (
                affixes_of(word, spaced=spaced)
                for word, spaced in zip(sentence.words, sentence.spaced, strict=True)
            )
        ]
        words = [self._word_numbers.get(w.lower(), UNKNOWN) for w in sentence.words]
        tags = [self._tag_numbers.get(tag, PAD) for tag in sentence.tags]
        return Example(
            np.array(words, np.int32),
            np.array(affixes, np.int32),
            np.array(tags, np.int32),
        )


def pieces_of(examples: Sequence[Example]) -> Iterator[Example]:
    """Goes through sentences, those over the highest of `LENGTHS` in pieces."""
    for example in examples:
        for start in range(0, len(example.words), LENGTHS[-1]):
            yield Example(*(part[start : start + LENGTHS[-1]] for part in example))


def batches(
    examples: Sequence[Example],
    batch_size: int,
    rng: np.random.Generator | None = None,
    loader: str = "numpy",
) -> Iterator[Batch]:
    """Goes through a data set once, in batches of sentences that are about as long.

    The last batch of a length is filled up with padding.

    Args:
      examples: the sentences.
      batch_size: sentences of a batch.
      rng: shuffles; without it, they come in order of their lengths.
      loader: see `read`.
    """
    pieces = list(pieces_of(examples))
    order = np.arange(len(pieces)) if rng is None else rng.permutation(len(pieces))
    bucket = np.searchsorted(LENGTHS, [len(piece.words) for piece in pieces])[order]
    chosen = []
    for number, length in enumerate(LENGTHS):
        members = order[bucket == number]
        starts = range(0, len(members), batch_size)
        chosen += [(length, members[start : start + batch_size]) for start in starts]
    turns = np.arange(len(chosen)) if rng is None else rng.permutation(len(chosen))

    def make(turn: int) -> Batch:
        length, members = chosen[turn]
        batch = Batch(
            np.full((batch_size, length), PAD, np.int32),
            np.full((batch_size, length, NUM_AFFIXES), PAD, np.int32),
            np.full((batch_size, length), PAD, np.int32),
        )
        for row, member in enumerate(members):
            for whole, part in zip(batch, pieces[member], strict=True):
                whole[row, : len(part)] = part
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
