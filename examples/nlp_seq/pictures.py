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
    drawn = (
        (axes[0], "train_loss", "train"),
        (axes[0], "validation_loss", "validation"),
        (axes[1], "train_accuracy", "train"),
        (axes[1], "validation_accuracy", "validation"),
        (axes[1], "validation_new_accuracy", "validation, new words"),
    )
    for axis, name, label in drawn:
        values = [row[name] for row in history]
        axis.plot(epochs, values, "o-", markersize=3, label=label)
    axes[1].axhline(
        baseline["validation_accuracy"],
        color="gray",
        ls="--",
        label="most frequent tags, validation",
    )
    axes[0].set_title("loss of a word")
    axes[1].set_title("accuracy")
    for axis in axes:
        axis.set_xlabel("epoch")
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
        axis.grid(alpha=0.3)
        axis.legend(fontsize="small")
    figure.savefig(path, dpi=90)
