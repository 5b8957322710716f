"""Stop training once a metric no longer gets smaller."""

from __future__ import annotations

from typing import Any, NamedTuple

from batiste.core import struct

from .flags import config

__all__ = [
    "EarlyStopping",
    "EarlyStoppingUpdate",
]


class EarlyStoppingUpdate(NamedTuple):
    """What `EarlyStopping.update` returns: the pair `(has_improved, early_stop)`.

    Unpack it, as in `has_improved, early_stop = early_stop.update(loss)`. Attributes
    that the pair itself lacks are those of `early_stop`, so code that keeps the result
    whole (`early_stop = early_stop.update(loss)`) works as well.

    >>> pair = EarlyStopping(patience=2).update(0.5)
    >>> pair.has_improved, pair.early_stop.best_metric, pair.best_metric
    (True, 0.5, 0.5)
    """

    has_improved: bool
    early_stop: EarlyStopping

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(self.early_stop, name)


class EarlyStopping(struct.PyTreeNode):
    """Counts updates without improvement, and says when to stop. Smaller is better.

    Attributes:
      min_delta: a metric has improved if it is smaller than the best one by more
        than this.
      patience: number of updates in a row without improvement that are let pass;
        the next one sets `should_stop`.
      best_metric: smallest metric so far.
      patience_count: updates since the last improvement.
      should_stop: whether to stop; it stays set until `reset`.
      has_improved: whether the last update was an improvement.

    >>> from batiste.training.early_stopping import EarlyStopping
    >>> early_stop = EarlyStopping(min_delta=1e-3, patience=2)
    >>> for epoch, loss in enumerate([1.0, 0.5, 0.4999, 0.4998, 0.4997, 0.1]):
    ...     _, early_stop = early_stop.update(loss)
    ...     if early_stop.should_stop:
    ...         break
    >>> epoch, early_stop.best_metric
    (4, 0.5)
    """

    min_delta: float = 0
    patience: int = 0
    best_metric: float = float("inf")
    patience_count: int = 0
    should_stop: bool = False
    has_improved: bool = False

    def reset(self) -> EarlyStopping:
        """Returns the same limits with nothing counted.

        >>> EarlyStopping(patience=3).update(1.0).early_stop.reset().best_metric
        inf
        """
        return self.replace(
            best_metric=float("inf"),
            patience_count=0,
            should_stop=False,
            has_improved=False,
        )

    def update(self, metric: float) -> Any:
        """Count one more metric.

        Args:
          metric: a number or scalar array; smaller is better. A NaN is never an
            improvement.

        Returns:
          The pair `(has_improved, early_stop)`: whether `metric` is smaller than
          `best_metric` by more than `min_delta`, and the updated object. With the
          config flag `early_stopping_pair` off, the updated object alone.

        >>> has_improved, early_stop = EarlyStopping(best_metric=1.0).update(2.0)
        >>> has_improved, early_stop.should_stop
        (False, True)
        """
        has_improved = bool(self.best_metric - metric > self.min_delta)
        if has_improved:
            updated = self.replace(
                best_metric=metric, patience_count=0, has_improved=True
            )
        else:
            updated = self.replace(
                patience_count=self.patience_count + 1,
                should_stop=self.should_stop or self.patience_count >= self.patience,
                has_improved=False,
            )
        if config.early_stopping_pair:
            return EarlyStoppingUpdate(has_improved, updated)
        return updated
