"""Shows the bars that the benchmarks of one run noted: python benchmarks/bars FILE."""

import json
import sys
from pathlib import Path

from rich.console import Console
from rich.table import Table

table = Table(title="Bars")
for name in ("bar", "what", "at most", "reached", ""):
    table.add_column(name, justify="left" if name == "what" else "right")
lines = Path(sys.argv[1]).read_text("utf-8").splitlines()
for bar, what, reached, target, unit in sorted(map(json.loads, lines)):
    shown = "" if reached <= target else "missed"
    table.add_row(str(bar), what, f"{target:g} {unit}", f"{reached:.2f} {unit}", shown)
Console(width=100).print(table)
