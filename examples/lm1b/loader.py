"""Batches ahead of time: the same ones, made while the devices compute."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator, Iterator
from typing import Any

__all__ = ["read"]


def read(
    make: Callable[[Any], Any],
    batches: Callable[[int], Iterator[Any]],
    start: int,
    loader: str,
) -> Generator[Any, None, None]:
    """Makes one batch after the other.

    Args:
      make: what becomes of a batch.
      batches: the batches from a number on, as they follow from that number.
      start: the number of the first.
      loader: "numpy", when it is asked for; or "grain", ahead of that, in a thread.

    Raises:
      ValueError: there is no such loader.
      ImportError: grain is not installed.
    """
    if loader == "numpy":
        yield from map(make, batches(start))
    elif loader == "grain":
        try:
            import packed_dataset
        except ImportError as error:
            raise ImportError(
                "config.loader='grain' needs the package grain: pip install grain"
            ) from error
        # Closed where this is, which ends the thread.
        with contextlib.closing(packed_dataset.ahead(make, batches, start)) as found:
            yield from found
    else:
        raise ValueError(f"config.loader is {loader!r}; it must be 'numpy' or 'grain'.")
