"""The baseline: counts of pieces, smoothed as in Kneser and Ney, 1995.

The probability of a piece is interpolated with that given one piece less of what came
before, and so on down to one that is the same for all pieces.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from math import log

__all__ = ["NGram"]

Context = tuple[int, ...]


class NGram:
    """Predicts each next token of texts from the `order - 1` tokens before.

    Args:
      texts: the tokens of each text to learn from; a text begins with a 0 that is not
        among them.
      order: how many tokens are looked at together; 1 looks at none before.
      vocab_size: how many tokens there are.
      discount: what is taken from each count, and given to what was not seen.
    """

    def __init__(
        self,
        texts: Iterable[Sequence[int]],
        order: int,
        vocab_size: int,
        discount: float = 0.75,
    ):
        self.order = order
        self.vocab_size = vocab_size
        self.discount = discount
        counts: Counter[Context] = Counter()
        for text in texts:
            whole = (*[0] * (order - 1), *map(int, text))
            counts.update(
                whole[at : at + order] for at in range(len(whole) - order + 1)
            )
        # From the longest to the shortest. A shorter one counts what it was seen
        # behind, not how often.
        self.counts = [counts]
        for _ in range(order - 1):
            shorter = Counter(gram[1:] for gram in self.counts[-1])
            self.counts.append(shorter)
        self.counts.reverse()
        self.totals: list[defaultdict[Context, int]] = []
        self.kinds: list[defaultdict[Context, int]] = []
        for level in self.counts:
            total: defaultdict[Context, int] = defaultdict(int)
            kinds: defaultdict[Context, int] = defaultdict(int)
            for gram, count in level.items():
                total[gram[:-1]] += count
                kinds[gram[:-1]] += 1
            self.totals.append(total)
            self.kinds.append(kinds)

    def probability(self, token: int, before: Sequence[int]) -> float:
        """Of a token, given all of the text before it."""
        padded = (*[0] * (self.order - 1), *before)
        found = 1 / self.vocab_size
        for level in range(self.order):
            context = tuple(padded[len(padded) - level :])
            total = self.totals[level].get(context, 0)
            if not total:
                break  # nor are longer ones known
            count = self.counts[level].get((*context, token), 0)
            rest = self.discount * self.kinds[level][context]
            found = (max(count - self.discount, 0) + rest * found) / total
        return found

    def loss(self, texts: Iterable[Sequence[int]]) -> float:
        """Minus the logarithm of the probability of texts, summed."""
        total = 0.0
        for text in texts:
            whole = (*[0] * (self.order - 1), *map(int, text))
            for at in range(self.order - 1, len(whole)):
                before = whole[at - self.order + 1 : at]
                total -= log(self.probability(whole[at], before))
        return total
