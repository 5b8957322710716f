"""The bars: what a benchmark is to reach, and reached, for one table at the end."""

from __future__ import annotations

import json
import os

__all__ = ["note"]


def note(bar: int, what: str, reached: float, target: float, unit: str = "") -> None:
    """Adds a figure to the file that `BATISTE_BARS` names, if it names one.

    `python benchmarks/bars FILE` shows them.

    Args:
      bar: the bar's number; those of one number are shown together.
      what: what was measured.
      reached: the figure.
      target: what it is to be at most.
      unit: of both; empty for a ratio.
    """
    if path := os.environ.get("BATISTE_BARS"):
        with open(path, "a", encoding="utf-8") as file:
            file.write(json.dumps([bar, what, reached, target, unit]) + "\n")
