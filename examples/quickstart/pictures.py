"""The learning curves and a page of predictions, as PNG files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from data import Digits
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

__all__ = ["draw_curves", "draw_predictions"]


def draw_curves(history: list[dict[str, float]], path: Path) -> None:
    """Draws loss and accuracy over the epochs, for training and test."""
    epochs = range(1, len(history) + 1)
    figure = Figure(figsize=(12, 4.5), layout="constrained")
    axes = figure.subplots(1, 2)
    for axis, metric in zip(axes, ("loss", "accuracy"), strict=True):
        for dataset, style in (("train", "o--"), ("test", "s-")):
            values = [row[f"{dataset}_{metric}"] for row in history]
            axis.plot(epochs, values, style, markersize=4, label=dataset)
        axis.set_title(metric.capitalize())
        axis.set_xlabel("epoch")
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
        axis.grid(alpha=0.3)
        axis.legend()
    figure.savefig(path, dpi=110)


def draw_predictions(test: Digits, predicted: np.ndarray, path: Path) -> None:
    """Draws the first 25 test digits with their predictions; wrong ones in red."""
    number = min(25, len(predicted))
    figure = Figure(figsize=(8, 9), layout="constrained")
    axes = figure.subplots(5, 5)
    for index, axis in enumerate(axes.flat):
        axis.axis("off")
        if index >= number:
            continue
        right = predicted[index] == test.label[index]
        axis.imshow(test.image[index, ..., 0], cmap="gray_r")
        text = (
            f"{predicted[index]}"
            if right
            else (f"{predicted[index]} (is {test.label[index]})")
        )
        axis.set_title(text, color="black" if right else "red")
    figure.suptitle("Test digits and what the network takes them for")
    figure.savefig(path, dpi=110)
