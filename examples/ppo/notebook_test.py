"""The notebook runs from its first cell to its last, and what it trains has learnt."""

from __future__ import annotations

import json
import os
from pathlib import Path

import nbformat
from nbclient import NotebookClient

HERE = Path(__file__).parent


def run(folder, *values):
    """Runs the notebook; returns what these expressions are at its end."""
    notebook = nbformat.read(HERE / "ppo.ipynb", as_version=4)
    text = f"import json\njson.dumps([float(x) for x in [{', '.join(values)}]])"
    notebook.cells.append(nbformat.v4.new_code_cell(text))
    # Compiled as it is for everyone, and with what it writes in a folder of the test.
    environment = {**os.environ, "XLA_FLAGS": "", "TMPDIR": str(folder)}
    client = NotebookClient(notebook, resources={"metadata": {"path": str(HERE)}})
    client.execute(env=environment)
    (output,) = notebook.cells[-1].outputs
    return json.loads(output.data["text/plain"].strip("'"))


def test_it_runs_and_holds_the_pole(tmp_path):
    first, last = run(
        tmp_path, "history[0]['mean_return']", "history[-1]['mean_return']"
    )
    assert first < 50
    assert last >= 400  # Of at most 500.
