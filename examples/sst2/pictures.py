"""The learning curves, as a PNG file."""

from __future__ import annotations

from pathlib import Path

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

__all__ = ["draw_curves"]


def draw_curves(
    history: list[dict[str, float]], baseline: dict[str, float], path: Path
) -> None:
    """Draws loss and accuracy over the epochs, and the baseline as a line."""
    epochs = [row["epoch"] for row in history]
    figure = Figure(figsize=(8, 3), layout="constrained")
    axes = figure.subplots(1, 2)
    for axis, metric in zip(axes, ("loss", "accuracy"), strict=True):
        for part in ("train", "validation", "test"):
            values = [row[f"{part}_{metric}"] for row in history]
            axis.plot(epochs, values, "o-", markersize=3, label=part)
        axis.set_title(metric)
        axis.set_xlabel("epoch")
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
        axis.grid(alpha=0.3)
    axes[1].axhline(
        baseline["test_accuracy"], color="gray", ls="--", label="bag of words, test"
    )
    axes[0].legend()
    axes[1].legend()
    figure.savefig(path, dpi=90)
