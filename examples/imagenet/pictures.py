"""The learning curves as a PNG file."""

from __future__ import annotations

from pathlib import Path

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

__all__ = ["draw_curves"]


def draw_curves(history: list[dict[str, float]], path: Path) -> None:
    """Draws loss and accuracy over the epochs, for training and test."""
    epochs = range(1, len(history) + 1)
    figure = Figure(figsize=(10, 3.6), layout="constrained")
    for axis, metric in zip(figure.subplots(1, 2), ("loss", "accuracy"), strict=True):
        for part, style in (("train", "o--"), ("test", "s-")):
            values = [row[f"{part}_{metric}"] for row in history]
            axis.plot(epochs, values, style, markersize=4, label=part)
        axis.set(title=metric, xlabel="epoch")
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
        axis.grid(alpha=0.3)
        axis.legend()
    figure.savefig(path, dpi=90)
