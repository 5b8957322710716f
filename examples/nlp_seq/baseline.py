"""The baseline: each word has the tag that it has most often."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence

from input_pipeline import Sentence

__all__ = ["MostFrequentTag"]


def _commonest(counts: Counter[str]) -> str:
    return min(counts, key=lambda tag: (-counts[tag], tag))


class MostFrequentTag:
    """Tags each word with its most frequent tag, a new word with that of all words.

    Args:
      sentences: the training sentences.
    """

    def __init__(self, sentences: Sequence[Sentence]):
        counts = defaultdict(Counter)
        for sentence in sentences:
            for word, tag in zip(sentence.words, sentence.tags, strict=True):
                counts[word.lower()][tag] += 1
        self._tags = {word: _commonest(found) for word, found in counts.items()}
        self._default = _commonest(sum(counts.values(), Counter()))

    def knows(self, word: str) -> bool:
        """Whether training had the word."""
        return word.lower() in self._tags

    def __call__(self, words: Sequence[str]) -> list[str]:
        """Returns the tags of words."""
        return [self._tags.get(word.lower(), self._default) for word in words]
