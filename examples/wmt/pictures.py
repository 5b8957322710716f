"""The learning curves, as a PNG file."""

from __future__ import annotations

from pathlib import Path

from matplotlib.figure import Figure

__all__ = ["draw_curves"]


def draw_curves(history: list[dict[str, float]], path: Path) -> None:
    """Draws loss and BLEU over the steps.

    Args:
      history: a row for each step that was logged: "step", and "train_loss" or
        "validation_loss" and "validation_bleu".
      path: the file to write.
    """
    figure = Figure(figsize=(9, 3.4), layout="constrained")
    left, right = figure.subplots(1, 2)
    for name, style in (("train", "-"), ("validation", "o-")):
        rows = [row for row in history if f"{name}_loss" in row]
        steps = [row["step"] for row in rows]
        losses = [row[f"{name}_loss"] for row in rows]
        left.plot(steps, losses, style, markersize=4, label=name)
    left.set(title="Loss of a token", xlabel="step", yscale="log")
    left.legend()
    rows = [row for row in history if "validation_bleu" in row]
    steps = [row["step"] for row in rows]
    bleu = [row["validation_bleu"] for row in rows]
    right.plot(steps, bleu, "o-", markersize=4, color="tab:green")
    right.set(title="BLEU, validation", xlabel="step", ylim=(0, 102))
    for axis in (left, right):
        axis.grid(alpha=0.3)
    figure.savefig(path, dpi=90)
