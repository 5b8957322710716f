"""Sums of two numbers, made on the fly, as batches of token numbers.

A tenth of all pairs is held out: no training batch has one of them, and the test set is
made of them. Which ones is decided by a hash of the pair, so nothing is stored.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

__all__ = [
    "END",
    "PAD",
    "VOCABULARY",
    "Batch",
    "is_held_out",
    "make_batch",
    "test_batch",
    "text_of",
    "tokens_of",
    "train_batches",
]

# A token is its position here. The answer begins, for the decoder, with the end of the
# query.
VOCABULARY = ("<pad>", "<end>", "+", *"0123456789")
PAD, END = 0, 1
HELD_OUT_OF = 10  # one in so many pairs
# Distinguishes the random numbers of the test set from those of any training step.
TEST_STREAM = 2**32 - 1


class Batch(NamedTuple):
    """Queries (batch, query length) and answers (batch, answer length).

    Both are int32 tokens, each ends with `END`, and `PAD` follows.
    """

    query: np.ndarray
    answer: np.ndarray


def tokens_of(text: str, length: int) -> np.ndarray:
    """The tokens of a text, with `END` after it, padded to `length`.

    Raises:
      ValueError: the text is too long, or has a character that is not in `VOCABULARY`.
    """
    if len(text) >= length:
        raise ValueError(
            f"{text!r} has {len(text)} characters, and with the end {len(text) + 1}; "
            f"there is room for {length}. Raise config.max_digits."
        )
    found = np.full(length, PAD, np.int32)
    for place, character in enumerate(text):
        if character not in VOCABULARY:
            raise ValueError(f"{character!r} in {text!r} is neither a digit nor +.")
        found[place] = VOCABULARY.index(character)
    found[len(text)] = END
    return found


def text_of(tokens: np.ndarray) -> str:
    """The text that tokens stand for, up to the first `END`."""
    ends = np.flatnonzero(tokens == END)
    stop = ends[0] if len(ends) else len(tokens)
    return "".join(VOCABULARY[token] for token in tokens[:stop])


def is_held_out(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Whether each pair (a, b) is kept for testing, by the mixer of SplitMix64."""
    x = a.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15) + b.astype(np.uint64)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return (x ^ (x >> np.uint64(31))) % np.uint64(HELD_OUT_OF) == 0


def _pairs(
    rng: np.random.Generator, count: int, config: Any, *, held_out: bool
) -> np.ndarray:
    """Draws pairs of numbers, (count, 2), held out ones or others."""
    limit = 10**config.max_digits
    found = np.empty((0, 2), np.int64)
    while len(found) < count:
        if held_out:  # The hardest: all digits are there.
            drawn = rng.integers(limit // 10, limit, (4 * HELD_OUT_OF * count, 2))
        else:
            drawn = rng.integers(0, limit, (2 * count, 2))
            digits = rng.integers(1, config.max_digits + 1, drawn.shape)
            short = rng.random(drawn.shape) < config.any_length
            drawn = np.where(short, drawn % 10**digits, drawn)
        kept = drawn[is_held_out(drawn[:, 0], drawn[:, 1]) == held_out]
        found = np.concatenate([found, kept])
    return found[:count]


def _to_batch(pairs: np.ndarray, config: Any) -> Batch:
    query_length = 2 * config.max_digits + 2  # +, END
    answer_length = config.max_digits + 2  # the carry, END
    queries, answers = [], []
    for a, b in pairs.tolist():
        answer = str(a + b)
        queries.append(tokens_of(f"{a}+{b}", query_length))
        answer = answer[::-1] if config.reverse_answer else answer
        answers.append(tokens_of(answer, answer_length))
    return Batch(np.stack(queries), np.stack(answers))


def make_batch(config: Any, step: int) -> Batch:
    """The batch of one training step: of `config.seed` and the step alone."""
    rng = np.random.default_rng([config.seed, step])
    return _to_batch(_pairs(rng, config.batch_size, config, held_out=False), config)


def test_batch(config: Any) -> Batch:
    """The test set: held-out pairs of numbers of `config.max_digits` digits."""
    rng = np.random.default_rng([config.seed, TEST_STREAM])
    pairs = _pairs(rng, config.num_eval_examples, config, held_out=True)
    return _to_batch(pairs, config)


def train_batches(config: Any, start: int = 0) -> Iterator[Batch]:
    """The batches of the steps from `start` to `config.num_train_steps`.

    Raises:
      ValueError: `config.loader` is neither "numpy" nor "grain".
      ImportError: it is "grain", and grain is not installed.
    """
    if config.loader == "numpy":
        for step in range(start, config.num_train_steps):
            yield make_batch(config, step)
    elif config.loader == "grain":
        yield from _grain_batches(config, start)
    else:
        raise ValueError(
            f"config.loader is {config.loader!r}; it must be 'numpy' or 'grain'."
        )


def _grain_batches(config: Any, start: int) -> Iterator[Batch]:
    try:
        import grain
    except ImportError as error:
        raise ImportError(
            "config.loader='grain' needs the package grain: pip install grain"
        ) from error
    steps = grain.MapDataset.range(start, config.num_train_steps)
    batches = steps.map(lambda step: make_batch(config, step)).to_iter_dataset()
    if config.num_workers:
        options = grain.MultiprocessingOptions(num_workers=config.num_workers)
        batches = batches.mp_prefetch(options)
    yield from batches
