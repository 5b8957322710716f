"""What a run tells of itself: a progress bar, TensorBoard, and a file of numbers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tqdm import tqdm

from batiste.training.tensorboard import SummaryWriter

__all__ = ["Journal", "check_config", "plain"]

# What may be another when a run goes on.
FREE = {"loader", "num_steps", "log_every", "eval_every", "save_every"}


class Journal:
    """Writes down the metrics of a run, in `metrics.jsonl` and for TensorBoard.

    Of several processes, one writes: the others make a journal that is not `active`.

    Args:
      workdir: the folder of the run.
      start: the step to go on from; what was written of later ones is forgotten.
      total: steps of the run.
      active: whether to write and show anything.
    """

    def __init__(self, workdir: Path, start: int, total: int, active: bool = True):
        self.path = workdir / "metrics.jsonl"
        self.active = active
        self.history: list[dict[str, float]] = []
        if active and self.path.exists():
            # A run that was killed may have left a line without its end.
            lines, _, _ = self.path.read_text("utf-8").rpartition("\n")
            rows = map(json.loads, lines.splitlines())
            self.history = [row for row in rows if row["step"] <= start]
        if active:
            text = "".join(json.dumps(row) + "\n" for row in self.history)
            part = self.path.with_suffix(".part")
            part.write_text(text, "utf-8")
            part.replace(self.path)
            self.board = SummaryWriter(workdir / "tensorboard")
        self.bar = tqdm(
            total=total, initial=start, unit="step", disable=None if active else True
        )

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *_: Any) -> None:
        self.bar.close()
        if self.active:
            self.board.close()

    def advance(self) -> None:
        """Counts a step."""
        self.bar.update()

    def write(self, step: int, row: dict[str, float]) -> None:
        """Takes in the metrics of a step."""
        if not self.active:
            return
        self.history.append({"step": step, **row})
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(self.history[-1]) + "\n")
        for name, value in row.items():
            self.board.scalar(name, value, step)
        text = "  ".join(f"{name} {value:.4g}" for name, value in row.items())
        self.bar.write(f"step {step:>6}  {text}")


def plain(config: Any) -> dict[str, Any]:
    """The config as JSON has it."""
    return json.loads(json.dumps(config.to_dict(), sort_keys=True))


def check_config(workdir: Path, config: Any, write: bool = True) -> None:
    """Sees to it that a folder holds one run: that of its `config.json`.

    Args:
      workdir: the folder.
      config: of the run that is to start or to go on.
      write: whether to write the file if there is none.

    Raises:
      ValueError: the folder is of another run.
    """
    path, now = workdir / "config.json", plain(config)
    if path.exists():
        before = json.loads(path.read_text("utf-8"))
        for name in sorted((before.keys() | now.keys()) - FREE):
            was, wanted = before.get(name), now.get(name)
            if was != wanted:
                raise ValueError(
                    f"{workdir} is of a run with config.{name} {was}, not {wanted}. "
                    "Give that, or another --workdir."
                )
    elif write:
        # Renamed when it is whole: another process may be about to read it.
        part = path.with_suffix(".part")
        part.write_text(json.dumps(now, indent=2, sort_keys=True) + "\n", "utf-8")
        part.replace(path)
