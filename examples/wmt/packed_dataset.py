"""Packed batches as a data set of grain, which goes on from any of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import grain

__all__ = ["PackedDataset", "ahead"]


class PackedDataset(grain.IterDataset):
    """Batches without end.

    Which texts share a row depends on all that came before in the epoch, so that this
    is read in order, and not by number. The state of its iterators is the number of the
    batch that comes next.

    Args:
      batches: the batches from a number on.
      start: the number of the first.
    """

    def __init__(self, batches: Callable[[int], Iterator[Any]], start: int = 0):
        super().__init__()
        self.batches, self.start = batches, start

    def __iter__(self) -> grain.DatasetIterator:
        return _PackedIterator(self.batches, self.start)


class _PackedIterator(grain.DatasetIterator):
    def __init__(self, batches: Callable[[int], Iterator[Any]], start: int):
        super().__init__()
        self._batches = batches
        self.set_state({"next": start})

    def __next__(self) -> Any:
        batch = next(self._found)
        self._number += 1
        return batch

    def get_state(self) -> dict[str, int]:
        return {"next": self._number}

    def set_state(self, state: dict[str, int]) -> None:
        self._number = state["next"]
        self._found = self._batches(self._number)


def ahead(
    make: Callable[[Any], Any], batches: Callable[[int], Iterator[Any]], start: int
) -> grain.DatasetIterator:
    """What is made of the batches, two of them ahead of time, in a thread."""
    made = PackedDataset(batches, start).map(make)
    threaded = grain.experimental.ThreadPrefetchIterDataset
    return iter(threaded(made, prefetch_buffer_size=2))
