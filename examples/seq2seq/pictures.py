"""The learning curves, as a PNG file."""

from __future__ import annotations

from pathlib import Path

from matplotlib.figure import Figure

__all__ = ["draw_curves"]


def draw_curves(history: list[dict[str, float]], path: Path) -> None:
    """Draws the losses, and the shares of right tokens and answers, over the steps."""
    steps = [row["step"] for row in history]
    figure = Figure(figsize=(8, 3), layout="constrained")
    axes = figure.subplots(1, 2)
    drawn = (
        (axes[0], "train_loss", "train"),
        (axes[0], "test_loss", "held-out pairs"),
        (axes[1], "test_token_accuracy", "tokens"),
        (axes[1], "test_exact", "whole answers"),
    )
    for axis, name, label in drawn:
        axis.plot(
            steps, [row[name] for row in history], "o-", markersize=3, label=label
        )
    axes[0].set_title("cross-entropy of a token")
    axes[1].set_title("right, of held-out pairs")
    for axis in axes:
        axis.set_xlabel("step")
        axis.set_ylim(bottom=0)
        axis.grid(alpha=0.3)
        axis.legend()
    figure.savefig(path, dpi=90)
