"""The learning curves and a page of predictions, as PNG files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from input_pipeline import Digits
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

__all__ = ["draw_curves", "draw_predictions"]


def draw_curves(history: list[dict[str, float]], path: Path) -> None:
    """Draws loss and accuracy over the epochs, for training and test."""
    epochs = range(1, len(history) + 1)
    figure = Figure(figsize=(9, 3.4), layout="constrained")
    axes = figure.subplots(1, 2)
    for axis, metric in zip(axes, ("loss", "accuracy"), strict=True):
        for part, style in (("train", "--"), ("test", "-")):
            values = [row[f"{part}_{metric}"] for row in history]
            axis.plot(epochs, values, style, label=part)
        axis.set(xlabel="epoch", ylabel=metric)
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
        axis.grid(alpha=0.3)
        axis.legend()
    axes[0].set_yscale("log")
    axes[1].set_ylim(min(0.9, axes[1].get_ylim()[0]), 1.0)
    figure.savefig(path, dpi=80)


def draw_predictions(test: Digits, predicted: np.ndarray, path: Path) -> None:
    """Draws the first test digits with their predictions; wrong ones in red."""
    figure = Figure(figsize=(6, 6.6), layout="constrained")
    for index, axis in enumerate(figure.subplots(5, 5).flat):
        axis.axis("off")
        if index >= len(predicted):
            continue
        label, found = test.label[index], predicted[index]
        axis.imshow(test.image[index, ..., 0], cmap="gray_r")
        text = f"{found}" if found == label else f"{found} (is {label})"
        axis.set_title(text, color="black" if found == label else "red")
    figure.savefig(path, dpi=80)
