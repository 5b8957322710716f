"""What campaigns print, and what they leave where they find something."""

import argparse
import re
import sys
import time
import traceback
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

__all__ = ["Report", "add_options", "table"]


def add_options(parser: argparse.ArgumentParser) -> None:
    """Adds the options that every campaign has."""
    parser.add_argument("--seed", type=int, default=0, help="what chance follows from")
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("campaign-findings"),
        metavar="FOLDER",
        help="where reproducers are left (default: %(default)s)",
    )


class Report:
    """Counts what was tried, prints it with its rate, and collects findings.

    Args:
      name: the campaign's name.
      options: the parsed options, with those of `add_options`.
      every: seconds between two lines of progress.
    """

    def __init__(self, name: str, options: argparse.Namespace, every: float = 10):
        self.name = name
        self.out: Path = options.out
        self.seed: int = options.seed
        self.counts: Counter[str] = Counter()
        self.findings: list[str] = []
        self._every = every
        self._begun = self._printed = time.monotonic()

    @property
    def seconds(self) -> float:
        """How long the campaign has run."""
        return time.monotonic() - self._begun

    def count(self, what: str, number: int = 1) -> None:
        """Counts something; from time to time prints what was counted."""
        self.counts[what] += number
        if time.monotonic() - self._printed > self._every:
            self._printed = time.monotonic()
            print(f"{self.name}: {self._line()}", flush=True)

    def found(
        self, title: str, text: str, files: dict[str, bytes] | None = None
    ) -> Path:
        """Notes a finding, and leaves its text and files in a folder of its own."""
        plain = re.sub(r"[^\w.-]+", "-", title)[:80].strip("-")
        folder = self.out / f"{self.name}-{len(self.findings):03}-{plain}"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "finding.txt").write_text(f"{title}\n\n{text}\n", encoding="utf-8")
        for name, data in (files or {}).items():
            (folder / name).write_bytes(data)
        self.findings.append(title)
        print(f"FOUND {title}: {folder}", flush=True)
        return folder

    def crashed(self, title: str, command: str) -> Path:
        """Notes the exception that is being handled as a finding."""
        return self.found(title, f"{traceback.format_exc()}\n{command}")

    def end(self, head: Sequence[str], rows: Iterable[Sequence[object]]) -> int:
        """Prints a table and the totals; returns the exit status."""
        print(table(head, rows))
        print(f"{self.name}: {self._line()}, seed {self.seed}")
        print(f"{self.name}: {len(self.findings)} findings")
        for title in self.findings:
            print(f"  {title}")
        if self.findings:
            print(f"reproducers are in {self.out}")
        return int(bool(self.findings))

    def _line(self) -> str:
        seconds = max(self.seconds, 1e-9)
        parts = [
            f"{n:,} {what} ({n / seconds:,.1f}/s)" for what, n in self.counts.items()
        ]
        return ", ".join([*parts, f"{seconds:.0f} s"])


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Writes rows under a head, in columns; numbers to the right."""
    texts = [[_text(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(head, *texts)]
    lines = ["  ".join(h.ljust(w) for h, w in zip(head, widths)).rstrip()]
    lines.append("  ".join("-" * w for w in widths))
    for row in texts:
        cells = (
            c.rjust(w) if c[:1].isdigit() else c.ljust(w) for c, w in zip(row, widths)
        )
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def _text(cell: object) -> str:
    if isinstance(cell, float):
        return f"{cell:,.1f}"
    return f"{cell:,}" if isinstance(cell, int) else str(cell)


def command(*arguments: object) -> str:
    """The command that runs this script with these arguments."""
    return " ".join(["python", sys.argv[0], *map(str, arguments)])
