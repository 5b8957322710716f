"""The learning curves as a PNG file."""

from __future__ import annotations

from pathlib import Path

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

__all__ = ["draw_curves"]


def draw_curves(history: list[dict[str, float]], path: Path) -> None:
    """Draws losses and mean average precision over the epochs."""
    epochs = range(1, len(history) + 1)
    figure = Figure(figsize=(10, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    for part, style in (("train", "o--"), ("validation", "s-")):
        values = [row[f"{part}_loss"] for row in history]
        left.plot(epochs, values, style, markersize=4, label=part)
    left.set(title="loss", yscale="log")
    for name, style, label in (
        ("validation_map", "s-", "validation"),
        ("validation_constant_map", ":", "the same score for all"),
    ):
        values = [row[name] for row in history]
        right.plot(epochs, values, style, markersize=4, label=label)
    right.set(title="mean average precision", ylim=(0, 1))
    for axis in (left, right):
        axis.set_xlabel("epoch")
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
        axis.grid(alpha=0.3)
        axis.legend()
    figure.savefig(path, dpi=90)
