"""Which layer of a state dict becomes which layer of a Linen model.

Layers that fit by kind and shape are a group. Within it, the order in which the model
runs and the names must tell which is which; where they do not, there is a question.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..errors import AmbiguousTorchWeightsError, TorchRuleError
from .conversions import Conversion, conversions
from .linen_units import LinenUnit
from .names import Rule, numbers, parse_rules, pattern, scores, starred, words
from .torch_units import TorchUnit

__all__ = ["Match", "assign"]


@dataclasses.dataclass(frozen=True)
class Match:
    """A layer of a Linen model, one of a state dict, and how this becomes that."""

    linen: LinenUnit
    torch: TorchUnit
    conversion: Conversion


Pairs = list[tuple[int, int]]


def assign(
    linen: Sequence[LinenUnit],
    torch: Sequence[TorchUnit],
    rules: Sequence[Rule],
    in_order: bool,
    same: Callable[[TorchUnit, TorchUnit], bool],
) -> tuple[list[Match], list[LinenUnit], list[TorchUnit]]:
    """Matches layers.

    Args:
      linen: the layers of the model, in the order in which they run.
      torch: the layers of the state dict.
      rules: where tensors go.
      in_order: whether the order of `torch` is that of the model's definition; else
        that of names alone.
      same: whether two layers hold the same numbers.

    Returns:
      What matches, and the layers on both sides that have no counterpart.

    Raises:
      AmbiguousTorchWeightsError: two answers are possible.
      TorchRuleError: a rule is about nothing, or asks for what does not fit.

    >>> from .torch_units import read_source
    >>> unit = LinenUnit("scale", "value", {"weight": ("params", "scale")},
    ...                  {"weight": (2,)})
    >>> source = read_source({"weight": np.ones(2)})
    >>> found, missing, left = assign([unit], source.units, [], True, lambda *_: False)
    >>> len(found), missing, left
    (1, [], [])
    """
    ruled_l = [_ruled(rules, unit.names, Rule.of_path) for unit in linen]
    ruled_t = [_ruled(rules, unit.names, Rule.of_torch) for unit in torch]
    _check_rules(rules, ruled_l, ruled_t)
    ways = _Ways(linen, torch, rules, ruled_l, ruled_t)
    pairs: Pairs = []
    unsure: list[tuple[list[int], list[int]]] = []
    for rows, columns in _groups(ways, len(linen), len(torch)):
        group = _Group(rows, columns, ways, linen, torch, in_order)
        if len(rows) == len(columns):
            pairs += group.pairs()
            unsure.append((rows, columns))
        elif rows and columns:
            columns = _without_copies(columns, len(rows), torch, same)
            if len(rows) == len(columns):
                pairs += _Group(rows, columns, ways, linen, torch, in_order).pairs()
            else:
                pairs += group.surest()
    if in_order:
        pairs = _by_neighbours(pairs, unsure, ways, linen, torch)
    matches = []
    for row, column in sorted(pairs):
        found = ways(row, column)
        if len(found) > 1:
            raise _two_ways(linen[row], torch[column], found)
        matches.append(Match(linen[row], torch[column], found[0]))
    used_l, used_t = {row for row, _ in pairs}, {column for _, column in pairs}
    return (
        matches,
        [unit for i, unit in enumerate(linen) if i not in used_l],
        [unit for i, unit in enumerate(torch) if i not in used_t],
    )


def _ruled(
    rules: Sequence[Rule], names: list[str], of: Callable[[Rule, list[str]], bool]
) -> frozenset[int]:
    return frozenset(i for i, rule in enumerate(rules) if of(rule, names))


def _check_rules(
    rules: Sequence[Rule],
    ruled_l: list[frozenset[int]],
    ruled_t: list[frozenset[int]],
) -> None:
    for i, rule in enumerate(rules):
        if rule.path is None:
            continue
        shown = {rule.torch: rule.path + (f" as {rule.how}" if rule.how else "")}
        if not any(i in ruled for ruled in ruled_t):
            raise TorchRuleError(
                shown, f'names no tensor: "{rule.torch}" is none in the state dict'
            )
        if not any(i in ruled for ruled in ruled_l):
            raise TorchRuleError(
                shown, f'names no variable: "{rule.path}" is none in the model'
            )


class _Ways:
    """The conversions that shapes, kinds and rules allow, remembered by signature."""

    def __init__(
        self,
        linen: Sequence[LinenUnit],
        torch: Sequence[TorchUnit],
        rules: Sequence[Rule],
        ruled_l: list[frozenset[int]],
        ruled_t: list[frozenset[int]],
    ):
        self.linen, self.torch, self.rules = linen, torch, rules
        self.ruled_l, self.ruled_t = ruled_l, ruled_t
        self.of_l = [(u.signature, r) for u, r in zip(linen, ruled_l, strict=True)]
        self.of_t = [(u.signature, r) for u, r in zip(torch, ruled_t, strict=True)]
        self._fits: dict[Any, bool] = {}

    def __call__(self, row: int, column: int) -> list[Conversion]:
        either = self.ruled_l[row] | self.ruled_t[column]
        both = self.ruled_l[row] & self.ruled_t[column]
        if either and not both:
            return []
        found = conversions(self.linen[row], self.torch[column])
        hows = {self.rules[i].how for i in both} - {None}
        return [way for way in found if not hows or way.how in hows]

    def fits(self, row: int, column: int) -> bool:
        key = self.of_l[row], self.of_t[column]
        if key not in self._fits:
            self._fits[key] = bool(self(row, column))
        return self._fits[key]


def _groups(
    ways: _Ways, n_linen: int, n_torch: int
) -> list[tuple[list[int], list[int]]]:
    """What is connected by fitting each other, on both sides."""
    rows: dict[Any, list[int]] = {}
    columns: dict[Any, list[int]] = {}
    for i in range(n_linen):
        rows.setdefault(ways.of_l[i], []).append(i)
    for i in range(n_torch):
        columns.setdefault(ways.of_t[i], []).append(i)
    found: list[tuple[list[int], list[int]]] = []
    left_l, left_t = dict(rows), dict(columns)
    while left_l:
        waiting, group = [next(iter(left_l))], ([], [])
        while waiting:
            key = waiting.pop()
            if key not in left_l:
                continue
            of_l = left_l.pop(key)
            group[0].extend(of_l)
            near = [k for k, of in left_t.items() if ways.fits(of_l[0], of[0])]
            for k in near:
                of_t = left_t.pop(k)
                group[1].extend(of_t)
                waiting += [k for k, of in left_l.items() if ways.fits(of[0], of_t[0])]
        found.append((sorted(group[0]), sorted(group[1])))
    return found


def _without_copies(
    columns: list[int],
    wanted: int,
    torch: Sequence[TorchUnit],
    same: Callable[[TorchUnit, TorchUnit], bool],
) -> list[int]:
    """Leaves out tensors that are others once more, where there are too many."""
    kept: list[int] = []
    spare = len(columns) - wanted
    for column in columns:
        if spare > 0 and any(same(torch[other], torch[column]) for other in kept):
            spare -= 1
        else:
            kept.append(column)
    return kept


class _Group:
    """Layers that fit each other by kind and shape."""

    def __init__(
        self,
        rows: list[int],
        columns: list[int],
        ways: _Ways,
        linen: Sequence[LinenUnit],
        torch: Sequence[TorchUnit],
        in_order: bool,
    ):
        self.rows, self.columns, self.in_order = rows, columns, in_order
        self.paths = [linen[i].path for i in rows]
        self.names = [torch[i].name for i in columns]
        self.score = np.array(scores(self.paths, self.names))
        self.score = self.score.reshape(len(rows), len(columns))
        fits = [[ways.fits(row, column) for column in columns] for row in rows]
        self.fits = np.array(fits, bool).reshape(len(rows), len(columns))

    def pairs(self) -> Pairs:
        """Pairs all of them, in numbers of layers."""
        if len(self.rows) == 1:
            return [(self.rows[0], self.columns[0])]
        by_order = self._best(0.0)
        by_names = self._best(1.0)
        chosen = by_order
        if self._sum(by_names) > self._sum(by_order) + 1e-9:
            # Names say otherwise. That counts where they are clear.
            moved = by_names != by_order
            self._ask_unless_proven(by_names, moved, by_order)
            chosen = by_names
        elif not self.in_order:
            self._ask_unless_proven(by_order, np.ones(len(self.rows), bool), None)
        self._check_numbers(chosen)
        return [(self.rows[i], self.columns[j]) for i, j in enumerate(chosen)]

    def surest(self) -> Pairs:
        """Of unequal numbers, the pairs that names tell."""
        score = np.where(self.fits, self.score, -1.0)
        found = []
        for i in range(len(self.rows)):
            j = int(np.argmax(score[i]))
            others = [*np.delete(score[i], j), *np.delete(score[:, j], i), 0.0]
            if score[i, j] > max(others):
                found.append((self.rows[i], self.columns[j]))
        return found

    def _best(self, weight: float) -> np.ndarray[Any, Any]:
        """The columns of all rows, by names and then by order."""
        from scipy.optimize import linear_sum_assignment

        n = len(self.rows)
        ranks = np.arange(n)
        far = (ranks[:, None] - ranks[None, :]) ** 2 / max(n, 1) ** 3
        cost = far - weight * 1e4 * self.score + np.where(self.fits, 0.0, 1e12)
        _, columns = linear_sum_assignment(cost)
        if not all(self.fits[i, j] for i, j in enumerate(columns)):
            # There is no way to pair all: say it of the first that are in the way.
            self._ask(columns, None)
        return columns

    def _sum(self, chosen: np.ndarray[Any, Any]) -> float:
        return float(sum(self.score[i, j] for i, j in enumerate(chosen)))

    def _ask_unless_proven(
        self,
        chosen: np.ndarray[Any, Any],
        doubtful: np.ndarray[Any, Any],
        other: np.ndarray[Any, Any] | None,
    ) -> None:
        """Asks if names allow to exchange two that are called differently."""
        for i in np.flatnonzero(doubtful):
            for k, j2 in enumerate(chosen):
                j = chosen[i]
                if words(self.names[j]) == words(self.names[j2]):
                    continue
                if not (self.fits[i, j2] and self.fits[k, j]):
                    continue
                now = self.score[i, j] + self.score[k, j2]
                if now <= self.score[i, j2] + self.score[k, j] + 1e-9:
                    swapped = chosen.copy()
                    swapped[i], swapped[k] = j2, j
                    self._ask(chosen, swapped if other is None else other)

    def _check_numbers(self, chosen: np.ndarray[Any, Any]) -> None:
        """Asks if numbers in names say another order than that of the run."""
        last: dict[Any, tuple[int, int]] = {}
        for i, j in enumerate(chosen):
            key = words(self.paths[i]), words(self.names[j])
            if key in last:
                k, m = last[key]
                a = numbers(self.paths[k]), numbers(self.paths[i])
                b = numbers(self.names[m]), numbers(self.names[j])
                if a[0] != a[1] and b[0] != b[1] and (a[0] < a[1]) != (b[0] < b[1]):
                    swapped = chosen.copy()
                    swapped[i], swapped[k] = m, j
                    self._ask(chosen, swapped)
            last[key] = i, int(j)

    def _ask(
        self, chosen: np.ndarray[Any, Any], other: np.ndarray[Any, Any] | None
    ) -> None:
        """Raises the question, with both answers."""
        if other is None:
            rules = {self.names[j]: self.paths[i] for i, j in enumerate(chosen)}
            raise AmbiguousTorchWeightsError(
                f"These fit each other by shape, but not all of them can be paired: "
                f"{_quoted(self.names)} and {_quoted(self.paths)}.",
                rules,
            )
        differ = [i for i in range(len(chosen)) if chosen[i] != other[i]]
        names = [self.names[chosen[i]] for i in differ]
        paths = [self.paths[i] for i in differ]
        one = _rules(self.names, self.paths, chosen, other, differ)
        two = _rules(self.names, self.paths, other, chosen, differ)
        why = "the order in which they run and their names"
        if not self.in_order:
            why = "names (whose order is alphabetic here, and says nothing)"
        raise AmbiguousTorchWeightsError(
            f"Two answers are possible for {_quoted(names)}: by shape and kind each "
            f"can be each of {_quoted(paths)}, and {why} do not tell. They may be "
            f"{json.dumps(one)} or {json.dumps(two)}.",
            one,
        )


def _rules(
    names: list[str], paths: list[str], chosen: Any, other: Any, differ: list[int]
) -> dict[str, str]:
    """The pairs that differ, as rules; of patterns, where these tell."""
    alike: dict[str, list[int]] = {}
    for i in range(len(chosen)):
        alike.setdefault(pattern(names[chosen[i]]), []).append(i)
    loose, covered = {}, 0
    for group in alike.values():
        if set(group) & set(differ):
            covered += len(group)
            name = starred([names[chosen[i]] for i in group])
            loose[name] = starred([paths[i] for i in group])
    found = parse_rules(loose)

    def allowed(answer: Any) -> bool:
        """Whether they lead there, and to nothing else."""
        return all(
            _ruled(found, [paths[i]], Rule.of_path)
            == _ruled(found, [names[answer[i]]], Rule.of_torch)
            for i in range(len(answer))
        )

    if len(loose) < covered and allowed(chosen) and not allowed(other):
        return loose
    return {names[chosen[i]]: paths[i] for i in differ}


def _quoted(names: Sequence[str], most: int = 8) -> str:
    shown = ", ".join(f'"{name}"' for name in names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"


def _two_ways(
    linen: LinenUnit, torch: TorchUnit, found: list[Conversion]
) -> AmbiguousTorchWeightsError:
    hows = " or ".join(f'"{way.how}"' for way in found)
    shape = next(iter(torch.shapes.values()), ())
    name, path = torch.name, linen.path
    if linen.whole is not None:  # The same is to be said of all.
        name, path = pattern(name), linen.whole.path
    return AmbiguousTorchWeightsError(
        f'Two answers are possible for "{torch.name}" {shape}, which becomes '
        f'"{linen.path}": {hows}.',
        {name: f"{path} as {found[-1].how}"},
    )


def _by_neighbours(
    pairs: Pairs,
    groups: list[tuple[list[int], list[int]]],
    ways: _Ways,
    linen: Sequence[LinenUnit],
    torch: Sequence[TorchUnit],
) -> Pairs:
    """Moves those that have other neighbours here than there.

    Where a shortcut runs before the layers that it goes around, and is defined after
    them, its norm is told from theirs by the convolution in front of it.
    """
    from scipy.optimize import linear_sum_assignment

    to = dict(pairs)
    for rows, columns in groups:
        if len(rows) < 2 or not all(row in to for row in rows):
            continue
        own = set(rows)

        def votes(row: int, column: int, own: set[int] = own) -> int:
            return sum(
                row + step not in own and to.get(row + step) == column + step
                for step in (-1, 1)
            )

        table = np.array([[votes(r, c) for c in columns] for r in rows])
        place = {column: j for j, column in enumerate(columns)}
        now = np.array([place[to[row]] for row in rows])
        n = len(rows)
        far = (np.arange(n)[:, None] - np.arange(n)[None, :]) ** 2 / n**3
        fits = np.array([[ways.fits(r, c) for c in columns] for r in rows])
        kept = np.arange(n)[None, :] == now[:, None]
        cost = far - 1e4 * table - 1.0 * kept + np.where(fits, 0.0, 1e12)
        _, best = linear_sum_assignment(cost)
        moved = np.flatnonzero(best != now)
        # All that move must have a neighbour for it, and one more than before.
        gain = sum(table[i, best[i]] - table[i, now[i]] for i in moved)
        sure = all(table[i, best[i]] > 0 for i in moved) and gain >= len(moved)
        if not len(moved) or not sure:
            continue
        names = [torch[c].name for c in columns]
        score = np.array(scores([linen[r].path for r in rows], names))
        if sum(score[i, best[i]] - score[i, now[i]] for i in moved) < -1e-9:
            continue
        for i in moved:
            to[rows[i]] = columns[best[i]]
    return list(to.items())
