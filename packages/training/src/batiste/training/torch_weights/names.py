"""What the names of layers say: words, numbers, patterns; and rules about them."""

from __future__ import annotations

import dataclasses
import fnmatch
import functools
import re
from collections.abc import Iterable, Mapping

from ..errors import TorchRuleError

__all__ = [
    "Rule",
    "natural",
    "numbers",
    "parse_rules",
    "pattern",
    "scores",
    "starred",
    "words",
]

# One word for those that mean the same in names of layers.
_SAME = {
    "attention": "attn att mha",
    "class": "cls",
    "decoder": "dec",
    "embed": "embedding embeddings emb",
    "encoder": "enc",
    "forward": "fwd",
    "head": "classifier",
    "key": "k",
    "mlp": "ffn ff",
    "norm": "ln bn gn layernorm batchnorm groupnorm rmsnorm",
    "out": "o output",
    "position": "pos positional positions",
    "proj": "projection",
    "query": "q",
    "reverse": "backward bwd",
    "shortcut": "downsample skip identity residual",
    "token": "word tok vocab",
    "value": "v",
}
_CANONICAL: dict[str, str] = {
    other: word for word, others in _SAME.items() for other in others.split()
}
_SEVERAL: dict[str, tuple[str, ...]] = {
    "wte": ("token", "embed"),
    "wpe": ("position", "embed"),
}
# These name a kind of layer, or a place in a sequence, and so nothing in particular.
_EMPTY = frozenset(
    "dense general linear conv fc layer layers block blocks h l cell module".split()
)
_PIECE = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")


@functools.cache
def words(name: str) -> frozenset[str]:
    """The telling words of a name, each as one of those that mean the same.

    >>> sorted(words("encoder.layer.3.selfAttn.q_proj"))
    ['attention', 'encoder', 'proj', 'query', 'self']
    """
    found: set[str] = set()
    for piece in _PIECE.findall(name):
        word: str = piece.lower()
        if not word.isdigit() and word not in _EMPTY:
            found.update(_SEVERAL.get(word) or [_CANONICAL.get(word, word)])
    return frozenset(found)


@functools.cache
def numbers(name: str) -> tuple[int, ...]:
    """The numbers in a name.

    >>> numbers("layer2.0.bn1")
    (2, 0, 1)
    """
    return tuple(int(digits) for digits in re.findall(r"\d+", name))


@functools.cache
def pattern(name: str) -> str:
    """The name with a star for each number.

    >>> pattern("layer2.0.bn1")
    'layer*.*.bn*'
    """
    return re.sub(r"\d+", "*", name)


def starred(names: list[str]) -> str:
    """A pattern of names that differ in numbers only, or else the first of them.

    >>> starred(["h.0.fc1", "h.1.fc1"])
    'h.*.fc1'
    """
    pieces = [re.split(r"(\d+)", name) for name in names]
    if len({pattern(name) for name in names}) != 1:
        return names[0]
    found = (set(same) for same in zip(*pieces, strict=True))
    return "".join(same.pop() if len(same) == 1 else "*" for same in found)


def natural(name: str) -> tuple[tuple[bool, int, str], ...]:
    """A key that sorts names by the numbers in them.

    >>> sorted(["h.10.w", "h.9.w"], key=natural)
    ['h.9.w', 'h.10.w']
    """
    return tuple(
        (part.isdigit(), int(part) if part.isdigit() else 0, part)
        for part in re.split(r"(\d+)|\.", name)
        if part
    )


def scores(rows: list[str], columns: list[str]) -> list[list[float]]:
    """How alike names are, in the words that not all of them have.

    >>> scores(["a/query", "a/key"], ["b.k_proj", "b.q_proj"])
    [[0.0, 1.0], [1.0, 0.0]]
    """
    a, b = _telling(rows), _telling(columns)
    known: dict[tuple[frozenset[str], frozenset[str]], float] = {}

    def score(one: frozenset[str], other: frozenset[str]) -> float:
        if (one, other) not in known:
            either = one | other
            known[one, other] = len(one & other) / len(either) if either else 0.0
        return known[one, other]

    return [[score(one, other) for other in b] for one in a]


def _telling(names: list[str]) -> list[frozenset[str]]:
    found = [words(name) for name in names]
    if len(set(found)) == 1:
        return found
    common = frozenset.intersection(*found) if found else frozenset()
    return [each - common for each in found]


@dataclasses.dataclass(frozen=True)
class Rule:
    """Where tensors go.

    Attributes:
      torch: a pattern of names of tensors, or of what is before their last dot.
      path: a pattern of paths; None where the tensors are left out.
      how: the conversion to take, in the report's words; None for any.

    >>> rule = Rule("h.*.attn", "h_*/attention", None)
    >>> rule.of_torch(["h.3.attn"]), rule.of_path(["h_3/mlp"])
    (True, False)
    """

    torch: str
    path: str | None
    how: str | None

    def of_torch(self, names: Iterable[str]) -> bool:
        """Whether it is about a tensor or layer of one of these names."""
        return any(fnmatch.fnmatchcase(name, self.torch) for name in names)

    def of_path(self, paths: Iterable[str]) -> bool:
        """Whether it is about a variable or module at one of these paths."""
        if self.path is None:
            return False
        # "layers[3]" is a layer of a stack, and so is "layers[*]".
        wanted = self.path, self.path.replace("[", "[[]")
        return any(fnmatch.fnmatchcase(path, one) for one in wanted for path in paths)


def parse_rules(rules: Mapping[str, str | None] | None) -> list[Rule]:
    """Reads rules as users give them.

    Args:
      rules: patterns of torch names, to patterns of paths, with " as " and the name of
        a conversion behind it where that is to be said; to None to leave out.

    Raises:
      TorchRuleError: one is of another kind.

    >>> parse_rules({"fc": "head as transpose"})
    [Rule(torch='fc', path='head', how='transpose')]
    """
    found = []
    for torch, value in (rules or {}).items():
        if not isinstance(torch, str) or not isinstance(value, str | None):
            raise TorchRuleError(
                f"{torch!r}: {value!r}",
                "is not a pattern of names of tensors and a pattern of paths, as "
                '{"h.*.attn": "h_*/attention"}, or None to leave tensors out',
            )
        path, _, how = (value or "").partition(" as ")
        found.append(Rule(torch, path.strip() or None, how.strip() or None))
    return found
