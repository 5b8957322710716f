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
    notebook = nbformat.read(HERE / "sst2.ipynb", as_version=4)
    text = f"import json\njson.dumps([float(x) for x in [{', '.join(values)}]])"
    notebook.cells.append(nbformat.v4.new_code_cell(text))
    # Compiled as it is for everyone, and with what it writes in a folder of the test.
    environment = {**os.environ, "XLA_FLAGS": "", "TMPDIR": str(folder)}
    client = NotebookClient(notebook, resources={"metadata": {"path": str(HERE)}})
    client.execute(env=environment)
    (output,) = notebook.cells[-1].outputs
    return json.loads(output.data["text/plain"].strip("'"))


def test_it_runs_and_is_above_the_bag_of_words(tmp_path):
    ours, baseline = run(
        tmp_path,
        "result.history[-1]['test_accuracy']",
        "result.baseline['test_accuracy']",
    )
    assert ours > baseline + 0.01
    assert baseline > 0.7
