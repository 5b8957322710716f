"""The learning curves, as a PNG file."""

from __future__ import annotations

import math
from pathlib import Path

from matplotlib.figure import Figure

__all__ = ["draw_curves"]


def draw_curves(
    history: list[dict[str, float]], baselines: dict[int, float], path: Path
) -> None:
    """Draws the perplexity of a piece over the steps.

    Args:
      history: a row for each step that was logged: "step", and "train_loss" or
        "validation_loss".
      baselines: the perplexity of n-grams on the test set, by their order.
      path: the file to write.
    """
    figure = Figure(figsize=(6.4, 3.6), layout="constrained")
    axis = figure.subplots()
    for name, style in (("train", "-"), ("validation", "o-")):
        rows = [row for row in history if f"{name}_loss" in row]
        values = [math.exp(row[f"{name}_loss"]) for row in rows]
        steps = [row["step"] for row in rows]
        axis.plot(steps, values, style, markersize=4, label=name)
    for number, (order, value) in enumerate(baselines.items()):
        shade, label = str(0.2 + 0.2 * number), f"{order}-grams, test"
        axis.axhline(value, color=shade, linestyle="--", label=label)
    axis.set(title="Perplexity of a piece", xlabel="step", yscale="log")
    axis.grid(alpha=0.3, which="both")
    axis.legend()
    figure.savefig(path, dpi=90)
