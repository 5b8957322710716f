"""Savers killed at random moments: the last good state is always there, whole.

    python tests/campaigns/kill.py --kills 2000 [--readers 2] [--seed 0] [--out FOLDER]

Files, files in the background, Orbax, and Orbax in the background each have their share
of the kills. A saver saves step after step, or overwrites; it keeps one to three. After
each kill the newest checkpoint is at least as new as the last one that was said to be
complete, every other one can be read, the next save leaves nothing but checkpoints, and
what others have in the folder is untouched. Readers, in processes of their own, read
the newest all the while: no read fails, and none goes back. A finding is the folder as
the kill has left it.
"""

import argparse
import os
import shutil
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from shared.reporting import Report, add_options, command

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "packages" / "training" / "tests" / "checkpoints"))
os.environ.setdefault("JAX_PLATFORMS", "cpu")


def attack_mode(
    mode: str,
    kills: int,
    index: int,
    options: argparse.Namespace,
    report: Report,
    place: Path,
) -> tuple[object, ...]:
    """Kills savers of one mode; goes on in a new folder after a finding."""
    from kill_driver import attack

    totals, findings, begun = Counter(), 0, time.monotonic()
    seed = options.seed * 1000 + index
    while (left := kills - totals["kills"]) > 0:
        folder, evidence = place / f"{mode}-{seed}", place / "evidence"
        done, seen = {"kills": 0}, 0
        try:
            for done in attack(
                str(folder), mode, left, seed, options.readers, str(evidence)
            ):
                if done["kills"] > seen:
                    seen = done["kills"]
                    report.count("kills")
        except AssertionError as error:
            findings += 1
            again = command("--only", mode, "--kills", done["kills"] + 1)
            found = report.crashed(f"{mode}: {error}", again)
            if evidence.is_dir():
                shutil.copytree(evidence, found / "folder", symlinks=True)
            done = {**done, "kills": done["kills"] + 1}
        totals.update(done)
        seed += 100
        shutil.rmtree(folder, ignore_errors=True)
    counts = (totals[name] for name in ("kills", "saves", "leftovers", "reads"))
    return (*counts, findings, time.monotonic() - begun)


def main() -> int:
    """Runs the modes one after the other, and prints what came of them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_options(parser)
    parser.add_argument("--kills", type=int, default=400, help="in all modes together")
    parser.add_argument("--readers", type=int, default=2, help="processes that read")
    parser.add_argument(
        "--only", action="append", metavar="MODE", help="one mode; may be repeated"
    )
    options = parser.parse_args()
    # This process starts neither JAX nor Orbax: it forks those that do.
    from kill_driver import MODES

    modes = options.only or list(MODES)
    if unknown := set(modes) - set(MODES):
        parser.error(
            f"there is no mode {', '.join(unknown)}; there are {', '.join(MODES)}"
        )
    report, rows = Report("kill", options), []
    place = Path(tempfile.mkdtemp(prefix="kill-"))
    try:
        for index, mode in enumerate(modes):
            kills = options.kills // len(modes) + (index < options.kills % len(modes))
            rows.append(
                (mode, *attack_mode(mode, kills, index, options, report, place))
            )
    finally:
        shutil.rmtree(place, ignore_errors=True)
    head = ("mode", "kills", "saves", "left something", "reads", "findings", "seconds")
    return report.end(head, rows)


if __name__ == "__main__":
    sys.exit(main())
