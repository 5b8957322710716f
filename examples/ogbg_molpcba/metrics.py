"""Average precision, as the Open Graph Benchmark takes it."""

from __future__ import annotations

import numpy as np

__all__ = ["average_precision", "constant_baseline", "mean_average_precision"]


def average_precision(labels: np.ndarray, scores: np.ndarray) -> float:
    """The precision at each threshold, weighted by the recall that it adds.

    Examples of the same score are taken in together.

    Args:
      labels: 1 or 0 (number,), at least one 1.
      scores: higher where a 1 is likelier (number,).
    """
    order = np.argsort(-scores, kind="stable")
    labels, scores = labels[order], scores[order]
    last = np.append(scores[1:] != scores[:-1], True)  # of those with one score
    hits = np.cumsum(labels)[last]
    taken = np.flatnonzero(last) + 1
    added = np.diff(hits, prepend=0)
    return float((added * hits / taken).sum() / hits[-1])


def mean_average_precision(
    labels: np.ndarray, measured: np.ndarray, scores: np.ndarray
) -> float:
    """The mean over the tasks that have both a 1 and a 0.

    Args:
      labels: 1 or 0 (number, tasks).
      measured: 1 where there is a label (number, tasks).
      scores: (number, tasks).

    Raises:
      ValueError: no task has both.
    """
    found = []
    for task in range(labels.shape[1]):
        known = measured[:, task] > 0
        values = labels[known, task]
        if 0 < values.sum() < len(values):
            found.append(average_precision(values, scores[known, task]))
    if not found:
        raise ValueError(
            f"None of the {labels.shape[1]} tasks has both a 1 and a 0 among "
            f"{len(labels)} examples. Give more of them."
        )
    return float(np.mean(found))


def constant_baseline(labels: np.ndarray, measured: np.ndarray) -> float:
    """What the same score for every molecule comes to."""
    return mean_average_precision(labels, measured, np.zeros_like(labels))
