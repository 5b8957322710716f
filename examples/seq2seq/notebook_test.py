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
    notebook = nbformat.read(HERE / "seq2seq.ipynb", as_version=4)
    text = f"import json\njson.dumps([float(x) for x in [{', '.join(values)}]])"
    notebook.cells.append(nbformat.v4.new_code_cell(text))
    # Compiled as it is for everyone, and with what it writes in a folder of the test.
    environment = {**os.environ, "XLA_FLAGS": "", "TMPDIR": str(folder)}
    client = NotebookClient(notebook, resources={"metadata": {"path": str(HERE)}})
    client.execute(env=environment)
    (output,) = notebook.cells[-1].outputs
    return json.loads(output.data["text/plain"].strip("'"))


def test_it_runs_and_adds(tmp_path):
    (exact,) = run(tmp_path, "history[-1]['test_exact']")
    assert exact >= 0.95  # Of sums of three digits; the whole run has all of them.
